//! What the guest lab boots, and what its guests are to have.

use std::path::Path;

use super::{Finding, Host, OUT};
use crate::guest::FOLDER;
use crate::guest::image::{Image, ImageError};

const SETUP: &str = "run scripts/setup --guest";

/// The guest kernel and its initial file system.
pub(super) fn kernel(_: &Host) -> Finding {
    match Image::open(&Path::new(OUT).join(FOLDER)) {
        Ok(image) => Finding::ok(format!("Linux {}", image.meta().kernel)),
        Err(error @ (ImageError::None(_) | ImageError::Old(_))) => Finding::missing(error.to_string(), SETUP),
        Err(error) => {
            Finding::missing(error.to_string(), "remove it and make it anew (trenvx emu guest build)")
        }
    }
}

/// CXL memory for guests: a machine emulator that has it, and the program that makes namespaces in them.
pub(super) fn cxl(host: &Host) -> Finding {
    let Some(qemu) = host.program(&["qemu-system-x86_64"]) else {
        return Finding::missing("no QEMU", SETUP);
    };
    if !host.ask(&qemu, &["-device", "help"]).is_some_and(|text| text.contains("\"cxl-type3\"")) {
        return Finding::missing("this QEMU has no CXL memory device", "install QEMU 7.2 or later");
    }
    for program in ["ndctl", "mkfs.ext4"] {
        if host.program(&[program]).is_none() {
            return Finding::missing(format!("{program} is not installed"), SETUP);
        }
    }
    Finding::ok("cxl-type3, ndctl, ext4: emulated, true in function and not in time")
}

/// RDMA for guests: the kernel's software device, the program that makes one, and the libraries.
pub(super) fn rdma(host: &Host) -> Finding {
    if host.program(&["rdma"]).is_none() {
        return Finding::missing("the program rdma is not installed", SETUP);
    }
    let folders = ["etc/libibverbs.d", "usr/share/libibverbs.d"];
    if !folders.iter().any(|folder| host.list(folder).iter().any(|name| name == "rxe.driver")) {
        return Finding::missing("no library for the software RDMA device", SETUP);
    }
    match crate::pool::rdma::libraries() {
        Ok(()) => Finding::ok("rdma, libibverbs, librdmacm: emulated, true in function and not in time"),
        Err(error) => Finding::missing(error.to_string(), SETUP),
    }
}
