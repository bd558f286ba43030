//! The blog: long posts with pictures, each about one topic.

use super::frame;
use super::words::Writer;

/// Topics, in turn.
pub const TOPICS: [&str; 4] = ["travel", "cooking", "gardens", "trains"];
/// Posts, from 1.
pub const POSTS: u32 = 20;
/// Paragraphs of a post.
const PARAGRAPHS: usize = 30;

/// A post.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Post {
    /// Its number.
    pub id: u32,
    /// Its heading.
    pub title: String,
    /// What it is about.
    pub topic: &'static str,
    /// Its text.
    pub paragraphs: Vec<String>,
}

/// The post of that number, if there is one.
#[must_use]
pub fn post(id: u32) -> Option<Post> {
    (1..=POSTS).contains(&id).then(|| {
        let mut writer = Writer::new("post", u64::from(id));
        let topic = TOPICS[id as usize % TOPICS.len()];
        let title = format!("The {} and the {}", writer.thing(), writer.thing());
        let paragraphs = (0..PARAGRAPHS).map(|_| {
            let sentences = 4 + writer.below(4) as usize;
            writer.paragraph(sentences)
        });
        Post { id, title, topic, paragraphs: paragraphs.collect() }
    })
}

pub(super) fn index() -> String {
    let items: Vec<String> = (1..=POSTS)
        .filter_map(post)
        .map(|post| {
            format!(
                "<div class=\"card\"><img src=\"/picture/{}-320x240.png\" alt=\"\">\
                 <p><a href=\"/blog/p/{}\">#{} {}</a> [{}]</p></div>\n",
                post.id + 1000,
                post.id,
                post.id,
                post.title,
                post.topic
            )
        })
        .collect();
    frame("Blog", &format!("<div class=\"grid\">{}</div>", items.concat()))
}

pub(super) fn post_page(id: u32) -> Option<String> {
    let post = post(id)?;
    let mut body = format!("<p>Topic: {}</p>", post.topic);
    for (paragraph, number) in post.paragraphs.iter().zip(0..) {
        if number % 6 == 0 {
            let picture = id * 100 + number;
            body.push_str(&format!("<img src=\"/picture/{picture}-640x480.png\" alt=\"\">"));
        }
        body.push_str(&format!("<p class=\"text\">{paragraph}</p>\n"));
    }
    Some(frame(&post.title, &format!("<article>{body}</article>")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_topic_has_posts_and_every_post_is_long() {
        for topic in TOPICS {
            let of_topic: Vec<Post> =
                (1..=POSTS).filter_map(post).filter(|post| post.topic == topic).collect();
            assert_eq!(of_topic.len(), POSTS as usize / TOPICS.len());
            for post in of_topic {
                let words: usize = post.paragraphs.iter().map(|one| one.split_whitespace().count()).sum();
                assert!(words > 1000, "{}: {words}", post.id);
            }
        }
        assert_eq!(post(POSTS + 1), None);
    }
}
