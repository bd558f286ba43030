//! Contents that must not change unnoticed: a change here changes every result that builds on
//! these workloads, and needs a reason in its commit message.

use traces::formats::azure_functions_2019 as azure;
use traces::generate::{azure_hour, func, w1, w2};
use traces::{ServiceTime, Workload, samples};

/// The first 16 hexadecimal digits of the content hash.
fn content(workload: &Workload) -> String {
    workload.validate().unwrap();
    workload.hash_hex()[..16].to_owned()
}

#[test]
fn the_same_seed_gives_the_same_content_on_every_machine() {
    let service = |_: &str| Some(ServiceTime::Constant { ms: 100.0 });
    let azure =
        azure::import(&samples::azure_functions_2019(100).unwrap(), &azure::Options::default()).unwrap();
    let found = [
        content(&w1::generate(1, &service).unwrap()),
        content(&w2::generate(1, &service).unwrap()),
        content(&func::generate(1, &service).unwrap()),
        content(&azure_hour::generate_sample(1, &service).unwrap()),
        content(&azure.workload),
    ];
    assert_eq!(
        found,
        ["90861672105fb209", "9b4be918c96c0d60", "b48fe1f2c3c9d693", "6b3239ad6c88975d", "a738c951eb75dc44"]
    );
}
