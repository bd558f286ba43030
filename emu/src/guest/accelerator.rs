//! KVM or TCG: found out by a boot, once for a machine.
//!
//! `/dev/kvm` may open and a guest still never get past its first messages (on some nested hosts each privileged
//! instruction is interpreted). So the first lab boots a guest with KVM and a deadline; the outcome is kept beside
//! the image until the machine's kernel or processor changes.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::lab::{Lab, LabError, Spec};
use super::node::NodeError;
use super::qemu::Accelerator;

/// How long a guest under KVM may take to its first answer. It takes a few seconds where KVM works.
const PATIENCE: Duration = Duration::from_secs(25);
const FILE: &str = "accelerator.json";

/// What is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// KVM where a guest boots with it, else TCG.
    #[default]
    Auto,
    /// This one.
    Only(Accelerator),
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// What to use.
    pub accelerator: Accelerator,
    /// Why.
    pub reason: String,
    /// The machine that it was found on.
    machine: String,
}

impl Found {
    /// What an earlier lab found on this machine.
    #[must_use]
    pub fn kept(image: &Path) -> Option<Self> {
        let found: Self = serde_json::from_slice(&fs::read(image.join(FILE)).ok()?).ok()?;
        (found.machine == machine()).then_some(found)
    }
}

/// Which machine this is, as far as KVM is concerned.
fn machine() -> String {
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let processor = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = processor.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    format!("{}, {}", kernel.trim(), model.trim_start_matches(['\t', ' ', ':']))
}

/// The accelerator for `spec`: kept from an earlier lab, or tried now.
///
/// # Errors
/// If what was tried cannot be kept.
pub(super) fn decide(spec: &Spec) -> io::Result<Accelerator> {
    if let Choice::Only(accelerator) = spec.accelerator {
        return Ok(accelerator);
    }
    if let Some(found) = Found::kept(&spec.image) {
        return Ok(found.accelerator);
    }
    let (accelerator, reason) = attempt(spec);
    let found = Found { accelerator, reason, machine: machine() };
    let text = serde_json::to_vec_pretty(&found).expect("plain strings");
    let place: PathBuf = spec.image.join(FILE);
    fs::write(&place, text)?;
    Ok(accelerator)
}

fn attempt(spec: &Spec) -> (Accelerator, String) {
    if let Err(error) = fs::File::options().read(true).write(true).open("/dev/kvm") {
        return (Accelerator::Tcg, format!("/dev/kvm: {}", error.kind()));
    }
    let mut probe = Spec::new(&spec.image, &spec.program, &spec.folder.join("kvm-probe"));
    probe.accelerator = Choice::Only(Accelerator::Kvm);
    probe.boot_within = PATIENCE;
    match Lab::boot(&probe) {
        Ok(lab) => {
            let up_s = lab.node(0).ready().up_s;
            (Accelerator::Kvm, format!("a guest answered {up_s} s after it was switched on"))
        }
        Err(LabError::Node(NodeError::NotUp { .. })) => {
            let reason = format!("/dev/kvm opens, but a guest with it was not up after {PATIENCE:?}");
            (Accelerator::Tcg, reason)
        }
        Err(error) => {
            let first = error.to_string().lines().next().unwrap_or_default().to_owned();
            (Accelerator::Tcg, format!("/dev/kvm opens, but a guest with it did not boot: {first}"))
        }
    }
}
