//! The experiments and claims of `configs/`, through to figures, verdicts and the report.

use configs::{Experiment, Tier};
use figures::report::warnings_of;
use figures::{ExperimentData, Provenance, ReportInput, Section, judge, render, report};
use std::path::{Path, PathBuf};

fn configs_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs")
}

fn shipped() -> Vec<Experiment> {
    let root = configs_folder();
    let ids = configs::list(&root).unwrap();
    ids.iter()
        .map(|e| configs::load(&configs::find(&e.id, &root).unwrap(), Tier::Kick, &[]).unwrap())
        .collect()
}

/// Everything that can be made of these experiments, into a folder.
fn make(experiments: &[Experiment], data: &[ExperimentData], folder: &Path) -> String {
    let claims = configs::claims::load(&configs_folder()).unwrap();
    let figures: Vec<_> =
        data.iter().map(|d| render(d, &folder.join(&d.id), &Provenance::default()).unwrap()).collect();
    let verdicts = judge(&claims, data);
    let sections = data.iter().zip(&figures).map(|(data, figures)| Section {
        data,
        figures,
        command: format!("trenvx reproduce {} --tier kick", data.id),
        summary: None,
        is_real: false,
    });
    let page = ReportInput {
        file: folder.join("report.html"),
        title: "Report".into(),
        sections: sections.collect(),
        measured: Vec::new(),
        verdicts: &verdicts,
        constants: experiments.first().map_or(&[], |e| &e.constants),
        warnings: data.iter().flat_map(warnings_of).collect(),
        environment: Vec::new(),
        differences: Vec::new(),
        against: None,
        doctor: Vec::new(),
        footer: None,
    };
    std::fs::read_to_string(report(&page).unwrap()).unwrap()
}

#[test]
fn without_runs_every_figure_says_so_and_no_claim_is_decided() {
    let experiments = shipped();
    let data: Vec<_> = experiments.iter().map(ExperimentData::of).collect();
    let folder = tempfile::tempdir().unwrap();
    let html = make(&experiments, &data, folder.path());
    assert!(html.contains("Not run: "));
    assert!(!html.contains("verdict pass\">PASS</span><") && !html.contains("verdict fail\">FAIL</span><"));
}
