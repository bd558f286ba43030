//! JSON files that tell whether they were changed: one field a line, the last one a hash of the text before it.

use crate::error::StoreError;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::Path;

/// What stands before the hash.
const CHECKSUM: &str = "  \"checksum\": \"";

/// The content of a file for a plain struct.
pub(crate) fn text<T: Serialize>(value: &T) -> String {
    let fields = match serde_json::to_value(value) {
        Ok(serde_json::Value::Object(fields)) => fields,
        other => unreachable!("only plain structs are sealed: {other:?}"),
    };
    let lines: Vec<String> = fields.iter().map(|(key, value)| format!("  \"{key}\": {value},\n")).collect();
    let body = format!("{{\n{}", lines.concat());
    format!("{body}{CHECKSUM}{}\"\n}}\n", blake3::hash(body.as_bytes()).to_hex())
}

/// Reads such a file and checks its hash.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<T, StoreError> {
    let text = std::fs::read_to_string(path).map_err(StoreError::io(path, "reading"))?;
    let altered = || StoreError::Altered { path: path.to_owned() };
    let (body, rest) = text.rsplit_once(CHECKSUM).ok_or_else(altered)?;
    let fields = body.trim_end().strip_suffix(',').ok_or_else(altered)?;
    if rest != format!("{}\"\n}}\n", blake3::hash(body.as_bytes()).to_hex()) {
        return Err(altered());
    }
    serde_json::from_str(&format!("{fields}\n}}"))
        .map_err(|error| StoreError::malformed(path, Some(error.line() as u64), error.to_string()))
}
