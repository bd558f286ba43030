//! `trenvx doctor`: what this machine can do.

use std::io::Write;

use crate::common::Folders;
use anyhow::Context;
use clap::{Args, ValueEnum};

/// Width of the table where the terminal does not say its own.
const WIDTH: usize = 110;

/// Tell what this machine can do, and what to do about the rest.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// A table for people, or JSON to keep.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

/// The forms of the report.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// Aligned columns.
    Table,
    /// The saved form.
    Json,
}

/// Examines the machine and prints the report. What is missing is a finding, not a failure.
pub fn run(folders: &Folders, args: &DoctorArgs) -> anyhow::Result<()> {
    let host = ::emu::doctor::Host::this();
    let report = ::emu::doctor::examine_host(&host);
    folders.remember(&host)?;
    let text = match args.format {
        Format::Table => report.to_table(width()),
        Format::Json => report.to_json(),
    };
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        // The reader of a pipe may have seen enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        result => result.context("cannot print the report"),
    }
}

fn width() -> usize {
    let columns = std::env::var("COLUMNS").ok();
    columns.and_then(|text| text.parse().ok()).unwrap_or(WIDTH)
}
