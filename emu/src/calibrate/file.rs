//! The text of a machine file, with other values.

use std::fmt::Write as _;

use super::Calibration;

/// Why a file cannot be changed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// It has no line for a constant.
    #[error(
        "no line '{key} = …' in [{section}]: start from a whole machine file, such as configs/machines/paper.toml"
    )]
    NoLine {
        /// Section.
        section: String,
        /// Key.
        key: String,
    },
}

/// What begins the part that this writes anew each time.
const COUNTS: &str = "# Counted in the same measurements, for profiles of functions:";

/// `base` with the values of a calibration: a constant is one line, as in the files of this folder. Other lines stay as they
/// are, comments included; `title` names the machine.
///
/// # Errors
/// If a constant has no line.
pub fn changed(base: &str, title: &str, calibration: &Calibration) -> Result<String, FileError> {
    let base = base.split_once(COUNTS).map_or(base, |(before, _)| before);
    let mut text = String::new();
    let mut section = "";
    let mut left: Vec<_> = calibration.values.keys().collect();
    for line in base.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            section = name.0;
        }
        let key = line.split_once('=').map_or("", |(key, _)| key.trim());
        let found = left.iter().position(|(of, name)| of == section && name == key);
        if section.is_empty() && key == "title" {
            let _ = writeln!(text, "title = {}", quoted(title));
        } else if let Some(found) = found {
            let value = &calibration.values[left.remove(found)];
            let number = if value.is_time() {
                quoted(&format!("{} {}", rounded(value.number), value.unit))
            } else {
                rounded(value.number)
            };
            let source = quoted(&format!("measured: {}", value.origin));
            let _ = writeln!(text, "{key} = {{ value = {number}, source = {source} }}");
        } else {
            let _ = writeln!(text, "{line}");
        }
    }
    if let Some((section, key)) = left.first() {
        return Err(FileError::NoLine { section: section.clone(), key: key.clone() });
    }
    if !calibration.counts.is_empty() {
        text.truncate(text.trim_end().len());
        let _ = writeln!(text, "\n\n{COUNTS}");
        for count in &calibration.counts {
            let _ = writeln!(text, "# {count}");
        }
    }
    Ok(text)
}

/// Four digits that mean something.
fn rounded(number: f64) -> String {
    let digits = if number == 0.0 { 1 } else { (3 - number.abs().log10().floor() as i32).clamp(0, 6) };
    let text = format!("{number:.*}", digits as usize);
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// A string of TOML.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}
