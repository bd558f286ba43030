//! The shop: goods in categories, a page each, and a cart.

use super::frame;
use super::words::Writer;

/// Categories, in the order of the front page.
pub const CATEGORIES: [&str; 5] = ["lamps", "chairs", "kettles", "clocks", "bags"];
/// Goods of each category.
pub const PER_CATEGORY: u32 = 12;
/// Goods on one page of a category.
const PER_PAGE: u32 = 6;

/// Something that can be bought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Product {
    /// Its number: from 1, category after category.
    pub id: u32,
    /// Its name.
    pub name: String,
    /// Its category.
    pub category: &'static str,
    /// Its price, cents.
    pub cents: u32,
    /// What buyers gave it, 1 to 5.
    pub stars: u32,
    /// Whether it can be had.
    pub stock: bool,
}

/// The product of that number, if there is one.
#[must_use]
pub fn product(id: u32) -> Option<Product> {
    let category = *CATEGORIES.get((id.checked_sub(1)? / PER_CATEGORY) as usize)?;
    let mut writer = Writer::new("product", u64::from(id));
    let name = format!("{} {}", writer.thing(), &category[..category.len() - 1]);
    // No two prices of a category are equal, so "the cheapest" is one.
    let cents = (900 + writer.below(90) as u32 * 100) / 12 * 12 + (id - 1) % PER_CATEGORY;
    let stars = 1 + writer.below(5) as u32;
    let stock = writer.below(5) > 0;
    Some(Product { id, name, category, cents, stars, stock })
}

/// Every product of a category.
pub fn of_category(category: &str) -> impl Iterator<Item = Product> {
    let products = CATEGORIES.len() as u32 * PER_CATEGORY;
    (1..=products).filter_map(product).filter(move |product| product.category == category)
}

/// A price for people.
fn price(cents: u32) -> String {
    format!("{}.{:02}", cents / 100, cents % 100)
}

pub(super) fn front() -> String {
    let items: Vec<String> =
        CATEGORIES.iter().map(|name| format!("<li><a href=\"/shop/c/{name}\">{name}</a>")).collect();
    frame("Shop", &format!("<ul>{}</ul>", items.concat()))
}

pub(super) fn category(name: &str, page: u32) -> Option<String> {
    CATEGORIES.contains(&name).then_some(())?;
    let skipped = page.checked_sub(1)?.checked_mul(PER_PAGE)? as usize;
    let goods: Vec<Product> = of_category(name).skip(skipped).take(PER_PAGE as usize).collect();
    let cards: Vec<String> = goods
        .iter()
        .map(|one| {
            let (id, name, price) = (one.id, &one.name, price(one.cents));
            format!(
                "<div class=\"card\"><img src=\"/picture/{id}-320x240.png\" alt=\"\">\
                 <p><a href=\"/shop/p/{id}\">#{id} {name}</a> {price} EUR</p></div>\n"
            )
        })
        .collect();
    let pages = PER_CATEGORY.div_ceil(PER_PAGE);
    let next = if page < pages {
        format!("<p><a id=\"next\" href=\"/shop/c/{name}?page={}\">Next page</a></p>", page + 1)
    } else {
        String::new()
    };
    let body = format!("<p>Page {page} of {pages}</p><div class=\"grid\">{}</div>{next}", cards.concat());
    (!goods.is_empty()).then(|| frame(name, &body))
}

pub(super) fn product_page(id: u32) -> Option<String> {
    let product = product(id)?;
    let text = Writer::new("description", u64::from(id)).paragraph(12);
    let stock = if product.stock { "In stock" } else { "Sold out" };
    let button = if product.stock { "<button id=\"add\">Add to cart</button>" } else { "" };
    let more: Vec<String> = (0..4)
        .map(|number| {
            format!(
                "<div class=\"card\"><img src=\"/picture/{}-480x360.png\" alt=\"\"></div>",
                id * 10 + number
            )
        })
        .collect();
    let body = format!(
        "<article data-product=\"{id}\"><img src=\"/picture/{id}-640x480.png\" alt=\"\">\
         <p>#{id}: {} EUR</p><p>Stars: {} of 5</p><p>{stock}</p><p>{text}</p>{button}</article>\
         <div class=\"grid\">{}</div>",
        price(product.cents),
        product.stars,
        more.concat()
    );
    Some(frame(&product.name, &body))
}

pub(super) fn cart_page(cart: &[u32]) -> String {
    let goods: Vec<Product> = cart.iter().filter_map(|id| product(*id)).collect();
    let rows: Vec<String> = goods
        .iter()
        .map(|one| format!("<tr><td>#{} {}</td><td>{} EUR</td></tr>", one.id, one.name, price(one.cents)))
        .collect();
    let total = goods.iter().map(|one| one.cents).sum();
    let body = format!(
        "<table class=\"sortable\"><tbody>{}</tbody></table><p id=\"total\">Total: {} EUR for {} goods</p>",
        rows.concat(),
        price(total),
        goods.len()
    );
    frame("Cart", &body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_category_has_one_cheapest_good_of_four_stars_that_can_be_had() {
        for category in CATEGORIES {
            let goods: Vec<Product> = of_category(category).collect();
            assert_eq!(goods.len(), PER_CATEGORY as usize);
            let prices: BTreeSet<u32> = goods.iter().map(|one| one.cents).collect();
            assert_eq!(prices.len(), goods.len(), "{category}");
            assert!(goods.iter().any(|one| one.stars >= 4 && one.stock), "{category}: {goods:?}");
        }
        assert_eq!(product(0), None);
        assert_eq!(product(61), None);
    }
}
