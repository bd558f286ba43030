//! The suite: every job in a process of its own, so that its memory is its own, then the tables.

use super::SuiteArgs;
use super::job::JOBS;
use super::result::{Measured, Report};
use crate::common::Folders;
use anyhow::Context;
use std::process::{Command, Stdio};

/// Measures the jobs asked for, keeps the results if a file is named, and shows them.
pub fn run(folders: &Folders, args: &SuiteArgs) -> anyhow::Result<()> {
    for name in &args.only {
        let known = JOBS.iter().map(|job| job.name);
        anyhow::ensure!(
            JOBS.iter().any(|job| job.name == name),
            "--only {name}: no such job: {}",
            configs::hint(name, known)
        );
    }
    let mut report = Report::here(args.quick);
    if let Some(file) = args.keep.as_ref().filter(|file| file.exists()) {
        let before = Report::load(file)?;
        // Another machine, build or model does not belong into one table with this.
        let is_alike = (before.quick, before.model_version, &before.environment.cpu_model)
            == (report.quick, report.model_version, &report.environment.cpu_model);
        anyhow::ensure!(
            is_alike,
            "{} has results of another machine, model version or kind of suite: name another file",
            file.display()
        );
        report.jobs = before.jobs;
    }
    for job in JOBS.iter().filter(|job| args.only.is_empty() || args.only.iter().any(|name| name == job.name))
    {
        eprintln!("{} ...", job.name);
        let measured = in_own_process(folders, job.name, args.quick)?;
        report.jobs.retain(|known| known.name != measured.name);
        report.jobs.push(measured);
        report.jobs.sort_by_key(|known| JOBS.iter().position(|job| job.name == known.name));
        if let Some(file) = &args.keep {
            report.save(file)?;
        }
    }
    report.show();
    Ok(())
}

fn in_own_process(folders: &Folders, name: &str, quick: bool) -> anyhow::Result<Measured> {
    let program = std::env::current_exe().context("this program's own file")?;
    let mut command = Command::new(program);
    command.args(folders.options()).args(["bench", "sim", "--job", name]).stderr(Stdio::inherit());
    if quick {
        command.arg("--quick");
    }
    let output = command.output().with_context(|| format!("job {name}: its process does not start"))?;
    anyhow::ensure!(output.status.success(), "job {name}: its process ended with {}", output.status);
    serde_json::from_slice(&output.stdout)
        .with_context(|| format!("job {name}: its process printed no result"))
}
