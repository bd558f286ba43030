//! The bench of starts: every row has figures or a reason, and its text forms have one line for each.

mod template_common;

use std::path::Path;

use emu::bench_template::{
    Engine, Many, Settings, csv, goals, many, run, synthetic, synthetic_named, synthetic_node, table,
};
use emu::criu::Criu;
use emu::doctor::skip_without;
use emu::sandbox::{Base, Config, Mode};
use template_common::served::SERVED;
use template_common::{NEEDS, Place, base, lacks};

fn criu() -> Criu {
    Criu::find(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../out"))
}

fn criu_is_lacking() -> Option<String> {
    match base() {
        Base::Image(_) => criu().lacking(),
        _ => Some("no base image".into()),
    }
}

#[test]
fn every_row_has_figures_or_a_reason() {
    if skip_without(NEEDS) || lacks("python3") {
        return;
    }
    let place = Place::new();
    let launcher = env!("CARGO_BIN_EXE_trenvx-function").into();
    let config = Config { launcher, base: base(), network: false, ..Config::new(Mode::Repurpose) };
    let subjects = vec![synthetic(16, place.folder.path()).unwrap()];
    let settings = Settings {
        config,
        store: place.store.clone(),
        subjects,
        engines: Engine::ALL.to_vec(),
        starts: 4,
        warm_ups: 1,
        batch: 16,
        criu: criu(),
    };
    let rows = run(&settings).unwrap();
    assert_eq!(rows.len(), Engine::ALL.len());
    for row in &rows {
        assert_eq!(row.not_run.is_some(), row.starts == 0, "{row:?}");
        if row.engine == Engine::Attach {
            assert_eq!(row.starts, 4);
            assert!(row.engine_time.median_us > 0.0 && row.footprint_bytes > 16 << 20, "{row:?}");
        }
    }
    let of = |engine| rows.iter().find(|row| row.engine == engine).unwrap();
    // What a page server brings is there wherever userfaultfd is, and what was recorded comes at once.
    let served = [Engine::Fault, Engine::FaultShared, Engine::FaultTcp, Engine::FaultReplay];
    if emu::doctor::lacking(SERVED).is_none() {
        assert!(served.iter().all(|engine| of(*engine).starts == 4), "{rows:#?}");
        assert!(of(Engine::FaultShared).private_bytes * 2 < of(Engine::Fault).private_bytes, "{rows:#?}");
    }
    // So is what CRIU restores, where one runs: rewritten images share what plain ones copy.
    let restored = [Engine::Criu, Engine::CriuLazy, Engine::CriuAttach];
    if criu_is_lacking().is_none() {
        assert!(restored.iter().all(|engine| of(*engine).starts >= 3), "{rows:#?}");
        assert!(of(Engine::CriuAttach).private_bytes * 2 < of(Engine::Criu).private_bytes, "{rows:#?}");
    }
    let held = goals(&rows);
    assert!(held.iter().any(|goal| goal.what.starts_with("attach and resume") && goal.measured.is_some()));
    assert!(held.iter().any(|goal| goal.what.contains("CRIU")), "{held:?}");
    let many = many(&settings, Many { in_a_row: 5, at_once: 4 }).unwrap();
    assert!(many.len() == 3 && many.iter().all(|goal| goal.measured.is_some()), "{many:?}");
    assert!(many.iter().all(|goal| goal.met == Some(true)), "{many:?}");
    // It holds 16 MiB, and a request reads a few pages of them.
    assert!(of(Engine::Attach).private_bytes * 3 < of(Engine::Cold).private_bytes);
    assert!(of(Engine::AttachCopy).private_bytes > of(Engine::Attach).private_bytes);
    assert!(of(Engine::Zygote).not_run.as_ref().unwrap().contains("CPython"));
    assert_eq!(csv(&rows).lines().count(), rows.len() + 1);
    assert!(table(&rows).contains("NOT-RUN only CPython"));
}

#[test]
fn a_function_in_node_of_a_wanted_size_comes_back() {
    if skip_without(NEEDS) || lacks("node") {
        return;
    }
    let place = Place::new();
    let subject = synthetic_node(16, place.folder.path()).unwrap();
    let (original, template) = subject.capture(&place.manager, &place.store, 1).unwrap();
    drop(original);
    let manifest = template.manifest();
    assert!(manifest.threads.len() > 6 && manifest.pages.present > 16 << 8, "{:?}", manifest.pages);
    for _ in 0..2 {
        let mut attached = place.attach(&template, &subject.program);
        subject.call(&mut attached.sandbox, &subject.inputs.base).unwrap();
    }
}

#[test]
fn names_of_sizes_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let name = |text: &str| synthetic_named(text, folder.path()).map(|subject| subject.unwrap().name);
    assert_eq!(name("sized-3").as_deref(), Some("sized-3"));
    assert_eq!(name("sized-node-3").as_deref(), Some("sized-node-3"));
    assert!(["sized-", "sized-x", "sized-node-", "hello-world"].iter().all(|text| name(text).is_none()));
}
