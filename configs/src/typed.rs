//! [`Typed`]: what the command line puts over an experiment file.

use serde::{Deserialize, Serialize};

/// `--set`, `--sweep` and `--zip` as typed, each in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Typed {
    /// `--set KEY=VALUE`: another value for a key.
    #[serde(default)]
    pub sets: Vec<String>,
    /// `--sweep KEY=[VALUE, …]`: one more axis each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sweeps: Vec<String>,
    /// `--zip KEY=[VALUE, …]`: all of them together are one more axis, first with first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub zips: Vec<String>,
}

impl Typed {
    /// Only `--set`.
    pub fn sets(sets: &[String]) -> Self {
        Self { sets: sets.to_vec(), ..Self::default() }
    }

    /// Whether nothing was typed.
    pub fn is_empty(&self) -> bool {
        self.options().next().is_none()
    }

    /// Each option with its argument, in the order in which a command repeats them.
    pub fn options(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let all = |name: &'static str, arguments| {
            let arguments: &Vec<String> = arguments;
            arguments.iter().map(move |argument| (name, argument.as_str()))
        };
        all("--set", &self.sets).chain(all("--sweep", &self.sweeps)).chain(all("--zip", &self.zips))
    }
}
