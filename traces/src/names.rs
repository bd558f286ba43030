//! Which known name was probably meant.

/// The known name nearest to `given`, if one is near enough to be meant: up to a third of its letters
/// differ (at most four), or one is a piece of the other. Of equals the first in the alphabet.
pub fn nearest<'a>(given: &str, known: &[&'a str]) -> Option<&'a str> {
    let given = given.to_lowercase();
    let limit = (given.chars().count() / 3).clamp(1, 4);
    known
        .iter()
        .map(|name| (distance(&given, &name.to_lowercase()), *name))
        .filter(|&(far, name)| far <= limit || is_part(&given, &name.to_lowercase()))
        .min()
        .map(|(_, name)| name)
}

/// One is a piece of the other, and no tiny one.
fn is_part(a: &str, b: &str) -> bool {
    a.len() >= 3 && b.len() >= 3 && (a.contains(b) || b.contains(a))
}

/// Insertions, deletions, replacements and swaps of neighbours that turn `a` into `b`.
pub fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            rows[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
                let mut best = replaced.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
                if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                    best = best.min(rows[i - 2][j - 2] + 1);
                }
                best
            };
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typing_error_finds_its_name_and_nonsense_finds_none() {
        let known = ["azure-functions-2019", "azure-functions-2021", "mooncake"];
        assert_eq!(nearest("azure-function-2021", &known), Some("azure-functions-2021"));
        assert_eq!(nearest("Mooncak", &known), Some("mooncake"));
        assert_eq!(nearest("mooncake-2024", &known), Some("mooncake"));
        assert_eq!(nearest("parquet", &known), None);
    }
}
