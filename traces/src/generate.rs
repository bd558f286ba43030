//! Generators: workloads that are drawn, not read. One file each; all deterministic by seed.

pub mod agents;
pub mod azure_hour;
pub mod calls;
pub mod cdf;
pub mod func;
pub mod functions;
mod hour;
pub mod huawei_hour;
pub mod mt19937;
pub mod request;
mod slots;
pub mod synthetic;
pub mod w1;
pub mod w2;
pub mod zipf;

/// Names of all generators, with what they are.
pub const GENERATORS: [(&str, &str); 8] = [
    ("w1", "TrEnv workload 1: varying bursts, cycles longer than the baselines' keep-alive"),
    ("w2", "TrEnv workload 2: fixed bursts, cycles shorter than the keep-alive, memory scarce"),
    ("func", "TrEnv functional test: one call a slot"),
    ("azure-hour", "26 functions by an hour of Azure Functions 2019 (needs the data set)"),
    ("azure-hour-sample", "the same on the bundled Azure sample"),
    ("huawei-hour", "26 functions by hours of the Huawei 2023 public trace (needs the data set)"),
    ("synthetic", "a cluster drawn from distributions over all of Azure Functions 2019"),
    ("zipf", "the standard job SJ-N: Zipf popularity, Poisson arrivals, log-normal durations"),
];
