//! `trenvx emu calibrate`: measurements become the constants of a machine file.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::Args;
use emu::calibrate::{Found, ReadError, calibrate, changed};
use runs::Environment;

use crate::common::Folders;

/// Write what was measured here into a machine file, which the simulator reads.
///
/// Times are taken only from measurements on real devices and optimised builds; counts from all. What no measurement gives
/// keeps its value and source.
#[derive(Debug, Args)]
pub struct CalibrateArgs {
    /// Measurements: files of out/measurements, or what `trenvx emu bench pager --format json` printed; of several that give
    /// the same constant, the last one counts. Default: all of out/measurements.
    #[arg(value_name = "FILE")]
    from: Vec<PathBuf>,
    /// The machine file that is made or changed.
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
    /// Where the other constants come from, if that file is not there yet.
    #[arg(long, value_name = "FILE", default_value = "configs/machines/paper.toml")]
    base: PathBuf,
    /// Print what would change, and change nothing.
    #[arg(long)]
    dry_run: bool,
}

/// Reads measurements, and writes the machine file.
///
/// # Errors
/// If there is no measurement, one was altered, or the base is no machine file.
pub fn run(folders: &Folders, args: &CalibrateArgs) -> anyhow::Result<()> {
    let files = if args.from.is_empty() { all(folders)? } else { args.from.clone() };
    let found = files.iter().map(|file| Found::read(file)).collect::<Result<Vec<Found>, ReadError>>()?;
    let machine = found.first().map(Found::environment).context("no measurement")?;
    let place = |of: &Environment| (of.cpu_model.clone(), of.cores, of.kernel.clone());
    let other = files.iter().zip(&found).find(|(_, one)| place(one.environment()) != place(machine));
    if let Some((file, _)) = other {
        let (file, first) = (file.display(), files[0].display());
        bail!("{file} was measured on another machine or kernel than {first}: name files of one machine");
    }
    let calibration = calibrate(&found);
    let base = if args.to.exists() { &args.to } else { &args.base };
    let text = fs::read_to_string(base).with_context(|| format!("{}", base.display()))?;
    let title = format!(
        "{} cores of {}, Linux {}, where a source says that it was measured",
        machine.cores.unwrap_or_default(),
        machine.cpu_model.as_deref().unwrap_or("an unknown processor"),
        machine.kernel.as_deref().unwrap_or("of unknown version"),
    );
    let text = changed(&text, &title, &calibration).with_context(|| format!("{}", base.display()))?;
    for ((section, key), value) in &calibration.values {
        println!("{section}.{key}: {:.4} {} ({})", value.number, value.unit, value.origin);
    }
    calibration.counts.iter().for_each(|count| println!("count: {count}"));
    calibration.refused.iter().for_each(|why| eprintln!("refused: {why}"));
    if args.dry_run {
        return Ok(());
    }
    traces::atomic::write_file(&args.to, text.as_bytes())
        .with_context(|| format!("{}", args.to.display()))?;
    println!("{}", args.to.display());
    Ok(())
}

/// Everything that was measured on this machine.
fn all(folders: &Folders) -> anyhow::Result<Vec<PathBuf>> {
    let folder = folders.out.join("measurements");
    let listed = fs::read_dir(&folder).with_context(|| {
        format!("{}: measure first, such as by trenvx run e01 --world emu", folder.display())
    })?;
    let mut files: Vec<PathBuf> = listed.flatten().map(|entry| entry.path()).collect();
    files.retain(|path| path.extension().is_some_and(|end| end == "json"));
    files.sort();
    Ok(files)
}
