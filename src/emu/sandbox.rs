//! `trenvx emu sandbox`: sandboxes that outlive the command, held by a manager in the background.
//!
//! The first `create` starts the manager; it serves one command after another over a socket and ends when its
//! last sandbox is destroyed, or when nobody has asked it for anything within a minute of its start.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command as Process, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use ::emu::sandbox::{Base, Config, LimitMet, Limits, Manager, Mode, Program, Sandbox, labels};

/// How long a manager without a sandbox waits for one.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a started manager may take to listen.
const START: Duration = Duration::from_secs(10);
/// Bytes of its log that a failed function's error quotes.
const QUOTED: usize = 2_000;

/// Work with sandboxes that stay.
#[derive(Debug, Args)]
pub struct SandboxArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a sandbox and start a function in it.
    Create {
        /// Name for later commands.
        name: String,
        /// Folder with a root file system; default: the programs of this machine. Counts for the first sandbox.
        #[arg(long, value_name = "DIR")]
        base: Option<PathBuf>,
        #[command(flatten)]
        function: FunctionArgs,
    },
    /// End the function of a sandbox and start another in it.
    Repurpose {
        /// The sandbox.
        name: String,
        #[command(flatten)]
        function: FunctionArgs,
    },
    /// Send one request to the function of a sandbox and print its answer.
    Exec {
        /// The sandbox.
        name: String,
        /// Input of the request, as JSON.
        #[arg(default_value = "null")]
        input: String,
        /// Seconds to wait for the answer.
        #[arg(long, default_value_t = 60)]
        within: u64,
    },
    /// List the sandboxes.
    List,
    /// Destroy a sandbox.
    Destroy {
        /// The sandbox.
        name: String,
    },
    /// The manager itself.
    #[command(hide = true)]
    Serve {
        #[arg(long)]
        base: Option<PathBuf>,
    },
}

#[derive(Debug, Args)]
struct FunctionArgs {
    /// Read-only folder tree over the base, at `/` inside; the first one is on top.
    #[arg(long = "layer", value_name = "DIR")]
    layers: Vec<PathBuf>,
    /// Memory, MiB.
    #[arg(long, value_name = "MIB")]
    memory_mib: Option<u64>,
    /// Processor time, thousandths of a core.
    #[arg(long, value_name = "N")]
    cpu_millis: Option<u32>,
    /// Processes and threads.
    #[arg(long, value_name = "N")]
    pids: Option<u32>,
    /// The program and its arguments.
    #[arg(last = true, required = true, value_name = "PROGRAM")]
    argv: Vec<String>,
}

/// Runs `trenvx emu sandbox`.
///
/// # Errors
/// What the manager answers, or that there is none.
pub fn run(args: SandboxArgs) -> anyhow::Result<()> {
    let answer = match args.command {
        Command::Serve { base } => return serve(base),
        Command::Create { name, base, function } => {
            start_manager(base.as_deref())?;
            ask(&json!({ "do": "create", "name": name, "function": function.to_json()? }))?
        }
        Command::Repurpose { name, function } => {
            ask(&json!({ "do": "repurpose", "name": name, "function": function.to_json()? }))?
        }
        Command::Exec { name, input, within } => {
            let input: Value =
                serde_json::from_str(&input).with_context(|| format!("the input is not JSON: {input}"))?;
            ask(&json!({ "do": "exec", "name": name, "input": input, "within": within }))?
        }
        Command::List => match UnixStream::connect(labels::SOCKET) {
            Ok(_) => ask(&json!({ "do": "list" }))?,
            Err(_) => json!([]),
        },
        Command::Destroy { name } => ask(&json!({ "do": "destroy", "name": name }))?,
    };
    match answer {
        Value::Array(rows) => rows.iter().for_each(|row| println!("{row}")),
        other => println!("{other}"),
    }
    Ok(())
}

impl FunctionArgs {
    fn to_json(&self) -> anyhow::Result<Value> {
        // The manager has another working folder.
        let layers = self
            .layers
            .iter()
            .map(|layer| layer.canonicalize().with_context(|| format!("layer {}", layer.display())));
        Ok(json!({
            "layers": layers.collect::<anyhow::Result<Vec<_>>>()?,
            "memory_mib": self.memory_mib,
            "cpu_millis": self.cpu_millis,
            "pids": self.pids,
            "argv": self.argv,
        }))
    }
}

fn program(function: &Value) -> anyhow::Result<Program> {
    let list = |key: &str| -> Vec<String> {
        let values = function[key].as_array().into_iter().flatten();
        values.filter_map(|value| Some(value.as_str()?.to_owned())).collect()
    };
    let usual = Limits::default();
    let number = |key: &str| -> anyhow::Result<Option<u32>> {
        function[key].as_u64().map(u32::try_from).transpose().with_context(|| format!("{key} is too large"))
    };
    let mut program = Program::new(list("argv"));
    program.layers = list("layers").into_iter().map(PathBuf::from).collect();
    program.limits = Limits {
        memory_bytes: function["memory_mib"].as_u64().map(|mib| mib << 20).or(usual.memory_bytes),
        cpu_millis: number("cpu_millis")?.or(usual.cpu_millis),
        pids: number("pids")?.or(usual.pids),
        ..usual
    };
    Ok(program)
}

/// Asks the manager, and gives its answer or its error.
fn ask(question: &Value) -> anyhow::Result<Value> {
    let mut stream = UnixStream::connect(labels::SOCKET)
        .context("no sandbox has been made: `trenvx emu sandbox create` starts the manager")?;
    writeln!(stream, "{question}")?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    let mut answer: Value = serde_json::from_str(&line).context("the manager ended without an answer")?;
    match answer["error"].as_str() {
        Some(error) => bail!("{error}"),
        None => Ok(answer["done"].take()),
    }
}

/// Starts a manager in the background, unless one listens.
fn start_manager(base: Option<&Path>) -> anyhow::Result<()> {
    if UnixStream::connect(labels::SOCKET).is_ok() {
        return Ok(());
    }
    let mut serve = Process::new("/proc/self/exe");
    serve.args(["emu", "sandbox", "serve"]);
    if let Some(base) = base {
        serve.arg("--base").arg(base.canonicalize().with_context(|| format!("base {}", base.display()))?);
    }
    serve.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut manager = serve.spawn().context("cannot start the manager")?;
    let end = Instant::now() + START;
    while Instant::now() < end {
        if UnixStream::connect(labels::SOCKET).is_ok() {
            return Ok(());
        }
        if let Some(status) = manager.try_wait()? {
            let mut reason = String::new();
            if let Some(mut stderr) = manager.stderr.take() {
                std::io::Read::read_to_string(&mut stderr, &mut reason)?;
            }
            bail!("the manager did not start ({status}): {}", reason.trim());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    bail!("the manager does not listen after {} s", START.as_secs())
}

/// Is the manager: serves until its last sandbox is gone.
fn serve(base: Option<PathBuf>) -> anyhow::Result<()> {
    // SAFETY: makes this process the head of a session of its own, away from the terminal that started it.
    unsafe { libc::setsid() };
    let mut config = Config::new(Mode::Repurpose);
    if let Some(base) = base {
        config.base = Base::Image(base);
    }
    let manager = Manager::start(config)?;
    let path = Path::new(labels::SOCKET);
    // Whoever had it does not listen any more, or `create` would not have started us.
    let _ = std::fs::remove_file(path);
    let listener =
        UnixListener::bind(path).with_context(|| format!("cannot listen at {}", path.display()))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    listener.set_nonblocking(true)?;
    let mut sandboxes = BTreeMap::new();
    let mut had_some = false;
    let began = Instant::now();
    while !had_some || !sandboxes.is_empty() {
        match listener.accept() {
            Ok((stream, _)) => {
                // One who connects only to see whether we listen says nothing.
                let _ = answer(&manager, &mut sandboxes, &stream);
                had_some |= !sandboxes.is_empty();
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                if !had_some && began.elapsed() > PATIENCE {
                    break;
                }
                std::thread::sleep(Duration::from_millis(2));
            }
            Err(error) => return Err(error.into()),
        }
    }
    let _ = std::fs::remove_file(path);
    Ok(())
}

fn answer(
    manager: &Manager,
    sandboxes: &mut BTreeMap<String, Sandbox>,
    stream: &UnixStream,
) -> anyhow::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    let question: Value = serde_json::from_str(&line)?;
    let answer = match obey(manager, sandboxes, &question) {
        Ok(done) => json!({ "done": done }),
        Err(error) => json!({ "error": format!("{error:#}") }),
    };
    let mut reply = stream;
    writeln!(reply, "{answer}")?;
    Ok(())
}

fn obey(
    manager: &Manager,
    sandboxes: &mut BTreeMap<String, Sandbox>,
    question: &Value,
) -> anyhow::Result<Value> {
    let name = question["name"].as_str().unwrap_or_default().to_owned();
    let unknown = || format!("no sandbox is named {name}; see `trenvx emu sandbox list`");
    match question["do"].as_str() {
        Some("create") => {
            if sandboxes.contains_key(&name) {
                bail!("a sandbox is named {name} already");
            }
            let sandbox = manager.create(&program(&question["function"])?)?;
            let row = describe(&name, &sandbox);
            sandboxes.insert(name, sandbox);
            Ok(row)
        }
        Some("repurpose") => {
            let program = program(&question["function"])?;
            let sandbox = sandboxes.remove(&name).with_context(unknown)?;
            let sandbox = manager.repurpose(sandbox, &program)?;
            let row = describe(&name, &sandbox);
            sandboxes.insert(name, sandbox);
            Ok(row)
        }
        Some("exec") => {
            let sandbox = sandboxes.get_mut(&name).with_context(unknown)?;
            let within = Duration::from_secs(question["within"].as_u64().unwrap_or(60));
            let function = sandbox.function_mut().context("the sandbox has no function")?;
            match function.channel.request(&question["input"], within) {
                Ok(answer) => Ok(answer),
                Err(failure) => {
                    let log = function.log.tail(QUOTED).unwrap_or_default();
                    let met: Vec<String> = sandbox.limits_met()?.iter().map(LimitMet::to_string).collect();
                    bail!("{failure}. Limits met: {met:?}. Log: {}", String::from_utf8_lossy(&log))
                }
            }
        }
        Some("list") => Ok(sandboxes.iter().map(|(name, sandbox)| describe(name, sandbox)).collect()),
        Some("destroy") => {
            let sandbox = sandboxes.remove(&name).with_context(unknown)?;
            let steps = manager.destroy_now(sandbox)?;
            Ok(json!({ "destroyed": name, "ms": steps.whole.as_secs_f64() * 1e3 }))
        }
        other => bail!("unknown request {other:?}"),
    }
}

fn describe(name: &str, sandbox: &Sandbox) -> Value {
    let function = sandbox.function();
    json!({
        "name": name,
        "number": sandbox.number(),
        "init": sandbox.init_pid(),
        "function": function.and_then(|function| function.pid()),
        "ended": function.is_none_or(|function| function.has_ended()),
        "address": sandbox.address().map(|address| address.to_string()),
        "start_ms": sandbox.steps().whole.as_secs_f64() * 1e3,
    })
}
