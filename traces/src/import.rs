//! From published files to a file of ours: one request for all formats.

use crate::binary;
use crate::cold_starts::describe_cold_starts;
use crate::counts::Counted;
use crate::error::{Error, Result};
use crate::formats::{
    Format, OnDefect, azure_functions_2019, azure_functions_2021, azure_llm_2023, huawei_2023, huawei_2025,
    ibm_code_engine_2026, mooncake,
};
use crate::llm::LlmTrace;
use crate::read::Source;
use crate::report::{Imported, Report};
use crate::samples;
use crate::service::ServiceTable;
use crate::spread::Spread;
use crate::time::Duration;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// What to import, and how. Fields that a format has no use for are ignored by it.
#[derive(Clone, Debug)]
pub struct Request {
    /// The format of the files.
    pub format: Format,
    /// The tables: counts or rows (all formats).
    pub files: Vec<PathBuf>,
    /// A bundled sample instead of files: its path below `traces/data`, or for Azure Functions
    /// 2019 its number of functions.
    pub bundled: Option<String>,
    /// Folder and day (1..=14) of the full Azure Functions 2019 set instead of files.
    pub folder: Option<(PathBuf, u32)>,
    /// Durations table of Azure Functions 2019, or companion delay tables of Huawei 2023.
    pub durations: Vec<PathBuf>,
    /// Memory table of Azure Functions 2019.
    pub memory: Option<PathBuf>,
    /// Where inside a step invocations arrive, for formats that publish counts.
    pub spread: Spread,
    /// Length of a step of Huawei 2023.
    pub step: Duration,
    /// Milliseconds in one unit of Huawei 2023's delay tables.
    pub delay_unit_ms: f64,
    /// Service times, for Huawei 2023.
    pub service: ServiceTable,
    /// Whether the Huawei 2025 tables are cold starts rather than requests.
    pub cold_starts: bool,
    /// What happens to functions without durations.
    pub unjoined: OnDefect,
    /// What happens to malformed rows.
    pub malformed: OnDefect,
    /// Seed of all draws.
    pub seed: u64,
}

impl Request {
    /// A request with the defaults of the command line.
    pub fn new(format: Format) -> Self {
        Self {
            format,
            files: Vec::new(),
            bundled: None,
            folder: None,
            durations: Vec::new(),
            memory: None,
            spread: Spread::Uniform,
            step: Duration::MINUTE,
            delay_unit_ms: 1000.0,
            service: ServiceTable::default(),
            cold_starts: false,
            unjoined: OnDefect::Stop,
            malformed: OnDefect::Stop,
            seed: 1,
        }
    }

    /// Reads, draws and writes `out`: a workload file; for the two formats that hold no
    /// invocations (application settings, cold starts) JSON.
    ///
    /// # Errors
    /// [`Error::Value`] if the files given are not those that the format needs; whatever its reader
    /// reports; [`Error::Io`] if `out` cannot be written.
    pub fn run(&self, out: &Path) -> Result<Report> {
        match self.format {
            Format::AzureFunctions2019 => {
                let options = azure_functions_2019::Options {
                    spread: self.spread,
                    unjoined: self.unjoined,
                    malformed: self.malformed,
                    seed: self.seed,
                };
                let counted = azure_functions_2019::read(&self.azure_2019_files()?, &options)?;
                self.play(counted, out)
            }
            Format::Huawei2023 => {
                let lookup = |name: &str| self.service.get(name);
                let companions: Vec<Source> = self.durations.iter().map(Source::path).collect();
                let durations = if !companions.is_empty() {
                    huawei_2023::Durations::Companion { files: &companions, unit_ms: self.delay_unit_ms }
                } else if !self.service.is_empty() {
                    huawei_2023::Durations::Given(&lookup)
                } else {
                    huawei_2023::Durations::Missing
                };
                let (step, spread, unjoined, seed) = (self.step, self.spread, self.unjoined, self.seed);
                let options = huawei_2023::Options { step, spread, durations, unjoined, seed };
                let counted = huawei_2023::read(&self.sources()?, &options)?;
                self.play(counted, out)
            }
            Format::AzureFunctions2021 => {
                write_workload(azure_functions_2021::import(&self.source()?, self.malformed)?, out)
            }
            Format::Huawei2025 if self.cold_starts => {
                let (cold_starts, mut report) =
                    huawei_2025::read_cold_starts(&self.source()?, self.malformed)?;
                write_json(&cold_starts, out)?;
                report.notes.push(describe_cold_starts(&cold_starts).to_string());
                Ok(report)
            }
            Format::Huawei2025 => {
                write_workload(huawei_2025::import_requests(&self.sources()?, self.malformed)?, out)
            }
            Format::IbmCodeEngine2026 => {
                let source = self.source()?;
                let configs = ibm_code_engine_2026::read(&source)?;
                write_json(&configs, out)?;
                Ok(self.plain_report(&source, configs.len()))
            }
            Format::AzureLlm2023 => self.write_llm(azure_llm_2023::import, out),
            Format::Mooncake => self.write_llm(mooncake::import, out),
        }
    }

    fn play(&self, (counted, mut report): (Counted, Report), out: &Path) -> Result<Report> {
        report.invocations = counted.write(out, self.spread, self.seed)?.records;
        Ok(report)
    }

    fn write_llm(&self, read: fn(&Source) -> Result<LlmTrace>, out: &Path) -> Result<Report> {
        let source = self.source()?;
        let trace = read(&source)?;
        binary::write_llm(out, &trace)?;
        let mut report = self.plain_report(&source, trace.requests.len());
        report.notes.clone_from(&trace.provenance);
        Ok(report)
    }

    fn plain_report(&self, source: &Source, rows: usize) -> Report {
        let sources = vec![source.short_name().to_owned()];
        Report { format: self.format.name().to_owned(), sources, rows: rows as u64, ..Report::default() }
    }

    fn sources(&self) -> Result<Vec<Source>> {
        match (&self.bundled, self.files.as_slice()) {
            (Some(path), []) => Ok(vec![samples::get(path)?]),
            (Some(_), _) => Err(Error::value("files", "both files and a bundled sample", "one of them")),
            (None, []) => Err(Error::value("files", "none given", "at least one file, or --bundled")),
            (None, files) => Ok(files.iter().map(Source::path).collect()),
        }
    }

    fn source(&self) -> Result<Source> {
        let sources = self.sources()?;
        match <[Source; 1]>::try_from(sources) {
            Ok([source]) => Ok(source),
            Err(sources) => Err(Error::value("files", format!("{} given", sources.len()), "exactly one")),
        }
    }

    fn azure_2019_files(&self) -> Result<azure_functions_2019::Files> {
        match (&self.bundled, &self.folder, self.files.as_slice(), self.durations.as_slice()) {
            (Some(functions), None, [], []) => {
                let known = ["100", "250", "500"];
                let number = known.contains(&functions.as_str()).then(|| functions.parse().ok()).flatten();
                samples::azure_functions_2019(
                    number.ok_or_else(|| Error::unknown_name("bundled Azure sample", functions, &known))?,
                )
            }
            (None, Some((folder, day)), [], []) => Ok(azure_functions_2019::Files::of_day(folder, *day)),
            (None, None, [invocations], [durations]) => Ok(azure_functions_2019::Files {
                invocations: Source::path(invocations),
                durations: Source::path(durations),
                memory: self.memory.as_ref().map(Source::path),
            }),
            _ => Err(Error::value(
                "files of azure-functions-2019",
                "another combination",
                "one invocations file with --durations FILE and perhaps --memory FILE, or --folder DIR --day N, or \
                 --bundled 100|250|500",
            )),
        }
    }
}

fn write_workload(imported: Imported, out: &Path) -> Result<Report> {
    binary::write(out, &imported.workload)?;
    Ok(imported.report)
}

fn write_json(items: &impl Serialize, out: &Path) -> Result<()> {
    let text = serde_json::to_vec_pretty(items).expect("records of strings and numbers always read as JSON");
    crate::atomic::write_file(out, &text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format_imports_its_bundled_sample() {
        let folder = tempfile::tempdir().unwrap();
        let mut service = ServiceTable::default();
        service.add("100 ms").unwrap();
        let samples = [
            (Format::AzureFunctions2019, "100", 339_657),
            (Format::AzureFunctions2021, "azure2021-invitro/Azure2021_30.csv", 30),
            (Format::Huawei2025, "huawei-fixtures/requests_table.csv", 10),
        ];
        for (format, sample, invocations) in samples {
            let out = folder.path().join(format.name());
            let request =
                Request { bundled: Some(sample.into()), service: service.clone(), ..Request::new(format) };
            assert_eq!(request.run(&out).unwrap().invocations, invocations);
            binary::verify(&out).unwrap();
            assert_eq!(binary::open(&out).unwrap().invocations.len() as u64, invocations);
        }
        for (format, sample, requests) in [
            (Format::AzureLlm2023, "azure-llm-2023/AzureLLMInferenceTrace_code.csv.zst", 8819),
            (Format::Mooncake, "mooncake-fast25/synthetic_trace.jsonl.zst", 3993),
        ] {
            let out = folder.path().join(format.name());
            Request { bundled: Some(sample.into()), ..Request::new(format) }.run(&out).unwrap();
            assert_eq!(binary::open_llm(&out).unwrap().requests.len(), requests);
        }
        let out = folder.path().join("settings.json");
        let ibm = Request {
            bundled: Some("ibm-code-engine-2026/app_configs.csv.zst".into()),
            ..Request::new(Format::IbmCodeEngine2026)
        };
        assert_eq!(ibm.run(&out).unwrap().rows, 1780);
    }

    #[test]
    fn a_wrong_combination_of_files_says_what_is_needed() {
        let request = Request { files: vec!["a.csv".into()], ..Request::new(Format::AzureFunctions2019) };
        assert_eq!(
            request.run(Path::new("x.wkl")).unwrap_err().to_string(),
            "files of azure-functions-2019: another combination; expected one invocations file with --durations FILE and \
             perhaps --memory FILE, or --folder DIR --day N, or --bundled 100|250|500"
        );
    }
}
