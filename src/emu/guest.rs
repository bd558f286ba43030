//! `trenvx emu guest`: virtual machines that have CXL memory and RDMA.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::{Args, Subcommand, ValueEnum};
use emu::guest::accelerator::Choice;
use emu::guest::image::{Image, ImageError};
use emu::guest::wire::End;
use emu::guest::{self, Accelerator, Backing, Event, Job, Lab, LabError, NodeError, Spec};

use crate::common::{Ended, Folders};

/// Virtual machines with CXL memory and RDMA between them.
#[derive(Debug, Args)]
pub struct GuestArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make the kernel and first file system that guests boot.
    Build(BuildArgs),
    /// Boot guests, run a command in them, and end them.
    Run(RunArgs),
    /// Serve the host: the first process of a guest.
    #[command(hide = true)]
    Agent,
}

#[derive(Debug, Args)]
struct BuildArgs {
    /// A kernel package (.deb) to take instead of the distribution's current one.
    #[arg(long, value_name = "FILE")]
    kernel: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct RunArgs {
    /// Guests.
    #[arg(long, value_name = "N", default_value_t = 1)]
    nodes: usize,
    /// Run the command only in this guest, counted from 1; default: in all.
    #[arg(long, value_name = "NODE")]
    on: Option<usize>,
    /// Processors of each guest.
    #[arg(long, value_name = "N", default_value_t = 1)]
    cpus: u32,
    /// Memory of each guest.
    #[arg(long, value_name = "SIZE", default_value = "1G", value_parser = mebibytes)]
    memory: u64,
    /// A CXL memory device of this size in each guest: a multiple of 256M.
    #[arg(long, value_name = "SIZE", value_parser = mebibytes)]
    cxl: Option<u64>,
    /// One CXL device for all guests together.
    #[arg(long, requires = "cxl")]
    cxl_shared: bool,
    /// Keep what is in the CXL devices in this folder, for the next lab.
    #[arg(long, value_name = "DIR", requires = "cxl", conflicts_with = "cxl_shared")]
    cxl_kept: Option<PathBuf>,
    /// An RDMA device (in software) in each guest.
    #[arg(long)]
    rdma: bool,
    /// The kernel modules that CRIU needs.
    #[arg(long)]
    criu: bool,
    /// The kernel modules that sandboxes need.
    #[arg(long)]
    sandboxes: bool,
    /// What runs the guests.
    #[arg(long, value_enum, default_value_t = AcceleratorArg::Auto)]
    accelerator: AcceleratorArg,
    /// Seconds that all guests may take to come up.
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    boot_within: u64,
    /// Seconds that the command may take; default: no limit.
    #[arg(long, value_name = "SECONDS")]
    within: Option<u64>,
    /// Keep the consoles' logs in this folder; default: only when something fails.
    #[arg(long, value_name = "DIR")]
    logs: Option<PathBuf>,
    /// The command. `trenvx` is this program.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum AcceleratorArg {
    /// KVM where a guest boots with it (tried once), else TCG.
    Auto,
    /// The processor.
    Kvm,
    /// Emulation.
    Tcg,
}

/// A size such as 512M or 2G, in MiB.
fn mebibytes(text: &str) -> Result<u64, String> {
    let wrong = || format!("'{text}' is no size: write 512M or 2G");
    let (digits, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(wrong)?;
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    match unit {
        "M" => Ok(number),
        "G" => Ok(number * 1024),
        _ => Err(wrong()),
    }
}

/// Runs the subcommand.
///
/// # Errors
/// If something is missing or a guest does not do what it is asked to.
pub fn run(folders: &Folders, args: GuestArgs) -> anyhow::Result<()> {
    match args.command {
        Command::Build(args) => build(&folders.out.join(guest::FOLDER), &args),
        Command::Run(args) => run_lab(folders, args),
        Command::Agent => Ok(guest::agent::serve()?),
    }
}

fn build(folder: &Path, args: &BuildArgs) -> anyhow::Result<()> {
    let begin = Instant::now();
    std::fs::create_dir_all(folder.parent().unwrap_or(folder))
        .with_context(|| format!("cannot make {}", folder.display()))?;
    let image = Image::build(folder, args.kernel.as_deref()).map_err(lacking)?;
    let size = |path: PathBuf| std::fs::metadata(path).map(|data| data.len() >> 20).unwrap_or_default();
    println!(
        "{}: Linux {} ({}), kernel {} MiB, initramfs {} MiB, {:.1} s",
        folder.display(),
        image.meta().kernel,
        image.meta().package,
        size(image.kernel()),
        size(image.initramfs()),
        begin.elapsed().as_secs_f64()
    );
    Ok(())
}

fn run_lab(folders: &Folders, args: RunArgs) -> anyhow::Result<()> {
    if args.on.is_some_and(|node| node == 0 || node > args.nodes) {
        anyhow::bail!("--on {}: there are guests 1 to {}", args.on.unwrap_or_default(), args.nodes);
    }
    let kept = args.logs.is_some();
    let logs =
        args.logs.unwrap_or_else(|| folders.out.join(guest::LOGS).join(std::process::id().to_string()));
    let program = std::env::current_exe().context("cannot find this program")?;
    let mut spec = Spec::new(&folders.out.join(guest::FOLDER), &program, &logs);
    spec.nodes = args.nodes;
    spec.cpus = args.cpus;
    spec.memory_mib = args.memory;
    let backing = match (args.cxl_kept, args.cxl_shared) {
        (Some(folder), _) => Backing::Kept(folder),
        (None, true) => Backing::Shared,
        (None, false) => Backing::Fresh,
    };
    spec.cxl = args.cxl.map(|mib| (mib, backing));
    spec.rdma = args.rdma;
    spec.criu = args.criu;
    spec.sandboxes = args.sandboxes;
    spec.boot_within = Duration::from_secs(args.boot_within);
    spec.accelerator = match args.accelerator {
        AcceleratorArg::Auto => Choice::Auto,
        AcceleratorArg::Kvm => Choice::Only(Accelerator::Kvm),
        AcceleratorArg::Tcg => Choice::Only(Accelerator::Tcg),
    };
    let begin = Instant::now();
    let lab = Lab::boot(&spec).map_err(|error| match error {
        LabError::Image(error) => lacking(error),
        error => error.into(),
    })?;
    eprintln!(
        "trenvx: {} guests up after {:.1} s under {} (emulated devices: true in function, not in time)",
        args.nodes,
        begin.elapsed().as_secs_f64(),
        lab.accelerator().name()
    );
    let wanted: Vec<usize> = match args.on {
        Some(node) => vec![node - 1],
        None => (0..args.nodes).collect(),
    };
    let limit = args.within.map(Duration::from_secs);
    let codes = std::thread::scope(|scope| {
        let threads: Vec<_> = wanted
            .iter()
            .map(|node| {
                let (lab, command, named) = (&lab, &args.command, wanted.len() > 1);
                scope.spawn(move || follow(lab, *node, command, named, limit))
            })
            .collect();
        let joined = threads.into_iter().map(|thread| thread.join().expect("no panic while printing"));
        joined.collect::<Result<Vec<u8>, NodeError>>()
    })?;
    drop(lab);
    let worst = codes.into_iter().find(|code| *code != 0).unwrap_or(0);
    if worst != 0 {
        let message = format!("the command failed; logs are in {}", logs.display());
        return Err(Ended { code: worst, message }.into());
    }
    if !kept {
        let _ = std::fs::remove_dir_all(&logs);
        // Only when no other lab has logs there.
        let _ = std::fs::remove_dir(logs.parent().unwrap_or(&logs));
    }
    Ok(())
}

/// Runs the command in one guest and prints what it prints; with the guest's number in front of each line where
/// several run.
fn follow(
    lab: &Lab,
    node: usize,
    command: &[String],
    named: bool,
    limit: Option<Duration>,
) -> Result<u8, NodeError> {
    let until = limit.map(|limit| Instant::now() + limit);
    let job = lab.node(node).start(command)?;
    let prefix = if named { format!("{}: ", node + 1) } else { String::new() };
    let mut output = Lines::new(&prefix);
    let mut errors = Lines::new(&prefix);
    loop {
        match job.next(Duration::from_millis(500))? {
            Event::Output(bytes) => output.add(&bytes, &mut std::io::stdout()),
            Event::Errors(bytes) => errors.add(&bytes, &mut std::io::stderr()),
            Event::End(end) => {
                output.finish(&mut std::io::stdout());
                errors.finish(&mut std::io::stderr());
                return Ok(code(&end));
            }
            Event::Nothing => {}
        }
        if until.is_some_and(|until| Instant::now() > until) {
            return late(job, command, limit.unwrap_or_default());
        }
    }
}

fn late(job: Job<'_>, command: &[String], within: Duration) -> Result<u8, NodeError> {
    drop(job);
    eprintln!("trenvx: '{}' did not end within {within:?} and was killed", command.join(" "));
    Ok(124)
}

/// The exit code of a command, or what a shell makes of a signal.
fn code(end: &End) -> u8 {
    match end {
        End::Code(code) => u8::try_from(*code).unwrap_or(1),
        End::Signal(signal) => u8::try_from(128 + signal).unwrap_or(1),
        End::NotStarted(_) => 127,
    }
}

/// Prints whole lines, each with a prefix, so that those of several guests do not mix.
struct Lines<'a> {
    prefix: &'a str,
    rest: Vec<u8>,
}

impl<'a> Lines<'a> {
    fn new(prefix: &'a str) -> Self {
        Self { prefix, rest: Vec::new() }
    }

    fn add(&mut self, bytes: &[u8], to: &mut impl Write) {
        self.rest.extend_from_slice(bytes);
        while let Some(at) = self.rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.rest.drain(..=at).collect();
            self.print(&line, to);
        }
    }

    fn finish(&mut self, to: &mut impl Write) {
        if !self.rest.is_empty() {
            let mut line = std::mem::take(&mut self.rest);
            line.push(b'\n');
            self.print(&line, to);
        }
    }

    fn print(&self, line: &[u8], to: &mut impl Write) {
        // Nobody may read it any more.
        let _ = to.write_all(&[self.prefix.as_bytes(), line].concat()).and_then(|()| to.flush());
    }
}

/// What is not installed or built is the environment's lack: exit code 3.
fn lacking(error: ImageError) -> anyhow::Error {
    match error {
        ImageError::None(_) | ImageError::Old(_) | ImageError::Program { .. } => {
            Ended { code: 3, message: error.to_string() }.into()
        }
        error => error.into(),
    }
}
