//! Hardware virtualisation.

use std::os::fd::AsRawFd;
use std::path::Path;

use super::{Finding, Host};
use crate::guest::accelerator::Found;
use crate::guest::{Accelerator, FOLDER};

/// `KVM_GET_API_VERSION`, and the one version there is.
const GET_API_VERSION: u64 = 0xae00;
const VERSION: i32 = 12;
const FALLBACK: &str = "TCG (software emulation)";

/// The device opens and speaks the interface. That alone does not show that a guest boots: on some nested hosts
/// it opens and a stock kernel never gets past its first messages. So the answer is not OK without a boot, which the
/// first guest lab on a machine makes and remembers.
pub(super) fn find(host: &Host) -> Finding {
    let path = host.file("dev/kvm");
    let device = match std::fs::File::options().read(true).write(true).open(&path) {
        Ok(device) => device,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let fix = "turn on virtualisation and load the kvm module; until then microVMs run under TCG";
            return Finding::missing("no /dev/kvm", fix);
        }
        Err(error) => {
            let fix = "give this user access to /dev/kvm; until then microVMs run under TCG";
            return Finding::missing(format!("/dev/kvm: {}", error.kind()), fix);
        }
    };
    // SAFETY: the request takes no argument.
    let version = unsafe { libc::ioctl(device.as_raw_fd(), GET_API_VERSION as _, 0) };
    if version != VERSION {
        return Finding::missing(
            format!("/dev/kvm answers {version}, not {VERSION}"),
            "use a Linux KVM device",
        );
    }
    match Found::kept(&Path::new("out").join(FOLDER)) {
        Some(found) if found.accelerator == Accelerator::Kvm => Finding::ok(found.reason),
        Some(found) => Finding::degraded(found.reason, FALLBACK),
        None => Finding::degraded("opens; not verified by a boot", FALLBACK),
    }
}
