//! What runs a guest's code: the processor, where it really does, else software.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::{Error, Host, Image, Machine, Method, RootDevice};

/// How long the probe's guest may take to answer. Software needs a third of it here.
const DEADLINE: Duration = Duration::from_secs(15);
/// Memory of the probe's guest, MiB.
const PROBE_MIB: u32 = 256;

/// What runs a guest's code. Times of the one say nothing about the other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Accelerator {
    /// The processor's own virtualisation.
    Kvm,
    /// Software emulation: every result says so.
    Tcg {
        /// Why not the processor.
        why: String,
    },
}

/// What an earlier probe found, and on what.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Probed {
    kernel: String,
    recipe: String,
    found: Accelerator,
}

impl Accelerator {
    /// Its name in tables and manifests.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg { .. } => "tcg",
        }
    }

    /// Whether the guest's code is translated by software.
    #[must_use]
    pub fn is_emulated(&self) -> bool {
        matches!(self, Self::Tcg { .. })
    }

    /// What results say, if they come from a stand-in.
    #[must_use]
    pub fn stand_in(&self) -> Option<String> {
        match self {
            Self::Kvm => None,
            Self::Tcg { why } => Some(format!(
                "QEMU's software emulation (TCG) runs the guests instead of KVM ({why}): times are good only \
                 against times of the same run"
            )),
        }
    }

    /// QEMU's options.
    pub(super) fn arguments(&self, browser: bool) -> [(&'static str, &'static str); 2] {
        match self {
            // Without this bit: some nested hosts refuse to set its register.
            Self::Kvm => [("-accel", "kvm"), ("-cpu", "host,-arch-capabilities")],
            // Without fast string operations (ERMS): a kernel that is told of them clears and copies memory byte by byte,
            // each an iteration of emulated code, instead of by eight; boots take an eighth longer.
            // Translated code is bounded, well inside the limit of the sandbox; unasked it may be 1 GiB. A browser's
            // takes 350 MiB, and all of it is translated again when there is no room for more.
            Self::Tcg { .. } if browser => {
                [("-accel", "tcg,thread=multi,tb-size=512"), ("-cpu", "max,-erms")]
            }
            Self::Tcg { .. } => [("-accel", "tcg,thread=multi,tb-size=256"), ("-cpu", "max,-erms")],
        }
    }

    /// The best that this machine has. A device that opens is no proof, so a guest is booted on it, once: what
    /// came out is kept beside the image until the kernel or the image changes.
    ///
    /// # Errors
    /// If no guest could be tried, or the answer cannot be kept.
    pub fn of_this_machine(image: &Image) -> Result<Self, Error> {
        let tcg = |why: &str| Self::Tcg { why: why.to_owned() };
        if !Path::new("/dev/kvm").exists() {
            return Ok(tcg("this machine has no /dev/kvm"));
        }
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let kernel = kernel.trim().to_owned();
        let path = image.folder.join("accelerator.json");
        let known: Option<Probed> =
            fs::read(&path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        if let Some(known) = known
            && known.kernel == kernel
            && known.recipe == image.about.recipe
        {
            return Ok(known.found);
        }
        eprintln!("trying KVM, once: booting a guest, {} s at most", DEADLINE.as_secs());
        let began = Instant::now();
        let found = match probe(image) {
            Ok(()) => Self::Kvm,
            Err(Error::Late { .. }) => {
                tcg(&format!("/dev/kvm is there, but no guest had booted after {} s", DEADLINE.as_secs()))
            }
            // Nothing was tried: that says nothing about the processor, and is not kept.
            Err(
                error @ (Error::Sandbox(_) | Error::System { .. } | Error::NoVmm(_) | Error::NoImage { .. }),
            ) => {
                return Err(error);
            }
            Err(error) => {
                tcg(&format!("a guest failed after {:.1} s: {error}", began.elapsed().as_secs_f64()))
            }
        };
        let recipe = image.about.recipe.clone();
        let bytes =
            serde_json::to_vec_pretty(&Probed { kernel, recipe, found: found.clone() }).unwrap_or_default();
        fs::write(&path, bytes).map_err(Error::at(format!("write {}", path.display())))?;
        Ok(found)
    }
}

/// Boots a guest on the processor and waits for its agent.
fn probe(image: &Image) -> Result<(), Error> {
    let host = Host::start(Method::VanillaCh, image, Accelerator::Kvm, None)?;
    let mut vm = host.boot(&Machine::new(PROBE_MIB, RootDevice::Blk), DEADLINE)?.vm;
    vm.ask("ping", serde_json::json!({}), DEADLINE).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_software_is_a_stand_in() {
        assert_eq!(Accelerator::Kvm.stand_in(), None);
        let said = Accelerator::Tcg { why: "a test".into() }.stand_in().unwrap();
        assert!(said.contains("TCG") && said.contains("a test"), "{said}");
    }
}
