//! Whatever bytes a reader is given, it answers with a workload that keeps its promises or with an
//! error that names the file; it never panics.

use proptest::prelude::*;
use std::fs;
use std::io::Read;
use traces::formats::{
    OnDefect, azure_functions_2019, azure_functions_2021, azure_llm_2023, huawei_2023, huawei_2025,
    ibm_code_engine_2026, mooncake,
};
use traces::generate::zipf::Job;
use traces::{Duration, ServiceTime, Source, Spread, Workload, binary, csv_file, samples};

/// The first bytes of a bundled table, whole lines.
fn start_of(path: &str, bytes: u64) -> Vec<u8> {
    let mut start = Vec::new();
    samples::get(path).unwrap().reader().unwrap().take(bytes).read_to_end(&mut start).unwrap();
    let end = start.iter().rposition(|byte| *byte == b'\n').map_or(start.len(), |end| end + 1);
    start.truncate(end);
    start
}

/// Places (as a share of the length) and what is put there: a byte, or nothing (a deletion).
type Damage = Vec<(f64, Option<u8>)>;

fn damage() -> impl Strategy<Value = Damage> {
    let byte = prop_oneof![
        Just(None),
        any::<u8>().prop_map(Some),
        proptest::sample::select(b",-.\n\"e9[]{}\0".to_vec()).prop_map(Some)
    ];
    proptest::collection::vec((0.0..1.0, byte), 1..8)
}

fn damaged(mut bytes: Vec<u8>, damage: &Damage) -> Vec<u8> {
    for (share, byte) in damage {
        let at = (share * bytes.len() as f64) as usize;
        match byte {
            Some(byte) if at < bytes.len() => bytes[at] = *byte,
            None if at < bytes.len() => {
                bytes.remove(at);
            }
            _ => {}
        }
    }
    bytes
}

/// A workload keeps its promises; an error names the damaged file.
fn check(result: traces::Result<Workload>, file: &str) {
    match result {
        Ok(workload) => workload.validate().unwrap(),
        Err(error) => assert!(error.to_string().contains(file), "{error}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn rows_of_invocations(damage in damage()) {
        for defect in [OnDefect::Stop, OnDefect::Drop] {
            let azure = damaged(start_of("azure2021-invitro/Azure2021_30.csv", 5000), &damage);
            let azure = Source::bytes("damaged", azure);
            check(azure_functions_2021::import(&azure, defect).map(|imported| imported.workload), "damaged");
            let huawei = damaged(start_of("huawei-fixtures/requests_table.csv", 5000), &damage);
            let huawei = [Source::bytes("damaged", huawei)];
            check(huawei_2025::import_requests(&huawei, defect).map(|imported| imported.workload), "damaged");
            let cold = Source::bytes("damaged", damaged(start_of("huawei-fixtures/cold_starts_R2.csv", 5000), &damage));
            let _ = huawei_2025::read_cold_starts(&cold, defect);
        }
    }

    #[test]
    fn tables_of_counts(damage in damage()) {
        let table = |kind: &str, bytes| start_of(&format!("azure2019-dirigent/100-{kind}.csv.zst"), bytes);
        let options = azure_functions_2019::Options {
            unjoined: OnDefect::Drop,
            malformed: OnDefect::Drop,
            ..azure_functions_2019::Options::default()
        };
        for place in 0..3 {
            let mut tables = [table("invocations", 6000), table("durations", 2000), table("memory", 2000)];
            tables[place] = damaged(tables[place].clone(), &damage);
            let [invocations, durations, memory] = tables.map(|bytes| Source::bytes("damaged", bytes));
            let files = azure_functions_2019::Files { invocations, durations, memory: Some(memory) };
            // Counts only: a damaged digit can ask for more invocations than a test should draw.
            let _ = azure_functions_2019::read(&files, &options);
        }
        let given = |_: &str| Some(ServiceTime::Constant { ms: 1.0 });
        let options = huawei_2023::Options {
            step: Duration::SECOND,
            spread: Spread::Uniform,
            durations: huawei_2023::Durations::Given(&given),
            unjoined: OnDefect::Drop,
            seed: 1,
        };
        let huawei = damaged(start_of("huawei-fixtures/private_requests_second.csv", 5000), &damage);
        let _ = huawei_2023::read(&[Source::bytes("damaged", huawei)], &options);
    }

    #[test]
    fn requests_and_settings(damage in damage()) {
        let source = |path: &str, bytes| Source::bytes("damaged", damaged(start_of(path, bytes), &damage));
        let _ = azure_llm_2023::import(&source("azure-llm-2023/AzureLLMInferenceTrace_code.csv.zst", 1000));
        let _ = mooncake::import(&source("mooncake-fast25/synthetic_trace.jsonl.zst", 3000));
        let _ = ibm_code_engine_2026::read(&source("ibm-code-engine-2026/app_configs.csv.zst", 6000));
    }

    #[test]
    fn files_of_our_own(damage in damage()) {
        let folder = tempfile::tempdir().unwrap();
        let (binary_path, csv_path) = (folder.path().join("damaged.wkl"), folder.path().join("damaged.csv"));
        let workload = Job { functions: 3, ..Job::standard(20, 1) }.generate().unwrap();
        binary::write(&binary_path, &workload).unwrap();
        csv_file::write(&csv_path, &workload).unwrap();
        fs::write(&binary_path, damaged(fs::read(&binary_path).unwrap(), &damage)).unwrap();
        fs::write(&csv_path, damaged(fs::read(&csv_path).unwrap(), &damage)).unwrap();
        if binary::verify(&binary_path).is_ok() {
            binary::open(&binary_path).unwrap().validate().unwrap();
        }
        if let Ok(read) = csv_file::read(&csv_path) {
            read.validate().unwrap();
        }
    }
}
