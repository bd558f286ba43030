//! What tests of templates share.

#![allow(dead_code, reason = "each test file uses some of it")]

pub mod python;
pub mod random;
pub mod served;

use std::path::{Path, PathBuf};
use std::time::Duration;

use emu::sandbox::{Base, Config, Limits, Manager, Mode, Program, Sandbox};
use emu::template::{Attached, Backing, Error, Prepared, Request, Store, Template, capture};
use serde_json::{Value, json};

/// What templates need of a machine.
pub const NEEDS: &[&str] = &[
    "root",
    "namespace-mount",
    "namespace-pid",
    "namespace-net",
    "cgroup2",
    "clone-into-cgroup",
    "overlayfs",
    "mount-api",
    "pidfd",
    "seccomp",
    "ptrace",
    "clone3-set-tid",
];

pub const WITHIN: Duration = Duration::from_secs(30);

/// The base of sandboxes: the image of the set-up, or this machine's programs.
pub fn base() -> Base {
    let image = Path::new(env!("CARGO_MANIFEST_DIR")).join("../out/images/base");
    if image.join("usr").is_dir() { Base::Image(image) } else { Base::HostPrograms }
}

/// Whether the base has this program; says so if not.
pub fn lacks(program: &str) -> bool {
    let root = match base() {
        Base::Image(image) => image,
        Base::HostPrograms => PathBuf::from("/"),
    };
    let lacks = !root.join("usr/bin").join(program).exists();
    if lacks {
        emu::doctor::skip(&format!("the base of sandboxes has no {program}"));
    }
    lacks
}

/// A folder in memory with a store, and files for layers.
pub struct Place {
    pub folder: tempfile::TempDir,
    pub store: Store,
    pub manager: Manager,
}

impl Place {
    pub fn new() -> Self {
        Self::with(false)
    }

    /// With a network in each sandbox, or a lone loopback.
    pub fn with(network: bool) -> Self {
        Self::on(base(), network)
    }

    /// On another base.
    pub fn on(base: Base, network: bool) -> Self {
        let folder = tempfile::tempdir_in("/dev/shm").expect("a folder in memory");
        let store = Store::open(&folder.path().join("store")).expect("a store");
        let launcher = PathBuf::from(env!("CARGO_BIN_EXE_trenvx-function"));
        let config = Config { launcher, base, network, ..Config::new(Mode::Repurpose) };
        let manager = Manager::start(config).expect("a manager starts");
        Self { folder, store, manager }
    }

    /// A layer with one file at `/function/NAME`.
    pub fn layer(&self, name: &str, content: &[u8]) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let layer = self.folder.path().join(format!("layer-{name}"));
        let file = layer.join("function").join(name);
        std::fs::create_dir_all(file.parent().expect("it has a folder")).expect("a layer");
        std::fs::write(&file, content).expect("a layer's file");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).expect("a mode");
        layer
    }

    /// The project's own small function, executed.
    pub fn native(&self, args: &[&str]) -> Program {
        let content = std::fs::read(env!("CARGO_BIN_EXE_trenvx-function")).expect("the function");
        let layer = self.layer("native", &content);
        let argv = ["/function/native", "serve"].iter().chain(args).map(ToString::to_string);
        Program { layers: vec![layer], ..Program::new(argv) }
    }

    /// A program in Python or Node.
    pub fn script(&self, name: &str, source: &str) -> Program {
        let layer = self.layer(name, source.as_bytes());
        let runner = if name.ends_with(".js") { "/usr/bin/node" } else { "/usr/bin/python3" };
        let limits = Limits { memory_bytes: Some(4 << 30), ..Limits::default() };
        let argv = [runner.to_owned(), format!("/function/{name}")];
        Program { layers: vec![layer], limits, ..Program::new(argv) }
    }

    /// Starts a function and waits until it is ready.
    pub fn start(&self, program: &Program) -> Sandbox {
        let mut sandbox = self.manager.create(program).expect("a sandbox");
        let function = sandbox.function_mut().expect("a function");
        let line = function.channel.line(WITHIN);
        let log = function.log.tail(2000).unwrap_or_default();
        let line = line.unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&log)));
        assert!(line.starts_with(b"{\"ready\""), "{:?}", String::from_utf8_lossy(&line));
        sandbox
    }

    /// Captures what runs in a sandbox.
    pub fn capture(&self, sandbox: &Sandbox, name: &str) -> Result<Template, Error> {
        capture(&self.store, sandbox.function().expect("a function"), &Request::new(name, 0))
    }

    /// Attaches a template with private mappings.
    pub fn attach(&self, template: &Template, program: &Program) -> Attached {
        self.attach_by(template, program, Backing::Map)
    }

    pub fn attach_by(&self, template: &Template, program: &Program, backing: Backing) -> Attached {
        let prepared = Prepared::new(template, backing).expect("a template that can be attached");
        prepared.start(&self.manager, None, program, None).unwrap_or_else(|error| panic!("{error}"))
    }
}

/// Asks for something and gives the answer's output, or what went wrong with the end of the log.
pub fn ask(sandbox: &mut Sandbox, input: &Value) -> Value {
    let function = sandbox.function_mut().expect("a function");
    match function.channel.request(input, WITHIN) {
        Ok(answer) if answer["ok"] == true => answer["output"].clone(),
        Ok(answer) => panic!("{answer}"),
        Err(error) => {
            let log = function.log.tail(4000).unwrap_or_default();
            panic!("{input}: {error}: {}", String::from_utf8_lossy(&log));
        }
    }
}

pub fn action(sandbox: &mut Sandbox, name: &str, with: &Value) -> Value {
    ask(sandbox, &json!({ "action": name, "with": with }))
}
