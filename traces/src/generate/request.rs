//! A generator by name, with everything it may need: what the command line fills in.

use super::synthetic::Cluster;
use super::zipf::Job;
use super::{GENERATORS, azure_hour, func, huawei_hour, w1, w2};
use crate::binary::{self, WorkloadWriter, Written};
use crate::error::{Error, Result};
use crate::service::ServiceTable;
use crate::time::Duration;
use crate::workload::Workload;
use std::path::{Path, PathBuf};

/// What to generate. Fields that a generator has no use for are ignored by it.
#[derive(Clone, Debug)]
pub struct Request {
    /// Name of the generator, one of [`GENERATORS`].
    pub name: String,
    /// Seed.
    pub seed: u64,
    /// Service times (`w1`, `w2`, `func` and the hours).
    pub service: ServiceTable,
    /// Folder of the data set (`azure-hour`, `huawei-hour`).
    pub data: Option<PathBuf>,
    /// Invocations (`zipf`).
    pub invocations: u64,
    /// Functions (`zipf`, `synthetic`).
    pub functions: u32,
    /// Length (`zipf`, `synthetic`).
    pub span: Duration,
    /// Zipf's exponent (`zipf`).
    pub exponent: f64,
    /// Factor on all rates (`synthetic`).
    pub rate_scale: f64,
    /// Standard deviation of the logarithm of service times; `None` for the generator's own.
    pub sigma: Option<f64>,
}

impl Request {
    /// A request with the defaults of the command line.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            seed: 1,
            service: ServiceTable::default(),
            data: None,
            invocations: 1_000_000,
            functions: 1000,
            span: Duration::from_secs(24 * 3600),
            exponent: 1.0,
            rate_scale: 1.0,
            sigma: None,
        }
    }

    /// Generates the workload into a file; `zipf` and `synthetic` as a stream, in memory of their
    /// functions only.
    ///
    /// # Errors
    /// [`Error::UnknownName`] for another name; whatever the generator reports; [`Error::Io`].
    pub fn write(&self, out: &Path) -> Result<Written> {
        match self.name.as_str() {
            "zipf" => {
                let job = self.job();
                let mut writer = WorkloadWriter::create(out, &job.head()?)?;
                writer.extend(job.invocations()?)?;
                writer.finish()
            }
            "synthetic" => {
                let (head, invocations) = self.cluster().open()?;
                let mut writer = WorkloadWriter::create(out, &head)?;
                writer.extend(invocations)?;
                writer.finish()
            }
            _ => {
                let workload = self.generate()?;
                binary::write(out, &workload)?;
                Ok(Written { records: workload.invocations.len() as u64, hash_hex: workload.hash_hex() })
            }
        }
    }

    /// Generates the workload in memory.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn generate(&self) -> Result<Workload> {
        let service = |name: &str| self.service.get(name);
        match self.name.as_str() {
            "w1" => w1::generate(self.seed, &service),
            "w2" => w2::generate(self.seed, &service),
            "func" => func::generate(self.seed, &service),
            "azure-hour" => azure_hour::generate(self.folder()?, self.seed, &service),
            "azure-hour-sample" => azure_hour::generate_sample(self.seed, &service),
            "huawei-hour" => huawei_hour::generate(self.folder()?, self.seed, &service),
            "synthetic" => self.cluster().generate(),
            "zipf" => self.job().generate(),
            other => Err(Error::unknown_name("generator", other, &GENERATORS.map(|(name, _)| name))),
        }
    }

    fn folder(&self) -> Result<&Path> {
        let given = self.data.as_deref();
        given.ok_or_else(|| {
            Error::value(
                "data",
                "not given",
                format!("the folder of the data set of {}, with --data", self.name),
            )
        })
    }

    fn job(&self) -> Job {
        let standard = Job::standard(self.invocations, self.seed);
        let sigma = self.sigma.unwrap_or(standard.sigma);
        Job { functions: self.functions, span: self.span, exponent: self.exponent, sigma, ..standard }
    }

    fn cluster(&self) -> Cluster {
        let plain = Cluster::new(self.functions, self.span, self.seed);
        Cluster { rate_scale: self.rate_scale, sigma: self.sigma.unwrap_or(plain.sigma), ..plain }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_streamed_file_holds_what_is_generated_in_memory() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w.wkl");
        for name in ["zipf", "synthetic", "w1"] {
            let mut request = Request { invocations: 5000, functions: 50, ..Request::new(name) };
            request.service.add("100 ms").unwrap();
            let written = request.write(&path).unwrap();
            assert_eq!(written.hash_hex, request.generate().unwrap().hash_hex(), "{name}");
            assert_eq!(binary::open(&path).unwrap(), request.generate().unwrap(), "{name}");
        }
    }

    #[test]
    fn an_unknown_generator_is_answered_with_the_nearest_name() {
        assert!(Request::new("zip").generate().unwrap_err().to_string().starts_with(
            "there is no generator \"zip\"; did you mean \"zipf\"? (known: w1, w2, func, azure-hour,"
        ));
    }
}
