//! The local web site: a shop, a blog and a place for games, so that browsers have pages to work for.
//!
//! The pages are made, not stored: HTML, style, scripts and pictures follow from numbers in their addresses, so every
//! server has the same ones. A visitor's cart is in a cookie and what it has looked at in `localStorage`, so the
//! isolation of browser contexts can be tested here; the server itself keeps only uploaded games.
//!
//! * [`shop`]: goods, and what is known about them; [`blog`]: posts; [`words`]: the text of both; `picture`: PNG.

pub mod blog;
mod picture;
pub mod shop;
pub mod words;

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::Error;
use super::http::{Answer, Handler, Request, Server};

const HTML: &str = "text/html; charset=utf-8";
/// Uploaded games kept at once: the oldest go first.
const GAMES: usize = 256;

/// The site. Dropped, it is stopped.
#[derive(Debug)]
pub struct Site {
    server: Server,
}

#[derive(Debug, Default)]
struct Pages {
    visitors: AtomicU64,
    /// The oldest first.
    games: Mutex<VecDeque<(String, Vec<u8>)>>,
}

/// A page, or where to go instead.
enum Page {
    Html(String),
    Other(&'static str, Vec<u8>),
    Cart(Vec<u32>),
    Missing,
}

impl Site {
    /// Starts it at an address of this machine, at its port or, for 0, any that is free.
    ///
    /// # Errors
    /// If the port is taken.
    pub fn start(at: (Ipv4Addr, u16)) -> Result<Self, Error> {
        Ok(Self { server: Server::start(at, Arc::new(Pages::default()))? })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Ends it in the middle of whatever it answers.
    pub fn stop(&mut self) {
        self.server.stop();
    }
}

impl Pages {
    fn page(&self, request: &Request) -> Page {
        let parts: Vec<&str> = request.path.trim_matches('/').split('/').collect();
        let cart = cart(request);
        let number = |text: &str| text.parse::<u32>().ok();
        match (request.method.as_str(), parts.as_slice()) {
            ("GET", [""]) => {
                let links = "<ul><li><a href=\"/shop\">Shop</a><li><a href=\"/blog\">Blog</a></ul>";
                Page::Html(frame("Welcome", links))
            }
            ("GET", ["style.css"]) => Page::Other("text/css", STYLE.as_bytes().to_vec()),
            ("GET", ["script.js"]) => Page::Other("text/javascript", SCRIPT.as_bytes().to_vec()),
            ("GET", ["picture", name]) => match picture::named(name) {
                Some(bytes) => Page::Other("image/png", bytes),
                None => Page::Missing,
            },
            ("GET", ["shop"]) => Page::Html(shop::front()),
            ("GET", ["shop", "c", category]) => {
                let page = request.parameter("page").and_then(number).unwrap_or(1);
                shop::category(category, page).map_or(Page::Missing, Page::Html)
            }
            ("GET", ["shop", "p", id]) => {
                number(id).and_then(shop::product_page).map_or(Page::Missing, Page::Html)
            }
            ("GET", ["shop", "cart"]) => Page::Html(shop::cart_page(&cart)),
            ("POST", ["shop", "cart", id]) => match number(id).filter(|id| shop::product(*id).is_some()) {
                Some(id) => Page::Cart(cart.into_iter().chain([id]).collect()),
                None => Page::Missing,
            },
            ("GET", ["blog"]) => Page::Html(blog::index()),
            ("GET", ["blog", "p", id]) => {
                number(id).and_then(blog::post_page).map_or(Page::Missing, Page::Html)
            }
            ("PUT", ["game", name]) => {
                let mut games = self.games.lock().unwrap_or_else(PoisonError::into_inner);
                games.retain(|(known, _)| known != name);
                while games.len() >= GAMES && games.pop_front().is_some() {}
                games.push_back(((*name).to_owned(), request.body.clone()));
                Page::Other("text/plain", b"kept".to_vec())
            }
            ("GET", ["game", name]) => {
                let games = self.games.lock().unwrap_or_else(PoisonError::into_inner);
                let game = games.iter().find(|(known, _)| known == name);
                game.map_or(Page::Missing, |(_, game)| Page::Other(HTML, game.clone()))
            }
            _ => Page::Missing,
        }
    }
}

impl Handler for Pages {
    fn handle(&self, request: &Request, answer: &mut Answer<'_>) -> io::Result<()> {
        let visitor = match request.cookie("visitor") {
            Some(_) => None,
            None => Some(format!("visitor={}; Path=/", self.visitors.fetch_add(1, Ordering::Relaxed))),
        };
        let mut fields: Vec<(&str, &str)> =
            visitor.iter().map(|cookie| ("Set-Cookie", cookie.as_str())).collect();
        match self.page(request) {
            Page::Html(text) => answer.send("200 OK", HTML, &fields, text.as_bytes()),
            Page::Other(kind, bytes) => answer.send("200 OK", kind, &fields, &bytes),
            Page::Cart(ids) => {
                let ids: Vec<String> = ids.iter().map(u32::to_string).collect();
                let cookie = format!("cart={}; Path=/", ids.join("-"));
                fields.push(("Set-Cookie", &cookie));
                answer.send("200 OK", "text/plain", &fields, b"added")
            }
            Page::Missing => answer.send(
                "404 Not Found",
                HTML,
                &fields,
                frame("Not found", "<p>No such page.</p>").as_bytes(),
            ),
        }
    }
}

/// What a visitor has in the cart, as its cookie says.
fn cart(request: &Request) -> Vec<u32> {
    let cookie = request.cookie("cart").unwrap_or_default();
    cookie.split('-').filter_map(|id| id.parse().ok()).filter(|id| shop::product(*id).is_some()).collect()
}

/// A page with the parts that all have.
fn frame(title: &str, body: &str) -> String {
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\
         <link rel=\"stylesheet\" href=\"/style.css\"><script src=\"/script.js\" defer></script></head>\
         <body><header><nav><a href=\"/\">Home</a> <a href=\"/shop\">Shop</a> <a href=\"/shop/cart\">Cart</a> \
         <a href=\"/blog\">Blog</a></nav></header><main><h1>{title}</h1>\n{body}\n</main>\
         <footer>All goods and posts are made up.</footer></body></html>"
    )
}

const STYLE: &str = "\
body { font-family: sans-serif; margin: 0; background: linear-gradient(#fdfdfb, #e8ecf0); }
header { position: sticky; top: 0; background: #234; padding: 1em; box-shadow: 0 2px 8px #0006; }
header a { color: #fff; margin-right: 1em; text-decoration: none; }
main { max-width: 60em; margin: auto; padding: 1em; }
.grid { display: grid; grid-template-columns: repeat(3, 1fr); gap: 1em; }
.card { background: #fff; border-radius: 8px; padding: 1em; box-shadow: 0 1px 4px #0004; transition: transform .2s; }
.card:hover { transform: scale(1.03); }
.card img, article img { width: 100%; border-radius: 6px; filter: saturate(1.2); }
table { border-collapse: collapse; width: 100%; }
td, th { border-bottom: 1px solid #ccc; padding: .4em; text-align: left; }
button { font-size: 1.1em; padding: .5em 1em; border-radius: 6px; border: 0; background: #275; color: #fff; }
footer { padding: 2em; color: #666; text-align: center; }
";

const SCRIPT: &str = "\
const seen = JSON.parse(localStorage.getItem('seen') || '[]');
const here = document.querySelector('[data-product]');
if (here) {
  seen.push(Number(here.dataset.product));
  localStorage.setItem('seen', JSON.stringify(seen.slice(-20)));
}
const add = document.querySelector('#add');
if (add) add.addEventListener('click', async () => {
  await fetch('/shop/cart/' + here.dataset.product, { method: 'POST' });
  location.href = '/shop/cart';
});
for (const table of document.querySelectorAll('table.sortable')) {
  const rows = [...table.tBodies[0].rows];
  table.dataset.rows = rows.length;
}
";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agents::http::ANY;
    use std::io::{Read, Write};
    use std::net::TcpStream;

    fn get(site: &Site, request: &str) -> String {
        let mut stream = TcpStream::connect(site.address()).unwrap();
        write!(stream, "{request}\r\nConnection: close\r\n\r\n").unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    #[test]
    fn pages_are_the_same_on_every_server_and_a_cart_is_its_visitors() {
        let (one, other) = (Site::start(ANY).unwrap(), Site::start(ANY).unwrap());
        for path in ["/shop", "/shop/c/lamps", "/shop/p/7", "/blog", "/blog/p/3", "/picture/7-64x48.png"] {
            let request = format!("GET {path} HTTP/1.1\r\nCookie: visitor=1");
            let page = get(&one, &request);
            assert!(page.starts_with("HTTP/1.1 200"), "{path}: {page}");
            assert_eq!(page, get(&other, &request), "{path}");
        }
        let added = get(&one, "POST /shop/cart/7 HTTP/1.1\r\nCookie: visitor=1; cart=5");
        assert!(added.contains("Set-Cookie: cart=5-7; Path=/"), "{added}");
        assert!(get(&one, "GET /shop/p/100000 HTTP/1.1").starts_with("HTTP/1.1 404"));
        let first = get(&one, "GET / HTTP/1.1");
        assert!(first.contains("Set-Cookie: visitor="), "{first}");
    }

    #[test]
    fn a_game_is_given_back_as_it_was_left() {
        let site = Site::start(ANY).unwrap();
        assert!(get(&site, "GET /game/one HTTP/1.1").starts_with("HTTP/1.1 404"));
        get(&site, "PUT /game/one HTTP/1.1\r\nContent-Length: 4\r\n\r\n<p>\n");
        assert!(get(&site, "GET /game/one HTTP/1.1").ends_with("<p>\n"));
        // Others push out the oldest, whatever its name; one that is left again is a new one.
        let leave =
            |name: &str| get(&site, &format!("PUT /game/{name} HTTP/1.1\r\nContent-Length: 1\r\n\r\nx"));
        (0..GAMES - 1).for_each(|number| drop(leave(&format!("a{number}"))));
        leave("one");
        leave("newest");
        let is_there = |name: &str| !get(&site, &format!("GET /game/{name} HTTP/1.1")).contains(" 404 ");
        assert_eq!(["a0", "a1", "one", "newest"].map(is_there), [false, true, true, true]);
    }
}
