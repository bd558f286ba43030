//! "Did you mean": the nearest known word.

/// The known word nearest to `word`, if one is near enough to be meant.
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    traces::names::nearest(word, &known.into_iter().collect::<Vec<_>>())
}

/// `: did you mean "…"?` or the whole list where nothing is near.
pub fn hint<'a>(word: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> String {
    match nearest(word, known.clone()) {
        Some(candidate) => format!("did you mean \"{candidate}\"?"),
        None => {
            let mut all: Vec<&str> = known.into_iter().collect();
            all.sort_unstable();
            format!("known are {}", all.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_finds_its_word() {
        let systems = ["faasd", "criu", "reap+", "faasnap+", "t-cxl", "t-rdma"];
        assert_eq!(nearest("t-clx", systems), Some("t-cxl"));
        assert_eq!(nearest("T-CXL", systems), Some("t-cxl"));
        assert_eq!(nearest("faasnap", systems), Some("faasnap+"));
        assert_eq!(nearest("kubernetes", systems), None);
        assert_eq!(hint("kubernetes", systems), "known are criu, faasd, faasnap+, reap+, t-cxl, t-rdma");
    }
}
