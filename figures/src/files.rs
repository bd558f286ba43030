//! Tables and files. A file is written beside its name and renamed over it, so that a reader never
//! sees half of one.

use crate::error::{Error, Result};
use std::fs;
use std::path::Path;

/// Rows for people and programs: what was drawn, or what was estimated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// Column names, with units.
    pub columns: Vec<&'static str>,
    /// The rows; each as long as `columns`.
    pub rows: Vec<Vec<String>>,
}

impl Table {
    /// An empty table.
    pub fn new(columns: &[&'static str]) -> Self {
        Self { columns: columns.to_vec(), rows: Vec::new() }
    }

    /// Adds a row.
    pub fn push<const N: usize>(&mut self, row: [String; N]) {
        debug_assert_eq!(N, self.columns.len());
        self.rows.push(row.into());
    }

    /// The table as CSV with a header row.
    pub fn to_csv(&self, name: &str) -> Result<Vec<u8>> {
        let failed = |source| Error::Table { table: name.to_owned(), source };
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(&self.columns).map_err(failed)?;
        for row in &self.rows {
            writer.write_record(row).map_err(failed)?;
        }
        writer.into_inner().map_err(|e| failed(e.into_error().into()))
    }
}

/// A number for a table: six significant digits, no exponent, no trailing zeros.
pub fn number(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return if value == 0.0 { "0".into() } else { String::new() };
    }
    let magnitude = value.abs().log10().floor() as i32;
    let decimals = (5 - magnitude).clamp(0, 15) as usize;
    let text = format!("{value:.decimals$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// An optional number; nothing where there is none.
pub fn optional(value: Option<f64>) -> String {
    value.map_or_else(String::new, number)
}

/// Writes a file whole or not at all. Folders are made.
pub fn write(path: &Path, content: &[u8]) -> Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(|source| Error::Folder { path: folder.to_owned(), source })?;
    }
    Ok(traces::atomic::write_file(path, content)?)
}

/// A name that is safe as a file name: letters, digits, `.`, `_`, `+` and `-`; all else becomes `-`.
pub fn file_name(name: &str) -> String {
    let safe: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() || "._+-".contains(c) { c } else { '-' }).collect();
    let safe = safe.trim_start_matches('.');
    if safe.is_empty() { "unnamed".into() } else { safe.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_six_digits_and_no_more_than_they_need() {
        let written = [1.0, 0.25, 1234.5678, 12_345_678.0, 1.0 / 3.0, 0.000_123_456_78].map(number);
        assert_eq!(written, ["1", "0.25", "1234.57", "12345678", "0.333333", "0.000123457"]);
        assert_eq!([number(0.0), number(f64::NAN), optional(None)], ["0", "", ""]);
    }

    #[test]
    fn a_file_name_never_leaves_its_folder() {
        assert_eq!(file_name("../../etc/passwd"), "-..-etc-passwd");
        assert_eq!(file_name("e04 W1"), "e04-W1");
        assert_eq!(file_name(".."), "unnamed");
    }
}
