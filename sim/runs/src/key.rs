//! [`RunKey`]: the name of a run is a hash of everything that decides its result.

use configs::Spec;
use platform::records::RECORD_SCHEMA;
use serde::{Deserialize, Serialize};
use std::fmt;

/// 32 hexadecimal digits. The git commit is not part of it: a change of behaviour must change the
/// world's `MODEL_VERSION`, and a change without one must not lose results.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunKey(String);

impl RunKey {
    /// The key of a run.
    pub fn new(spec: &Spec, workload_hash: &str, seed: u64, world: &str, model_version: u32) -> Self {
        let mut hasher = blake3::Hasher::new();
        // Each part with its length before it, so that no two lists of parts hash the same bytes.
        for part in [
            spec.canonical().as_bytes(),
            workload_hash.as_bytes(),
            &seed.to_le_bytes(),
            world.as_bytes(),
            &model_version.to_le_bytes(),
            &RECORD_SCHEMA.to_le_bytes(),
        ] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        Self(hasher.finalize().to_hex()[..32].to_owned())
    }

    /// A key as it stands in a folder's name, if it is one.
    pub fn parse(text: &str) -> Option<Self> {
        let is_hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
        (text.len() == 32 && text.chars().all(is_hex)).then(|| Self(text.to_owned()))
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RunKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
