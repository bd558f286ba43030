//! A CSV table read row by row, columns found by name, errors with file, line and column.

use crate::error::{Error, Result};
use crate::read::Source;
use std::io::BufRead;
use std::str::FromStr;

/// An open table.
pub(crate) struct Table<'a> {
    file: String,
    format: &'static str,
    headers: Vec<String>,
    reader: csv::Reader<Box<dyn BufRead + Send + 'a>>,
    record: csv::ByteRecord,
    line: u64,
}

impl<'a> Table<'a> {
    /// Opens the table and reads its header row.
    pub fn open(source: &'a Source, format: &'static str) -> Result<Self> {
        let mut reader =
            csv::ReaderBuilder::new().flexible(true).buffer_capacity(1 << 18).from_reader(source.reader()?);
        let headers = reader.byte_headers().map_err(|error| csv_error(source.name(), error))?;
        let headers: Vec<String> = headers
            .iter()
            .map(|name| String::from_utf8_lossy(name).trim().trim_start_matches('\u{feff}').to_owned())
            .collect();
        Ok(Self {
            file: source.name().to_owned(),
            format,
            headers,
            reader,
            record: csv::ByteRecord::new(),
            line: 1,
        })
    }

    /// The names of the columns.
    pub fn headers(&self) -> &[String] {
        &self.headers
    }

    /// The place of the column called `name`.
    pub fn column(&self, name: &str) -> Result<usize> {
        self.optional_column(name).ok_or_else(|| {
            let shown: Vec<&str> = self.headers.iter().take(8).map(String::as_str).collect();
            let more = if self.headers.len() > 8 { ", …" } else { "" };
            Error::Column {
                file: self.file.clone(),
                column: name.to_owned(),
                format: self.format,
                found: format!("{}{more}", shown.join(", ")),
            }
        })
    }

    /// The place of the column called `name`, if there is one.
    pub fn optional_column(&self, name: &str) -> Option<usize> {
        self.headers.iter().position(|header| header == name)
    }

    /// Moves to the next row; `false` after the last.
    pub fn next(&mut self) -> Result<bool> {
        let more =
            self.reader.read_byte_record(&mut self.record).map_err(|error| csv_error(&self.file, error))?;
        if !more {
            return Ok(false);
        }
        self.line = self.record.position().map_or(self.line + 1, csv::Position::line);
        if self.record.len() != self.headers.len() {
            return Err(Error::Row {
                file: self.file.clone(),
                line: self.line,
                found: self.record.len(),
                expected: self.headers.len(),
            });
        }
        Ok(true)
    }

    /// The line of this row, counted from 1.
    pub fn line(&self) -> u64 {
        self.line
    }

    /// The bytes of a field.
    pub fn bytes(&self, column: usize) -> &[u8] {
        &self.record[column]
    }

    /// A field as text that is not empty.
    pub fn text(&self, column: usize) -> Result<&str> {
        match std::str::from_utf8(self.bytes(column)) {
            Ok(text) if !text.trim().is_empty() => Ok(text.trim()),
            _ => Err(self.wrong(column, "a name")),
        }
    }

    /// A field as a value of type `T`.
    pub fn parse<T: FromStr>(&self, column: usize, expected: &'static str) -> Result<T> {
        let text = std::str::from_utf8(self.bytes(column)).unwrap_or("");
        text.trim().parse().map_err(|_| self.wrong(column, expected))
    }

    /// A field as a finite number that is not negative.
    pub fn amount(&self, column: usize) -> Result<f64> {
        let expected = "a number that is not negative";
        let value: f64 = self.parse(column, expected)?;
        if value.is_finite() && value >= 0.0 { Ok(value) } else { Err(self.wrong(column, expected)) }
    }

    /// A field as a whole number that is not negative; `12.0` counts as whole.
    pub fn count(&self, column: usize) -> Result<u32> {
        let bytes = self.bytes(column);
        if let [digit @ b'0'..=b'9'] = bytes {
            return Ok(u32::from(digit - b'0'));
        }
        let expected = "a whole number that is not negative";
        let text = std::str::from_utf8(bytes).unwrap_or("").trim();
        if let Ok(count) = text.parse() {
            return Ok(count);
        }
        match text.parse::<f64>() {
            Ok(value) if value >= 0.0 && value <= f64::from(u32::MAX) && value.fract() == 0.0 => {
                Ok(value as u32)
            }
            _ => Err(self.wrong(column, expected)),
        }
    }

    /// A field that may be empty or `NaN`, which both mean "nothing recorded".
    pub fn is_blank(&self, column: usize) -> bool {
        matches!(self.bytes(column).trim_ascii(), b"" | b"NaN" | b"nan" | b"NA")
    }

    /// The error of a field that does not read as `expected`.
    pub fn wrong(&self, column: usize, expected: &'static str) -> Error {
        Error::Field {
            file: self.file.clone(),
            line: self.line,
            column: self.headers[column].clone(),
            found: String::from_utf8_lossy(self.bytes(column)).chars().take(60).collect(),
            expected,
        }
    }
}

fn csv_error(file: &str, error: csv::Error) -> Error {
    let cause = match error.into_kind() {
        csv::ErrorKind::Io(cause) => cause,
        other => std::io::Error::other(format!("{other:?}")),
    };
    Error::Io { path: file.to_owned(), action: "read", cause }
}
