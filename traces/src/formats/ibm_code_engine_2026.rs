//! IBM Code Engine 2026: settings of applications, one value a day.
//!
//! Source: Nasiri et al., EuroSys 2026; ubc-cirrus-lab/ibm-cloud-code-engine-traces, application
//! settings (`app_configs`, written as CSV). Each of the four settings is a list of 62 numbers,
//! `nan` where the application did not exist that day. These are settings, not invocations.

use crate::error::Result;
use crate::read::Source;
use crate::table::Table;
use serde::Serialize;

const FORMAT: &str = "ibm-code-engine-2026";
/// Days that the release covers.
pub const DAYS: usize = 62;

/// Settings of one application, a value a day; `None` where it did not exist.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AppConfig {
    /// Namespace (customer), as a hash.
    pub namespace: String,
    /// Application, as a hash.
    pub app: String,
    /// Requested processors.
    pub cpu: Vec<Option<f64>>,
    /// Requested memory in GB.
    pub memory_gb: Vec<Option<f64>>,
    /// Requests that an instance serves at a time.
    pub concurrency: Vec<Option<f64>>,
    /// Instances that are kept even without requests.
    pub min_scale: Vec<Option<f64>>,
}

/// Reads the settings.
///
/// # Errors
/// A missing column, or a malformed row by file, line and column.
pub fn read(source: &Source) -> Result<Vec<AppConfig>> {
    let mut table = Table::open(source, FORMAT)?;
    let (namespace, app) = (table.column("NamespaceHash")?, table.column("AppHash")?);
    let cpu = table.column("AppContainerRequestCpu")?;
    let memory = table.column("AppContainerRequestMemory")?;
    let concurrency = table.column("AppContainerConcurrency")?;
    let min_scale = table.column("AppMinScale")?;
    let mut configs = Vec::new();
    while table.next()? {
        configs.push(AppConfig {
            namespace: table.text(namespace)?.to_owned(),
            app: table.text(app)?.to_owned(),
            cpu: days(&table, cpu)?,
            memory_gb: days(&table, memory)?,
            concurrency: days(&table, concurrency)?,
            min_scale: days(&table, min_scale)?,
        });
    }
    Ok(configs)
}

/// A list such as `[1.0, nan, 2.0]` of one number a day.
fn days(table: &Table<'_>, column: usize) -> Result<Vec<Option<f64>>> {
    let wrong = || table.wrong(column, "a list of 62 numbers in brackets");
    let inner =
        table.text(column)?.strip_prefix('[').and_then(|text| text.strip_suffix(']')).ok_or_else(wrong)?;
    let values: Vec<Option<f64>> = inner
        .split(',')
        .map(|item| match item.trim().parse::<f64>() {
            Ok(value) if value.is_nan() => Ok(None),
            Ok(value) if value.is_finite() && value >= 0.0 => Ok(Some(value)),
            _ => Err(wrong()),
        })
        .collect::<Result<_>>()?;
    if values.len() == DAYS { Ok(values) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    #[test]
    fn the_bundled_settings_are_1780_applications_of_62_days() {
        let configs = read(&samples::get("ibm-code-engine-2026/app_configs.csv.zst").unwrap()).unwrap();
        assert_eq!(configs.len(), 1780);
        assert!(
            configs.iter().all(|config| config.memory_gb.len() == DAYS && config.min_scale.len() == DAYS)
        );
        assert_eq!((configs[0].cpu[0], configs[0].memory_gb[61]), (Some(1.0), Some(4.0)));
    }

    #[test]
    fn a_list_of_another_length_is_named() {
        let text = "NamespaceHash,AppHash,AppContainerRequestCpu,AppContainerRequestMemory,AppContainerConcurrency,\
                    AppMinScale\nn,a,\"[1.0, 2.0]\",\"[1.0]\",\"[1.0]\",\"[1.0]\"\n";
        assert_eq!(
            read(&Source::bytes("c.csv", text.as_bytes())).unwrap_err().to_string(),
            "c.csv:2: column \"AppContainerRequestCpu\": \"[1.0, 2.0]\" is not a list of 62 numbers in brackets; \
             correct or remove this row"
        );
    }
}
