//! Tables and files. A file is written beside its name and renamed over it, so that a reader never
//! sees half of one.

use crate::error::{Error, Result};
use std::fs;
use std::path::Path;
use traces::atomic::AtomicFile;

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

/// A table that goes to a file row by row, and is there whole when it is finished, or not at all.
pub struct TableFile {
    name: String,
    writer: csv::Writer<AtomicFile>,
}

impl TableFile {
    /// Begins the table that will be at `path`. Folders are made.
    ///
    /// # Errors
    /// [`Error`] if nothing can be written there.
    pub fn create(path: &Path, columns: &[&str]) -> Result<Self> {
        folder_of(path)?;
        let name = path.display().to_string();
        let mut table = Self { name, writer: csv::Writer::from_writer(AtomicFile::create(path)?) };
        table.push(columns)?;
        Ok(table)
    }

    /// Adds a row.
    ///
    /// # Errors
    /// [`Error`] if it cannot be written, or if it is not as long as the others.
    pub fn push(&mut self, row: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Result<()> {
        let failed = |source| Error::Table { table: self.name.clone(), source };
        self.writer.write_record(row).map_err(failed)
    }

    /// Moves the table to its place.
    ///
    /// # Errors
    /// [`Error`] if it cannot be written.
    pub fn finish(self) -> Result<()> {
        let Self { name, writer } = self;
        let file =
            writer.into_inner().map_err(|e| Error::Table { table: name, source: e.into_error().into() })?;
        Ok(file.commit()?)
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
    folder_of(path)?;
    Ok(traces::atomic::write_file(path, content)?)
}

/// Makes the folder that a file goes to.
fn folder_of(path: &Path) -> Result<()> {
    let Some(folder) = path.parent() else { return Ok(()) };
    fs::create_dir_all(folder).map_err(|source| Error::Folder { path: folder.to_owned(), source })
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
