//! `warnings.txt`: one warning a line; a line break inside one is written `\n`.

use super::sink::Sink;
use crate::error::StoreError;
use std::io::Write;
use std::path::Path;

pub(crate) fn write(warnings: &[String], sink: &mut Sink) -> Result<(), StoreError> {
    let path = sink.path().to_owned();
    warnings
        .iter()
        .try_for_each(|warning| writeln!(sink, "{}", warning.replace('\\', "\\\\").replace('\n', "\\n")))
        .map_err(StoreError::io(&path, "writing"))
}

pub(crate) fn read(path: &Path) -> Result<Vec<String>, StoreError> {
    let text = std::fs::read_to_string(path).map_err(StoreError::io(path, "reading"))?;
    Ok(text.split_terminator('\n').map(unescape).collect())
}

fn unescape(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match (c, c == '\\') {
            (_, true) => out.push(if chars.next() == Some('n') { '\n' } else { '\\' }),
            (c, false) => out.push(c),
        }
    }
    out
}
