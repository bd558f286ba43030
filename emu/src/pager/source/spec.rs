//! Sources by name, as they are typed: `dram`, `file`, `direct`, `tcp:HOST:PORT`, `devdax:FILE`, `rdma:HOST:PORT`,
//! each perhaps with a stated delay.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use super::delayed::{Delay, Delayed};
use super::devdax::DevDax;
use super::dram::Dram;
use super::file::FilePages;
use super::near::{self, Near};
use super::rdma::Rdma;
use super::tcp::Tcp;
use super::{PageSource, SourceError};
use crate::pager::working_set::WORKING_SET;
use crate::pool::rdma::line::{Completions, Manner};
use crate::template::pages::{PAGES, PageTable};

/// Opens a source for a template. One for each tier of a server.
pub trait OpenSource: Send + Sync + std::fmt::Debug {
    /// The source of the template in this folder, whose table is `table`.
    ///
    /// # Errors
    /// If it does not have the template, or not whole.
    fn open(&self, folder: &Path, table: &PageTable) -> Result<Arc<dyn PageSource>, SourceError>;
}

/// A source as it is typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceSpec {
    kind: Kind,
    delay: Option<Delay>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Dram,
    File { direct: bool },
    Tcp(String),
    DevDax(PathBuf),
    Near { folder: PathBuf, mib: u64, after: u8 },
    Rdma { address: String, key: PathBuf, manner: Manner },
}

/// How sources are typed.
pub const SYNTAX: &str = "dram | file | direct | tcp:HOST:PORT | devdax:/dev/dax0.0 | \
    rdma:HOST:PORT,key=FILE[,completions=events|polling][,fail-every=N] | near:DIR[,mib=N][,after=USES], then perhaps \
    ,latency=6us ,spread=20% ,seed=1 ,bandwidth=10GB/s ,iops=1000000";

/// What near memory holds of a template unless it is said.
const NEAR_MIB: u64 = 64;

/// Why a source was not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{given}`: {wrong}; a source is {SYNTAX}")]
pub struct SpecError {
    given: String,
    wrong: String,
}

impl FromStr for SourceSpec {
    type Err = SpecError;

    fn from_str(given: &str) -> Result<Self, SpecError> {
        let wrong = |wrong: String| SpecError { given: given.to_owned(), wrong };
        let mut parts = given.split(',');
        let mut kind = match parts.next().unwrap_or_default() {
            "dram" => Kind::Dram,
            "file" => Kind::File { direct: false },
            "direct" => Kind::File { direct: true },
            other => match other.split_once(':') {
                Some(("tcp", address)) if address.contains(':') => Kind::Tcp(address.to_owned()),
                Some(("tcp", _)) => return Err(wrong("an address has a host and a port".into())),
                Some(("devdax", path)) if !path.is_empty() => Kind::DevDax(path.into()),
                Some(("devdax", _)) => return Err(wrong("a device has a path".into())),
                Some(("near", folder)) if !folder.is_empty() => {
                    Kind::Near { folder: folder.into(), mib: NEAR_MIB, after: near::AFTER }
                }
                Some(("near", _)) => return Err(wrong("near memory has a folder".into())),
                Some(("rdma", address)) if address.contains(':') => {
                    Kind::Rdma { address: address.to_owned(), key: PathBuf::new(), manner: Manner::default() }
                }
                Some(("rdma", _)) => return Err(wrong("a pool has a host and a port".into())),
                _ => return Err(wrong(format!("there is no source `{other}`"))),
            },
        };
        let mut delay: Option<Delay> = None;
        for part in parts {
            let (key, value) = part.split_once('=').ok_or_else(|| wrong(format!("`{part}` has no value")))?;
            let bad = || wrong(format!("`{value}` is no {key}"));
            if let Kind::Near { mib, after, .. } = &mut kind {
                match key {
                    "mib" => *mib = value.parse().ok().filter(|mib| *mib > 0).ok_or_else(bad)?,
                    "after" => *after = value.parse().ok().filter(|uses| *uses > 0).ok_or_else(bad)?,
                    _ => return Err(wrong(format!("near memory has no setting `{key}`"))),
                }
                continue;
            }
            if let Kind::Rdma { key: file, manner, .. } = &mut kind {
                match key {
                    "key" => *file = value.into(),
                    "completions" if value == "events" => manner.completions = Completions::Events,
                    "completions" if value == "polling" => manner.completions = Completions::Polling,
                    "completions" => return Err(bad()),
                    "fail-every" => manner.fail_every = value.parse().map_err(|_| bad())?,
                    _ => {}
                }
                if matches!(key, "key" | "completions" | "fail-every") {
                    continue;
                }
            }
            let delay = delay.get_or_insert(Delay::latency(Duration::ZERO));
            match key {
                "latency" => delay.latency = duration(value).ok_or_else(bad)?,
                "spread" => {
                    let percent = value.strip_suffix('%').unwrap_or(value).parse().ok();
                    delay.spread_percent = percent.filter(|percent| *percent <= 100).ok_or_else(bad)?;
                }
                "seed" => delay.seed = value.parse().map_err(|_| bad())?,
                "bandwidth" => delay.bandwidth = Some(rate(value).ok_or_else(bad)?),
                "iops" => {
                    let iops = value.parse().ok().filter(|iops| *iops > 0);
                    delay.iops = Some(iops.ok_or_else(bad)?);
                }
                _ => return Err(wrong(format!("there is no setting `{key}`"))),
            }
        }
        if matches!(&kind, Kind::Rdma { key, .. } if key.as_os_str().is_empty()) {
            return Err(wrong("a pool has a key: `,key=FILE`".into()));
        }
        Ok(Self { kind, delay })
    }
}

fn duration(text: &str) -> Option<Duration> {
    let (unit, ns) =
        [("ns", 1), ("us", 1_000), ("ms", 1_000_000)].into_iter().find(|(unit, _)| text.ends_with(unit))?;
    let number: u64 = text.strip_suffix(unit)?.parse().ok()?;
    Some(Duration::from_nanos(number.checked_mul(ns)?))
}

/// Bytes per second.
fn rate(text: &str) -> Option<u64> {
    let units = [("GB/s", 1_000_000_000), ("MB/s", 1_000_000), ("kB/s", 1_000)];
    let (unit, bytes) = units.into_iter().find(|(unit, _)| text.ends_with(unit))?;
    let number: u64 = text.strip_suffix(unit)?.parse().ok()?;
    number.checked_mul(bytes).filter(|rate| *rate > 0)
}

impl OpenSource for SourceSpec {
    fn open(&self, folder: &Path, table: &PageTable) -> Result<Arc<dyn PageSource>, SourceError> {
        let path = folder.join(PAGES);
        let count = table.hashes().len() as u64;
        let source: Arc<dyn PageSource> = match &self.kind {
            Kind::Dram => {
                let file = File::open(&path).map_err(SourceError::io("cannot open the pages"))?;
                Arc::new(Dram::open(&file, table)?)
            }
            Kind::File { direct } => Arc::new(FilePages::open(&path, count, *direct)?),
            Kind::Tcp(address) => Arc::new(Tcp::new(address, table.root(), count)),
            Kind::DevDax(device) => Arc::new(DevDax::open(device, table)?),
            Kind::Near { folder: near, mib, after } => {
                Arc::new(Near::open(near, table, &folder.join(WORKING_SET), mib << 20, *after)?)
            }
            Kind::Rdma { address, key, manner } => Arc::new(Rdma::open(address, key, *manner, table)?),
        };
        Ok(match self.delay {
            Some(delay) => Arc::new(Delayed::new(source, delay)),
            None => source,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_what_was_typed() {
        let spec: SourceSpec =
            "dram,latency=6us,spread=20%,bandwidth=10GB/s,iops=1000000,seed=3".parse().unwrap();
        let delay = Delay {
            latency: Duration::from_micros(6),
            spread_percent: 20,
            seed: 3,
            bandwidth: Some(10_000_000_000),
            iops: Some(1_000_000),
        };
        assert_eq!(spec, SourceSpec { kind: Kind::Dram, delay: Some(delay) });
        let tcp: SourceSpec = "tcp:pool:7000".parse().unwrap();
        assert_eq!(tcp, SourceSpec { kind: Kind::Tcp("pool:7000".into()), delay: None });
        let device: SourceSpec = "devdax:/dev/dax0.0".parse().unwrap();
        assert_eq!(device, SourceSpec { kind: Kind::DevDax("/dev/dax0.0".into()), delay: None });
        let pool: SourceSpec = "rdma:pool:7471,key=/k,completions=polling,fail-every=9".parse().unwrap();
        let manner = Manner { completions: Completions::Polling, fail_every: 9 };
        let kind = Kind::Rdma { address: "pool:7471".into(), key: "/k".into(), manner };
        assert_eq!(pool, SourceSpec { kind, delay: None });
        let near: SourceSpec = "near:/n,mib=8,after=2".parse().unwrap();
        assert_eq!(
            near,
            SourceSpec { kind: Kind::Near { folder: "/n".into(), mib: 8, after: 2 }, delay: None }
        );
    }

    #[test]
    fn what_is_no_source_is_named() {
        for wrong in [
            "",
            "disk",
            "tcp:pool",
            "devdax:",
            "devdax",
            "near:",
            "near:/n,after=0",
            "near:/n,latency=1us",
            "rdma:pool,key=k",
            "rdma:pool:1",
            "rdma:pool:1,key=k,completions=never",
            "dram,key=k",
            "dram,latency",
            "dram,latency=6",
            "dram,speed=3",
            "file,iops=0",
        ] {
            let error = wrong.parse::<SourceSpec>().unwrap_err();
            assert!(error.to_string().contains("a source is"), "{error}");
        }
    }
}
