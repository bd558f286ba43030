use super::*;
use crate::llm::LlmRequest;
use crate::workload::FunctionId;
use std::fs;
use tempfile::TempDir;

fn workload() -> Workload {
    let function =
        |name: &str| Function { name: name.into(), tenant: "t".into(), profile: None, memory: None };
    let invocation = |ms: u64, function| {
        Invocation::new(
            Instant::ZERO + Duration::from_millis(ms),
            FunctionId(function),
            Duration::from_millis(3),
        )
    };
    Workload {
        name: "small".into(),
        functions: vec![function("a"), function("b")],
        invocations: vec![invocation(1, 0), invocation(1, 1), invocation(7, 0)].into(),
        burn_in: Duration::from_millis(2),
        span: Duration::SECOND,
        provenance: vec!["by hand".into()],
    }
}

/// A folder with one written workload.
fn written() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.wkl");
    write(&path, &workload()).unwrap();
    (folder, path)
}

/// The message of opening and verifying the file after `change`, without its folder.
fn message_after(change: impl FnOnce(&mut Vec<u8>)) -> String {
    let (folder, path) = written();
    let mut bytes = fs::read(&path).unwrap();
    change(&mut bytes);
    fs::write(&path, bytes).unwrap();
    let error = verify(&path).unwrap_err();
    error.to_string().replace(&format!("{}/", folder.path().display()), "")
}

#[test]
fn a_workload_comes_back_as_it_was_and_stays_in_the_file() {
    let (_folder, path) = written();
    let read = open(&path).unwrap();
    assert_eq!(read, workload());
    assert!(read.invocations.is_mapped());
    assert_eq!(stored_hash(&path).unwrap(), workload().hash_hex());
    verify(&path).unwrap();
}

#[test]
fn requests_to_a_language_model_come_back_as_they_were() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("llm.wkl");
    let trace = LlmTrace {
        name: "llm".into(),
        requests: vec![LlmRequest::new(Instant::from_nanos(5), 100, 7)].into(),
        span: Duration::SECOND,
        provenance: vec![],
    };
    write_llm(&path, &trace).unwrap();
    verify(&path).unwrap();
    assert_eq!(open_llm(&path).unwrap(), trace);
    assert!(
        open(&path)
            .unwrap_err()
            .to_string()
            .ends_with("llm.wkl: holds requests to a language model, not invocations of functions")
    );
}

#[test]
fn a_foreign_file_is_called_foreign() {
    assert_eq!(
        message_after(|bytes| bytes[..8].copy_from_slice(b"app,func")),
        "w.wkl: not a trenvx workload file (its first bytes are \"app,func\"); import it with `trenvx trace import`"
    );
}

#[test]
fn a_truncated_file_says_how_much_is_missing() {
    assert_eq!(
        message_after(|bytes| bytes.truncate(300)),
        "w.wkl: truncated: 300 bytes, expected 336; copy or generate it again"
    );
    assert_eq!(
        message_after(|bytes| bytes.truncate(20)),
        "w.wkl: truncated: 20 bytes, expected 128; copy or generate it again"
    );
    assert_eq!(
        message_after(Vec::clear),
        "w.wkl: truncated: 0 bytes, expected 128; copy or generate it again"
    );
}

#[test]
fn another_version_is_refused() {
    assert_eq!(
        message_after(|bytes| bytes[8] = 9),
        "w.wkl: workload file version 9, this program reads version 1; import the trace again"
    );
}

#[test]
fn one_flipped_bit_anywhere_behind_the_magic_is_noticed() {
    let (_folder, path) = written();
    let sound = fs::read(&path).unwrap();
    for byte in 8..sound.len() {
        let mut bytes = sound.clone();
        bytes[byte] ^= 0x10;
        fs::write(&path, &bytes).unwrap();
        assert!(verify(&path).is_err(), "byte {byte}");
    }
}

#[test]
fn changed_content_is_called_corrupt() {
    assert_eq!(
        message_after(|bytes| *bytes.last_mut().unwrap() ^= 1),
        "w.wkl: corrupt: the hash of its content is not the one in its header; copy or generate it again"
    );
}

#[test]
fn impossible_lengths_do_not_overflow() {
    assert_eq!(
        message_after(|bytes| bytes[24..32].fill(0xff)),
        "w.wkl: corrupt: the lengths in its header are impossible; copy or generate it again"
    );
}

#[test]
fn unsorted_invocations_are_refused_and_leave_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.wkl");
    let mut unsorted = workload();
    let mut invocations = unsorted.invocations.to_vec();
    invocations.swap(0, 2);
    unsorted.invocations = invocations.into();
    let error = write(&path, &unsorted).unwrap_err().to_string();
    assert!(
        error.ends_with(
            "w.wkl\": invocation 1 (t=0.001000 s) arrives before the one in front of it (t=0.007000 s); sort by arrival"
        ),
        "{error}"
    );
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    assert_eq!(
        unsorted.validate().unwrap_err().to_string(),
        "workload \"small\": invocation 1 (t=0.001000 s) arrives before the one in front of it (t=0.007000 s); sort \
         by arrival"
    );
}

#[test]
fn an_unknown_function_and_a_late_arrival_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let problem = |arrival_ms: u64, function: u32| {
        let mut writer = WorkloadWriter::create(&folder.path().join("w.wkl"), &workload()).unwrap();
        let arrival = Instant::ZERO + Duration::from_millis(arrival_ms);
        let error =
            writer.push(&[Invocation::new(arrival, FunctionId(function), Duration::ZERO)]).unwrap_err();
        error.to_string().split_once("\": ").unwrap().1.to_owned()
    };
    assert_eq!(problem(1, 2), "invocation 0 (t=0.001000 s) names function 2, the table has 2");
    assert_eq!(problem(1000, 0), "invocation 0 (t=1.000000 s) is not before the end of the workload (1 s)");
}

#[test]
fn two_functions_of_one_name_are_refused() {
    let mut workload = workload();
    workload.functions[1].name = "a".into();
    assert_eq!(
        workload.validate().unwrap_err().to_string(),
        "workload \"small\": two functions are called \"a\"; names must be unique"
    );
}
