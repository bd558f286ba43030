//! What a microVM consists of, and how that is said to QEMU.

use std::os::fd::RawFd;

use serde::{Deserialize, Serialize};

use super::Accelerator;

/// Room for device memory over the guest's own: the window in which the root appears as persistent memory.
const WINDOW_MIB: u32 = 1024;

/// How the root image is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RootDevice {
    /// Persistent memory, mapped straight from the host's page cache (virtio-pmem, DAX): the guest caches nothing.
    Pmem,
    /// A disk (virtio-blk): what is read is cached in the guest, and on the host.
    Blk,
}

impl RootDevice {
    /// Its word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pmem => "pmem",
            Self::Blk => "blk",
        }
    }

    /// From its word.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Pmem, Self::Blk].into_iter().find(|device| device.name() == name)
    }
}

/// A guest, before it is booted. Clones are of the same kind as their template.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    /// Guest memory, MiB.
    pub memory_mib: u32,
    /// How the root is reached.
    pub root: RootDevice,
    /// Size of the writable layer, which lies in guest memory, MiB.
    pub writable_mib: u32,
    /// Whether a browser runs in it, which the host calls over a port of its own.
    #[serde(default)]
    pub browser: bool,
}

impl Machine {
    /// With a writable layer of an eighth of its memory.
    #[must_use]
    pub fn new(memory_mib: u32, root: RootDevice) -> Self {
        Self { memory_mib, root, writable_mib: memory_mib / 8, browser: false }
    }

    /// Guest memory, bytes.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        u64::from(self.memory_mib) << 20
    }
}

/// Numbers that the descriptors have in the VMM.
pub(super) mod descriptor {
    use super::RawFd;

    pub(in crate::vm) const FIRST: RawFd = 20;
    pub(in crate::vm) const MEMORY: RawFd = FIRST;
    pub(in crate::vm) const ROOT: RawFd = FIRST + 1;
    pub(in crate::vm) const QMP: RawFd = FIRST + 2;
    pub(in crate::vm) const AGENT: RawFd = FIRST + 3;
    pub(in crate::vm) const CONSOLE: RawFd = FIRST + 4;
    pub(in crate::vm) const STATE: RawFd = FIRST + 5;
    pub(in crate::vm) const KERNEL: RawFd = FIRST + 6;
    /// Only to boot.
    pub(in crate::vm) const INITRAMFS: RawFd = FIRST + 7;
    /// The userfaultfd device, only where guest memory is served.
    pub(in crate::vm) const FAULTS: RawFd = FIRST + 8;
    /// Only where a browser runs.
    pub(in crate::vm) const BROWSER: RawFd = FIRST + 9;
}

/// Where a guest's memory comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// It boots; the memory is its own.
    Boot,
    /// Devices load their state. `private`: the memory is mapped privately; otherwise it is the guest's own copy.
    State { private: bool },
}

/// QEMU's arguments. `kind`: the machine's type with its version, if one is to be the same as another.
pub(super) fn arguments(
    machine: &Machine,
    origin: Origin,
    accelerator: &Accelerator,
    kind: &str,
    root_bytes: u64,
) -> Vec<String> {
    use descriptor as fd;
    let path = |fd: RawFd| format!("/proc/self/fd/{fd}");
    let share = if origin == (Origin::State { private: true }) { "off" } else { "on" };
    let mib = machine.memory_mib;
    let mut arguments: Vec<String> = vec!["qemu-system-x86_64".into()];
    let mut add = |option: &str, value: String| arguments.extend([option.to_owned(), value]);
    add("-name", "trenvx-vm".into());
    // Nothing that is not asked for, no window, and an end instead of a reboot.
    add("-display", "none".into());
    add("-machine", format!("{kind},memory-backend=memory,vmport=off,smbus=off,sata=off,usb=off,hpet=off"));
    for (option, value) in accelerator.arguments(machine.browser) {
        add(option, value.to_owned());
    }
    add("-smp", "1".into());
    match machine.root {
        RootDevice::Pmem => add("-m", format!("{mib}M,slots=1,maxmem={}M", mib + WINDOW_MIB)),
        RootDevice::Blk => add("-m", format!("{mib}M")),
    }
    let memory = path(fd::MEMORY);
    add(
        "-object",
        format!("memory-backend-file,id=memory,size={mib}M,mem-path={memory},share={share},prealloc=off"),
    );
    add("-chardev", format!("socket,id=qmp,fd={}", fd::QMP));
    add("-mon", "chardev=qmp,mode=control".into());
    add("-chardev", format!("file,id=console,path={},append=on", path(fd::CONSOLE)));
    add("-serial", "chardev:console".into());
    add("-chardev", format!("socket,id=agent,fd={}", fd::AGENT));
    // The first port's number is that of consoles, and stays free.
    let ports = if machine.browser { 3 } else { 2 };
    add("-device", format!("virtio-serial-pci,id=ports,max_ports={ports}"));
    add("-device", "virtserialport,bus=ports.0,nr=1,chardev=agent,name=trenvx.agent".into());
    if machine.browser {
        add("-chardev", format!("socket,id=browser,fd={}", fd::BROWSER));
        add("-device", "virtserialport,bus=ports.0,nr=2,chardev=browser,name=trenvx.browser".into());
    }
    // A network of the VMM's own, whose connections are made in the network namespace of its sandbox.
    add("-netdev", "user,id=network,ipv6=off".into());
    add("-device", "virtio-net-pci,netdev=network,romfile=,mac=52:54:00:12:34:56".into());
    // A clone has not moved to another place in a network that others would have to learn: its guest announces nothing.
    add("-global", "migration.announce-rounds=0".into());
    match machine.root {
        RootDevice::Pmem => {
            let root = path(fd::ROOT);
            add(
                "-object",
                format!("memory-backend-file,id=root,size={root_bytes},mem-path={root},share=on,readonly=on"),
            );
            add("-device", "virtio-pmem-pci,id=disk,memdev=root".into());
        }
        RootDevice::Blk => {
            let root = path(fd::ROOT);
            add("-blockdev", format!("driver=file,node-name=root,filename={root},read-only=on"));
            add("-device", "virtio-blk-pci,id=disk,drive=root".into());
        }
    }
    // Devices of clones must be those of the template, down to the loader of kernels: clones get the beginning of
    // the kernel, which is never run.
    add("-kernel", path(fd::KERNEL));
    add("-append", command_line(machine));
    match origin {
        Origin::Boot => add("-initrd", path(fd::INITRAMFS)),
        Origin::State { .. } => add("-incoming", "defer".into()),
    }
    arguments.extend(["-nodefaults", "-no-user-config", "-no-reboot"].map(str::to_owned));
    arguments
}

/// The kernel's command line. A panic ends the VMM, which does not reboot. The guest trusts nothing inside itself
/// to keep secrets from something else inside, so it pays for no mitigations.
fn command_line(machine: &Machine) -> String {
    format!(
        "console=ttyS0 quiet panic=-1 mitigations=off trenvx.root={} trenvx.writable_kib={}",
        machine.root.name(),
        machine.writable_mib * 1024
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(machine: &Machine, origin: Origin) -> String {
        arguments(machine, origin, &Accelerator::Tcg { why: "a test".into() }, "q35", 4 << 20).join(" ")
    }

    #[test]
    fn only_clones_of_a_template_map_memory_privately() {
        let machine = Machine::new(512, RootDevice::Pmem);
        assert_eq!(machine.writable_mib, 64);
        let boot = line(&machine, Origin::Boot);
        assert!(boot.contains("size=512M,mem-path=/proc/self/fd/20,share=on"), "{boot}");
        assert!(boot.contains("-initrd /proc/self/fd/27") && !boot.contains("-incoming"), "{boot}");
        let clone = line(&machine, Origin::State { private: true });
        assert!(clone.contains("share=off") && clone.contains("-incoming defer"), "{clone}");
        assert!(!clone.contains("-initrd"), "{clone}");
        let copy = line(&machine, Origin::State { private: false });
        assert!(!copy.contains("share=off"), "{copy}");
    }

    #[test]
    fn the_root_is_read_only_by_either_device() {
        let pmem = line(&Machine::new(512, RootDevice::Pmem), Origin::Boot);
        assert!(pmem.contains("share=on,readonly=on") && pmem.contains("maxmem=1536M"), "{pmem}");
        let blk = line(&Machine::new(512, RootDevice::Blk), Origin::Boot);
        assert!(blk.contains("read-only=on") && !blk.contains("maxmem"), "{blk}");
        assert!(blk.contains("trenvx.root=blk trenvx.writable_kib=65536"), "{blk}");
    }

    #[test]
    fn only_guests_with_a_browser_have_a_port_for_it() {
        let plain = Machine::new(512, RootDevice::Pmem);
        assert!(!line(&plain, Origin::Boot).contains("trenvx.browser"));
        let with = line(&Machine { browser: true, ..plain }, Origin::State { private: true });
        assert!(with.contains("socket,id=browser,fd=29") && with.contains("max_ports=3"), "{with}");
    }

    #[test]
    fn devices_have_words() {
        for device in [RootDevice::Pmem, RootDevice::Blk] {
            assert_eq!(RootDevice::parse(device.name()), Some(device));
        }
        assert_eq!(RootDevice::parse("floppy"), None);
    }
}
