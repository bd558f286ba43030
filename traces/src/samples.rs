//! The bundled sample data (`traces/data`), compiled in, so that they are there wherever the
//! command runs. Origin, licence and schema of each file: `traces/data/README.md`.

use crate::error::{Error, Result};
use crate::formats::azure_functions_2019;
use crate::read::Source;

macro_rules! bundled {
    ($($path:literal),* $(,)?) => {
        /// Path below `traces/data`, content.
        const FILES: &[(&str, &[u8])] = &[$(($path, include_bytes!(concat!("../data/", $path)))),*];
    };
}

bundled![
    "azure-llm-2023/AzureLLMInferenceTrace_code.csv.zst",
    "azure-llm-2023/AzureLLMInferenceTrace_conv.csv.zst",
    "azure2019-dirigent/100-durations.csv.zst",
    "azure2019-dirigent/100-invocations.csv.zst",
    "azure2019-dirigent/100-memory.csv.zst",
    "azure2019-dirigent/250-durations.csv.zst",
    "azure2019-dirigent/250-invocations.csv.zst",
    "azure2019-dirigent/250-memory.csv.zst",
    "azure2019-dirigent/500-durations.csv.zst",
    "azure2019-dirigent/500-invocations.csv.zst",
    "azure2019-dirigent/500-memory.csv.zst",
    "azure2021-invitro/Azure2021_30.csv",
    "huawei-fixtures/cold_starts_R2.csv",
    "huawei-fixtures/cold_starts_regions.csv",
    "huawei-fixtures/functions_by_requests.csv",
    "huawei-fixtures/private_requests_second.csv",
    "huawei-fixtures/requests_table.csv",
    "huawei-fixtures/runtime_trigger_R2.csv",
    "ibm-code-engine-2026/app_configs.csv.zst",
    "mooncake-fast25/synthetic_trace.jsonl.zst",
    "serverlessbench-cdfs/CVs.csv.zst",
    "serverlessbench-cdfs/chainlenCDF.csv.zst",
    "serverlessbench-cdfs/execTimeCDF.csv.zst",
    "serverlessbench-cdfs/invokesCDF.csv.zst",
    "serverlessbench-cdfs/memCDF.csv.zst",
    "vswarm-profiles/profile.json.gz",
];

/// Paths of all bundled files below `traces/data`.
pub fn names() -> impl Iterator<Item = &'static str> {
    FILES.iter().map(|(path, _)| *path)
}

/// The bundled file at `path` below `traces/data`.
///
/// # Errors
/// [`Error::UnknownName`] if there is none.
pub fn get(path: &str) -> Result<Source> {
    match FILES.iter().find(|(name, _)| *name == path) {
        Some((name, bytes)) => Ok(Source::bytes(*name, *bytes)),
        None => Err(Error::unknown_name("bundled sample", path, &names().collect::<Vec<_>>())),
    }
}

/// The three tables of the bundled Azure Functions 2019 sample of `functions` (100, 250 or 500)
/// functions: 480 minutes of one day.
///
/// # Errors
/// [`Error::UnknownName`] for another number of functions.
pub fn azure_functions_2019(functions: u32) -> Result<azure_functions_2019::Files> {
    let table = |kind: &str| get(&format!("azure2019-dirigent/{functions}-{kind}.csv.zst"));
    Ok(azure_functions_2019::Files {
        invocations: table("invocations")?,
        durations: table("durations")?,
        memory: Some(table("memory")?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bundled_file_has_its_recorded_checksum_and_none_is_unrecorded() {
        let recorded: Vec<(&str, &str)> = include_str!("../data/SHA256SUMS")
            .lines()
            .map(|line| line.split_once("  ").expect("a checksum and a path"))
            .collect();
        let found: Vec<(String, &str)> = FILES.iter().map(|(path, bytes)| (sha256(bytes), *path)).collect();
        let found: Vec<(&str, &str)> = found.iter().map(|(sum, path)| (sum.as_str(), *path)).collect();
        assert_eq!(found, recorded);
    }

    /// SHA-256 (FIPS 180-4), so that the test needs no external command.
    fn sha256(message: &[u8]) -> String {
        let primes: Vec<u64> = (2u64..312).filter(|n| (2..*n).all(|d| n % d != 0)).collect();
        let fraction =
            |root: fn(u128) -> u128, prime: u64, shift: u32| root(u128::from(prime) << shift) as u32;
        let square_root = |x: u128| x.isqrt();
        let cube_root = |x: u128| {
            let mut root = (x as f64).cbrt() as u128;
            while root.pow(3) > x {
                root -= 1;
            }
            while (root + 1).pow(3) <= x {
                root += 1;
            }
            root
        };
        let constants: Vec<u32> = primes.iter().map(|prime| fraction(cube_root, *prime, 96)).collect();
        let mut state: Vec<u32> =
            primes.iter().take(8).map(|prime| fraction(square_root, *prime, 64)).collect();
        let mut padded = message.to_vec();
        padded.push(0x80);
        padded.resize(padded.len().next_multiple_of(64), 0);
        if padded.len() - message.len() < 9 {
            padded.resize(padded.len() + 64, 0);
        }
        let end = padded.len() - 8;
        padded[end..].copy_from_slice(&(message.len() as u64 * 8).to_be_bytes());
        for block in padded.chunks_exact(64) {
            let mut w: Vec<u32> =
                block.chunks_exact(4).map(|word| u32::from_be_bytes(word.try_into().unwrap())).collect();
            for i in 16..64 {
                let s0 = w[i - 15].rotate_right(7) ^ w[i - 15].rotate_right(18) ^ (w[i - 15] >> 3);
                let s1 = w[i - 2].rotate_right(17) ^ w[i - 2].rotate_right(19) ^ (w[i - 2] >> 10);
                w.push(w[i - 16].wrapping_add(s0).wrapping_add(w[i - 7]).wrapping_add(s1));
            }
            let mut v = state.clone();
            for i in 0..64 {
                let s1 = v[4].rotate_right(6) ^ v[4].rotate_right(11) ^ v[4].rotate_right(25);
                let choice = (v[4] & v[5]) ^ (!v[4] & v[6]);
                let first =
                    v[7].wrapping_add(s1).wrapping_add(choice).wrapping_add(constants[i]).wrapping_add(w[i]);
                let s0 = v[0].rotate_right(2) ^ v[0].rotate_right(13) ^ v[0].rotate_right(22);
                let majority = (v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]);
                v.rotate_right(1);
                v[4] = v[4].wrapping_add(first);
                v[0] = first.wrapping_add(s0.wrapping_add(majority));
            }
            for (sum, value) in state.iter_mut().zip(v) {
                *sum = sum.wrapping_add(value);
            }
        }
        state.iter().map(|word| format!("{word:08x}")).collect()
    }
}
