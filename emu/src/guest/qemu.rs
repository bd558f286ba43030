//! The machine of one guest, as QEMU's command line.

use std::ffi::OsString;
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::agent::PORT;
use super::image::{Group, Image};

/// What runs the guest's instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Accelerator {
    /// The processor, through KVM.
    Kvm,
    /// QEMU itself, translating each instruction: 10 to 50 times slower.
    Tcg,
}

impl Accelerator {
    /// The word for it on QEMU's command line and in records.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        }
    }
}

/// What lies behind a CXL device: memory and label area, each a file or a descriptor as `/proc/self/fd/N`.
#[derive(Clone, Debug)]
pub(super) struct CxlMemory {
    pub(super) memory: PathBuf,
    pub(super) labels: PathBuf,
    pub(super) mib: u64,
    /// The device's number, not 0: the same each time for the same memory.
    pub(super) serial: u64,
}

/// Size of a device's label area. A namespace needs 128 KiB of it.
pub(super) const LABELS_MIB: u64 = 1;
/// CXL memory is given out in pieces of this size.
pub const CXL_STEP_MIB: u64 = 256;

/// One guest.
#[derive(Debug)]
pub(super) struct Machine<'a> {
    /// Shown in lists of processes; says whose this is.
    pub(super) label: String,
    pub(super) image: &'a Image,
    /// The program that is the agent, as the guest sees it: a path of the host.
    pub(super) program: &'a Path,
    pub(super) accelerator: Accelerator,
    pub(super) cpus: u32,
    pub(super) memory_mib: u64,
    pub(super) groups: &'a [Group],
    /// Where the kernel's messages go.
    pub(super) console: &'a Path,
    /// Our end's partner of the control channel.
    pub(super) control: RawFd,
    /// Number of the guest, and its end of a wire to the switch.
    pub(super) network: Option<(usize, RawFd)>,
    pub(super) cxl: Option<CxlMemory>,
}

impl Machine<'_> {
    /// The arguments.
    pub(super) fn arguments(&self) -> Vec<OsString> {
        let mut words: Vec<OsString> = Vec::new();
        let mut add = |option: &str, value: String| words.extend([option.into(), value.into()]);
        let cxl = if self.cxl.is_some() { ",cxl=on" } else { "" };
        add("-name", format!("guest={}", self.label));
        add("-machine", format!("q35{cxl},usb=off,smm=off"));
        match self.accelerator {
            Accelerator::Tcg => {
                add("-accel", "tcg,thread=multi".into());
                add("-cpu", "max".into());
            }
            Accelerator::Kvm => {
                add("-accel", "kvm".into());
                // Some hosts refuse to write this register.
                add("-cpu", "host,-arch-capabilities".into());
            }
        }
        // With one processor at most, TCG would make the guest's atomic instructions of several plain ones: too
        // little for a CXL device that two guests share.
        add("-smp", format!("{},maxcpus={}", self.cpus, self.cpus.max(2)));
        add("-display", "none".into());
        add("-kernel", text(&self.image.kernel()));
        add("-initrd", text(&self.image.initramfs()));
        let groups: Vec<&str> = self.groups.iter().map(|group| group.name()).collect();
        let program = self.program.display();
        add(
            "-append",
            format!(
                "console=ttyS0 loglevel=4 panic=-1 mitigations=off no_timer_check tsc=unstable \
                 trenvx.load={} trenvx.agent={program}",
                groups.join(",")
            ),
        );
        add("-chardev", format!("file,id=console,path={}", escaped(self.console)));
        add("-serial", "chardev:console".into());
        add("-chardev", format!("socket,id=control,fd={}", self.control));
        add("-device", "virtio-serial-pci".into());
        add("-device", format!("virtserialport,chardev=control,name={PORT}"));
        add("-fsdev", "local,id=host,path=/,security_model=none,readonly=on,multidevs=remap".into());
        add("-device", "virtio-9p-pci,fsdev=host,mount_tag=host".into());
        add("-device", "virtio-rng-pci".into());
        if let Some((number, wire)) = self.network {
            add("-netdev", format!("socket,id=wire,fd={wire}"));
            // Frames that hold a page: RDMA then needs one packet for it and not four.
            let mac = format!("52:54:00:00:00:{:02x}", number + 1);
            add("-device", format!("virtio-net-pci,netdev=wire,host_mtu=9000,romfile=,mac={mac}"));
        }
        let mut memory = format!("{}M", self.memory_mib);
        if let Some(cxl) = &self.cxl {
            // Room in the guest's address space that the device's window takes.
            memory += &format!(",maxmem={}M,slots=4", self.memory_mib + cxl.mib + 1024);
            let backend = |id: &str, path: &Path, mib| {
                format!("memory-backend-file,id={id},share=on,mem-path={},size={mib}M", escaped(path))
            };
            add("-object", backend("cxl-memory", &cxl.memory, cxl.mib));
            add("-object", backend("cxl-labels", &cxl.labels, LABELS_MIB));
            add("-device", "pxb-cxl,bus_nr=12,bus=pcie.0,id=cxl.0".into());
            // With a single port below a bridge, the decoder of the bridge passes everything on; older QEMU does
            // not know that.
            add("-device", "cxl-rp,port=0,bus=cxl.0,id=port.0,chassis=0,slot=2".into());
            add("-device", "cxl-rp,port=1,bus=cxl.0,id=port.1,chassis=0,slot=3".into());
            // Without a serial number, the kernel finds no namespaces on a device that had them before.
            let device = "cxl-type3,bus=port.0,memdev=cxl-memory,lsa=cxl-labels,id=cxl-device";
            add("-device", format!("{device},sn={:#x}", cxl.serial));
            let window = cxl.mib.next_multiple_of(1024).max(4096);
            add("-machine", format!("cxl-fmw.0.targets.0=cxl.0,cxl-fmw.0.size={window}M"));
        }
        add("-m", memory);
        words.extend(["-nodefaults", "-no-user-config", "-no-reboot"].map(OsString::from));
        words
    }
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// A comma ends an option; two stand for one.
fn escaped(path: &Path) -> String {
    text(path).replace(',', ",,")
}
