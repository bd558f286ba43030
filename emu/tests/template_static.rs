//! A static program of two threads: vector registers, restartable sequences, and locks that note the end of their
//! holder come back.

mod template_common;

use std::process::Command;

use emu::doctor::{skip, skip_without};
use emu::sandbox::Program;
use emu::template::Backing;
use serde_json::json;
use template_common::{NEEDS, Place, ask};

const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/template_common/static.c");

#[test]
fn a_static_program_comes_back_with_its_registers_and_locks() {
    if skip_without(NEEDS) {
        return;
    }
    let place = Place::new();
    let file = place.folder.path().join("static");
    let compiled =
        Command::new("cc").args(["-O1", "-static", "-pthread", "-o"]).arg(&file).arg(SOURCE).output();
    match compiled {
        Ok(done) if done.status.success() => {}
        Ok(done) => return skip(&format!("no static program: {}", String::from_utf8_lossy(&done.stderr))),
        Err(error) => return skip(&format!("cc: {error}")),
    }
    let layer = place.layer("static", &std::fs::read(&file).unwrap());
    let program = Program { layers: vec![layer], ..Program::new(["/function/static"]) };
    let mut original = place.start(&program);
    let first = ask(&mut original, &json!("first"));
    let vectors = first["bytes"].clone();
    let expected = |calls: u32, robust: i32| json!({ "calls": calls, "vectors": 1, "bytes": vectors, "sequences": 1, "robust": robust });
    assert_eq!(first, expected(1, -1));
    let template = place.capture(&original, "static").unwrap();
    let manifest = template.manifest();
    assert_eq!(manifest.threads.len(), 2);
    assert!(manifest.threads.iter().all(|thread| thread.robust_list.0 != 0 && thread.rseq.0 != 0));
    let dynamic = manifest.known_files.iter().any(|file| file.path.contains(".so"));
    assert!(!dynamic, "{:?}", manifest.known_files);
    for backing in [Backing::Map, Backing::Copy, Backing::Map] {
        let mut attached = place.attach_by(&template, &program, backing);
        assert_eq!(ask(&mut attached.sandbox, &json!("again")), expected(2, -1), "{backing:?}");
        assert_eq!(ask(&mut attached.sandbox, &json!("robust")), expected(3, 1), "{backing:?}");
    }
    assert_eq!(ask(&mut original, &json!("robust")), expected(2, 1));
}
