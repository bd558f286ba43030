//! What tests of microVMs share: one boot for all tests of a run.

#![allow(dead_code, reason = "each test file uses some of it")]

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use emu::doctor::{skip, skip_without};
use emu::vm::bench::Setting;
use emu::vm::{Accelerator, Host, Image, Machine, Method, RootDevice, Template, Vm};
use serde_json::Value;

/// What microVMs need beside what sandboxes do.
const NEEDS: &[&str] = &[
    "root",
    "namespace-mount",
    "namespace-pid",
    "namespace-net",
    "cgroup2",
    "clone-into-cgroup",
    "cgroup-kill",
    "overlayfs",
    "mount-api",
    "pidfd",
    "seccomp",
    "qemu",
];
pub const WITHIN: Duration = Duration::from_secs(60);
/// Guest memory of the shared template, MiB.
pub const MEMORY_MIB: u32 = 256;
const NAME: &str = "tests";
/// What the shared template has run to get warm.
pub const WARM: &str = "counter = 41";

/// What one test has: nobody else runs microVMs meanwhile.
pub struct Bed {
    pub setting: Setting,
    /// Folder of outputs for tests of this run.
    pub out: PathBuf,
    _alone: Option<File>,
}

/// The bed, or `None` after saying why the test skips itself. Software runs the guests, so that no test waits for a
/// probe of the processor.
pub fn bed() -> Option<Bed> {
    if skip_without(NEEDS) {
        return None;
    }
    let image = match Image::find(&repository().join("out")) {
        Ok(image) => image,
        Err(error) => {
            skip(&error.to_string());
            return None;
        }
    };
    // All tests of a run have the same parent, in one process or in many.
    let place = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let run = std::os::unix::process::parent_id();
    let out = place.join(format!("vm-{run}"));
    fs::create_dir_all(&out).expect("a folder for this run");
    let alone = File::create(place.join("vm.lock")).expect("a lock");
    alone.lock().expect("to be alone");
    for entry in fs::read_dir(place).expect("the folder of tests").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let over = name.strip_prefix("vm-").filter(|run| !Path::new("/proc").join(run).exists());
        if over.is_some() {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    Some(Bed { setting: setting(image), out, _alone: Some(alone) })
}

/// Where microVMs are looked for.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package lies in the repository")
}

fn setting(image: Image) -> Setting {
    let launcher = Some(PathBuf::from(env!("CARGO_BIN_EXE_trenvx-function")));
    let accelerator = Accelerator::Tcg { why: "tests do not probe".to_owned() };
    Setting { image, accelerator, launcher }
}

impl Bed {
    /// In a process that a test has started, which is alone already.
    pub fn of_parent(out: PathBuf) -> Self {
        let image = Image::find(&repository().join("out")).expect("the parent has found it");
        Self { setting: setting(image), out, _alone: None }
    }

    pub fn host(&self, method: Method) -> Host {
        let Setting { image, accelerator, launcher } = &self.setting;
        Host::start(method, image, accelerator.clone(), launcher.clone()).expect("a host starts")
    }

    /// The template that all tests of a run share, by virtio-pmem: made by the first that asks.
    pub fn template(&self) -> Template {
        if !emu::vm::template::list(&self.out).expect("a list").contains(&NAME.to_owned()) {
            let machine = Machine { writable_mib: 16, ..Machine::new(MEMORY_MIB, RootDevice::Pmem) };
            let made =
                Template::make(&self.host(Method::TrenvxVm), NAME, &machine, WARM).expect("a template");
            made.template.save(&self.out).expect("it is kept");
        }
        self.load(NAME).expect("it is loaded")
    }

    pub fn load(&self, name: &str) -> Result<Template, emu::vm::Error> {
        Template::load(&self.out, name, &self.setting.image, &self.setting.accelerator)
    }

    /// Copies the shared template, for a test that spoils it.
    pub fn copied(&self, name: &str) {
        drop(self.template());
        let templates = self.out.join("vm/templates");
        let _ = fs::remove_dir_all(templates.join(name));
        fs::create_dir(templates.join(name)).expect("a folder");
        for file in ["memory", "state", "manifest.json"] {
            fs::copy(templates.join(NAME).join(file), templates.join(name).join(file)).expect("a copy");
        }
    }
}

/// A clone, ready.
pub fn clone(host: &Host, template: &Template) -> Vm {
    host.prepare(&template.manifest().machine).expect("pools are filled");
    host.clone(template).expect("a clone starts").vm
}

/// Runs Python in a guest.
pub fn run(vm: &mut Vm, code: &str) -> Value {
    vm.ask("run", serde_json::json!({ "code": code }), WITHIN).expect("the guest answers")
}

/// Things in the kernel and files that carry a label of this process, once the kernel has had time to take a network
/// namespace apart, which it does behind everybody's back.
pub fn left_of(pid: u32) -> Vec<String> {
    let end = std::time::Instant::now() + Duration::from_secs(5);
    loop {
        let left = labelled(pid);
        if left.is_empty() || std::time::Instant::now() > end {
            return left;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn labelled(pid: u32) -> Vec<String> {
    let found = emu::clean::find().expect("the machine can be searched");
    let ours = found.into_iter().filter(|(label, _)| label.is_of(pid));
    ours.flat_map(|(_, things)| things).collect()
}
