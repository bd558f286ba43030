//! Made-up text: sentences of a small grammar, the same for the same number.

use traces::rng::{Streams, below};

const NOUNS: [&str; 24] = [
    "harbour",
    "lantern",
    "garden",
    "engine",
    "river",
    "market",
    "window",
    "letter",
    "mountain",
    "kitchen",
    "bridge",
    "orchard",
    "train",
    "island",
    "library",
    "workshop",
    "storm",
    "village",
    "clock",
    "forest",
    "painter",
    "baker",
    "teacher",
    "neighbour",
];
const VERBS: [&str; 12] = [
    "follows",
    "repairs",
    "remembers",
    "crosses",
    "watches",
    "carries",
    "opens",
    "paints",
    "measures",
    "leaves",
    "finds",
    "describes",
];
const ADJECTIVES: [&str; 16] = [
    "quiet", "bright", "narrow", "old", "patient", "wooden", "distant", "careful", "green", "early", "heavy",
    "curious", "plain", "warm", "salty", "sudden",
];
const ENDS: [&str; 8] = [
    "before noon",
    "without a word",
    "every winter",
    "for the first time",
    "near the sea",
    "as agreed",
    "in spite of the rain",
    "and smiles",
];

/// Draws words for the text called `name`, number `index`.
#[derive(Debug)]
pub struct Writer {
    rng: traces::rng::Xoshiro256PlusPlus,
}

impl Writer {
    /// For one text.
    #[must_use]
    pub fn new(name: &str, index: u64) -> Self {
        Self { rng: Streams::new(0).stream(&format!("agents/site/{name}"), index) }
    }

    /// A number below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        below(&mut self.rng, n)
    }

    /// One of `words`.
    pub fn pick<'a>(&mut self, words: &[&'a str]) -> &'a str {
        let index = self.below(words.len() as u64) as usize;
        words[index]
    }

    /// An adjective and a noun.
    pub fn thing(&mut self) -> String {
        format!("{} {}", self.pick(&ADJECTIVES), self.pick(&NOUNS))
    }

    /// One sentence.
    pub fn sentence(&mut self) -> String {
        let (who, verb, what, end) = (self.thing(), self.pick(&VERBS), self.thing(), self.pick(&ENDS));
        format!("The {who} {verb} the {what} {end}.")
    }

    /// A paragraph of so many sentences.
    pub fn paragraph(&mut self, sentences: usize) -> String {
        (0..sentences).map(|_| self.sentence()).collect::<Vec<_>>().join(" ")
    }
}
