//! `trenvx`: run experiments on serverless sandboxes whose memory comes from shared pools.
//!
//! This package is the command line only: each subcommand is one short file that calls a package.
//! Exit codes: 0 done; 1 a run failed or a claim was refuted with `--strict`; 2 wrong usage or
//! input; 3 the environment lacks something.

mod artifact;
mod bench;
mod common;
mod compare;
mod completions;
mod config;
mod doctor;
mod emu;
mod man;
mod meant;
mod measure;
mod policies;
mod report;
mod reproduce;
mod run;
mod sweep;
mod trace;
mod validate;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// A research testbed for serverless sandboxes whose memory comes from shared pools.
#[derive(Debug, Parser)]
#[command(name = "trenvx", version, max_term_width = 100, propagate_version = true)]
struct Cli {
    #[command(flatten)]
    folders: common::Folders,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Tell what this machine can do, and what to do about the rest.
    Doctor(doctor::DoctorArgs),
    /// Import, generate, sample, convert and describe traces and workloads.
    Trace(trace::TraceArgs),
    /// Run an experiment: every point with every seed that is not in the store yet.
    Run(run::RunArgs),
    /// Run many points: more axes on the line, parts for many machines, a Slurm cluster.
    Sweep(sweep::SweepArgs),
    /// Draw the figures of experiments that were run.
    Figure(report::FigureArgs),
    /// Judge the claims of experiments that were run.
    Claims(report::ClaimsArgs),
    /// Write report.html over experiments that were run.
    Report(report::ReportArgs),
    /// Keep what was measured on this machine, for others to compare with.
    Reference(report::ReferenceArgs),
    /// Write the generated tables of the artifact appendix.
    Artifact(artifact::ArtifactArgs),
    /// Run, draw, judge and report.
    Reproduce(reproduce::ReproduceArgs),
    /// Compare two runs, points, experiments or stores.
    Compare(compare::CompareArgs),
    /// Play a workload on this machine and in the simulator, and print the errors.
    Validate(validate::ValidateArgs),
    /// List experiments and show the values in force.
    Config(config::ConfigArgs),
    /// List the systems: compositions of policies, with their sources.
    Systems(policies::NamesArgs),
    /// List the policies that systems are composed of.
    Policies(policies::NamesArgs),
    /// Measure this build against baselines in the same run.
    Bench(bench::BenchArgs),
    /// Work with real sandboxes on this machine.
    Emu(emu::EmuArgs),
    /// Print what a shell needs to complete commands.
    Completions(completions::CompletionsArgs),
    /// Write the manual pages.
    Man(man::ManArgs),
}

fn main() -> ExitCode {
    ::emu::sandbox::enter_if_asked(::emu::sandbox::ROUTINES);
    ::emu::functions::built_in::enter_if_asked();
    if let Err(error) = ::emu::ending::watch_output() {
        eprintln!("trenvx: cannot watch its output: {error}");
        return ExitCode::from(2);
    }
    ::emu::ending::tell_full_output();
    let cli = Cli::parse();
    if cli.command.has_sandboxes()
        && let Err(error) = ::emu::ending::arm()
    {
        eprintln!("trenvx: cannot wait for signals: {error}");
        return ExitCode::from(2);
    }
    let done = match cli.command {
        Command::Doctor(args) => doctor::run(&cli.folders, &args),
        Command::Trace(args) => trace::run(&cli.folders, args),
        Command::Run(args) => run::run(&cli.folders, &args),
        Command::Sweep(args) => sweep::run(&cli.folders, &args),
        Command::Figure(args) => report::figures(&cli.folders, &args),
        Command::Claims(args) => report::claims(&cli.folders, &args),
        Command::Report(args) => report::report(&cli.folders, &args),
        Command::Reference(args) => report::keep(&cli.folders, &args),
        Command::Reproduce(args) => reproduce::run(&cli.folders, &args),
        Command::Compare(args) => compare::run(&cli.folders, &args),
        Command::Validate(args) => validate::run(&cli.folders, &args),
        Command::Config(args) => config::run(&cli.folders, &args),
        Command::Systems(args) => policies::systems(&args),
        Command::Policies(args) => policies::policies(&args),
        Command::Artifact(args) => artifact::run(&cli.folders, &args),
        Command::Bench(args) => bench::run(&cli.folders, args),
        Command::Emu(args) => emu::run(&cli.folders, args),
        Command::Completions(args) => {
            completions::run(&args);
            Ok(())
        }
        Command::Man(args) => man::run(&args),
    };
    // Told to end: what is taken apart under a command's hands is no failure of its own.
    ::emu::ending::settle();
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if let Some(ended) = error.downcast_ref::<common::Ended>() {
                if !ended.message.is_empty() {
                    eprintln!("trenvx: {}", ended.message);
                }
                return ExitCode::from(ended.code);
            }
            eprintln!("trenvx: {}", common::sentence(&error));
            ExitCode::from(2)
        }
    }
}

impl Command {
    /// Whether it makes sandboxes, guests or browsers in this process, which have to be taken away when it is told to end.
    /// Daemons among the rest end in ways of their own.
    fn has_sandboxes(&self) -> bool {
        match self {
            Self::Run(_) | Self::Validate(_) | Self::Reproduce(_) => true,
            Self::Emu(args) => args.has_sandboxes(),
            _ => false,
        }
    }
}
