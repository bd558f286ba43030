//! Readers of published traces, one file each. A format is always named, never guessed.

pub mod azure_functions_2019;
pub mod azure_functions_2021;
pub mod azure_llm_2023;
pub mod huawei_2023;
pub mod huawei_2025;
pub mod ibm_code_engine_2026;
pub mod mooncake;

use crate::error::{Error, Result};
use std::fmt;
use std::str::FromStr;

/// A published format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Format {
    /// Azure Functions 2019: counts per minute, durations, memory. Also InVitro's samples of it.
    AzureFunctions2019,
    /// Azure Functions 2021: one row an invocation.
    AzureFunctions2021,
    /// Huawei 2023: a matrix of counts, a row a minute or second, a column a function.
    Huawei2023,
    /// Huawei 2025: one row a request; one row a cold start.
    Huawei2025,
    /// IBM Code Engine 2026: application settings, one value a day.
    IbmCodeEngine2026,
    /// Azure LLM inference 2023: one row a request.
    AzureLlm2023,
    /// Mooncake: one JSON line a request.
    Mooncake,
}

/// All formats and their names.
const NAMES: [(Format, &str); 7] = [
    (Format::AzureFunctions2019, "azure-functions-2019"),
    (Format::AzureFunctions2021, "azure-functions-2021"),
    (Format::Huawei2023, "huawei-2023"),
    (Format::Huawei2025, "huawei-2025"),
    (Format::IbmCodeEngine2026, "ibm-code-engine-2026"),
    (Format::AzureLlm2023, "azure-llm-2023"),
    (Format::Mooncake, "mooncake"),
];

impl Format {
    /// All formats, in the order of their documentation.
    pub fn all() -> impl Iterator<Item = Self> {
        NAMES.iter().map(|(format, _)| *format)
    }

    /// The name that the command line and the reports use.
    pub fn name(self) -> &'static str {
        NAMES.iter().find(|(format, _)| *format == self).map_or("", |(_, name)| name)
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Format {
    type Err = Error;
    fn from_str(given: &str) -> Result<Self> {
        let found = NAMES.iter().find(|(_, name)| *name == given).map(|(format, _)| *format);
        found.ok_or_else(|| Error::unknown_name("format", given, &NAMES.map(|(_, name)| name)))
    }
}

/// What a reader does with a row that it cannot use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnDefect {
    /// Stop with an error that names the row.
    #[default]
    Stop,
    /// Leave the row out and count it in the report.
    Drop,
}

impl FromStr for OnDefect {
    type Err = Error;
    fn from_str(given: &str) -> Result<Self> {
        match given {
            "stop" => Ok(Self::Stop),
            "drop" => Ok(Self::Drop),
            _ => Err(Error::unknown_name("treatment of defects", given, &["stop", "drop"])),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_format_is_answered_with_the_nearest_name() {
        assert_eq!("mooncake".parse::<Format>().unwrap(), Format::Mooncake);
        let error = "azure-function-2019".parse::<Format>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "there is no format \"azure-function-2019\"; did you mean \"azure-functions-2019\"? (known: \
             azure-functions-2019, azure-functions-2021, huawei-2023, huawei-2025, ibm-code-engine-2026, \
             azure-llm-2023, mooncake)"
        );
    }
}
