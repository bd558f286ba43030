//! Gives a device that is mapped as a whole (`/dev/dax…`) to the kernel as system memory, through the files of the DAX bus
//! and of memory hot-plug in sysfs: what `daxctl reconfigure-device --mode=system-ram` does.
//!
//! The device's memory becomes a node without processors. It is put where only movable pages go, so that the kernel's own
//! data stay out of it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::node::{MemoryNode, memory_nodes};

/// Where the kernel shows its devices.
pub const SYS: &str = "/sys";
/// The driver that makes system memory of a device.
const DRIVER: &str = "kmem";

/// Why a device did not become a node.
#[derive(Debug, thiserror::Error)]
pub enum OnlineError {
    /// It is no such device.
    #[error("{0} is no DAX device of this machine: /sys/bus/dax/devices has none of that name")]
    NoDevice(PathBuf),
    /// The kernel cannot do it.
    #[error(
        "this kernel has no driver '{DRIVER}' for system memory of DAX devices: 'modprobe kmem', or a kernel with \
         CONFIG_DEV_DAX_KMEM"
    )]
    NoDriver,
    /// The firmware gives it no node of its own.
    #[error(
        "{0} has no node of its own (target_node {1}): its memory would be mixed with that of a node with processors"
    )]
    NoNode(String, i64),
    /// The driver took it, and there is no memory.
    #[error(
        "node {node} has no memory after {device} was given to it: too small for one block of {block_mib} MiB"
    )]
    NoMemory {
        /// The device.
        device: String,
        /// The node.
        node: i64,
        /// Memory is added in such blocks, MiB.
        block_mib: u64,
    },
    /// A step failed.
    #[error("cannot {step}: {path}: {why}", path = .path.display())]
    Step {
        /// What was being done.
        step: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        why: io::Error,
    },
}

/// Makes system memory of a device under `sys` ([`SYS`]), and puts all of it on line; says which node it is. One that was
/// given to the kernel before is only put on line.
///
/// # Errors
/// If the device, the driver or a node of its own is missing, or a step fails.
pub fn make_node(sys: &Path, device: &Path) -> Result<MemoryNode, OnlineError> {
    let name = device.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let bus = sys.join("bus/dax");
    let place = bus.join("devices").join(&name);
    if name.is_empty() || !place.exists() {
        return Err(OnlineError::NoDevice(device.to_owned()));
    }
    let driver = bus.join("drivers").join(DRIVER);
    if !driver.exists() {
        return Err(OnlineError::NoDriver);
    }
    let node = number(&place.join("target_node")).unwrap_or(-1);
    let nodes = sys.join("devices/system/node");
    let processors = fs::read_to_string(nodes.join(format!("node{node}/cpulist"))).unwrap_or_default();
    if node < 0 || !processors.trim().is_empty() {
        return Err(OnlineError::NoNode(name, node));
    }
    let bound = fs::read_link(place.join("driver")).ok();
    let is_kmem = bound.as_ref().is_some_and(|bound| bound.file_name().is_some_and(|last| last == DRIVER));
    if !is_kmem {
        if bound.is_some() {
            write(&place.join("driver/unbind"), &name, "take the device from its driver")?;
        }
        // Naming it to the driver binds it.
        write(&driver.join("new_id"), &name, "give the device to the kernel")?;
    }
    let blocks = blocks_of(&nodes.join(format!("node{node}")));
    for block in &blocks {
        let state = block.join("state");
        if fs::read_to_string(&state).is_ok_and(|state| state.trim() == "offline") {
            write(&state, "online_movable", "put memory on line")?;
        }
    }
    let found = memory_nodes(&nodes).into_iter().find(|found| i64::from(found.number) == node);
    found.ok_or_else(|| {
        let block =
            fs::read_to_string(sys.join("devices/system/memory/block_size_bytes")).unwrap_or_default();
        let block_mib = u64::from_str_radix(block.trim(), 16).unwrap_or_default() >> 20;
        OnlineError::NoMemory { device: name, node, block_mib }
    })
}

/// The blocks of memory of a node.
fn blocks_of(node: &Path) -> Vec<PathBuf> {
    let is_block = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.strip_prefix("memory").is_some_and(|number| number.parse::<u64>().is_ok())
    };
    let listed = fs::read_dir(node).into_iter().flatten().flatten().map(|entry| entry.path());
    listed.filter(is_block).collect()
}

fn number(path: &Path) -> Option<i64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn write(path: &Path, text: &str, step: &'static str) -> Result<(), OnlineError> {
    fs::write(path, text).map_err(|why| OnlineError::Step { step, path: path.to_owned(), why })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A `/sys` with a device that the kernel's own driver has.
    fn sys(target_node: &str) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().join(path);
        let file = |path: &str, text: &str| {
            fs::create_dir_all(at(path).parent().unwrap()).unwrap();
            fs::write(at(path), text).unwrap();
        };
        file("bus/dax/devices/dax1.0/target_node", target_node);
        file("bus/dax/drivers/kmem/new_id", "");
        file("bus/dax/drivers/device_dax/unbind", "");
        std::os::unix::fs::symlink("../../drivers/device_dax", at("bus/dax/devices/dax1.0/driver")).unwrap();
        file("devices/system/node/node0/cpulist", "0-1\n");
        file("devices/system/node/node0/meminfo", "Node 0 MemTotal: 1024 kB\n");
        root
    }

    #[test]
    fn a_device_is_taken_from_its_driver_and_its_blocks_are_put_on_line() {
        let root = sys("1\n");
        let read = |path: &str| fs::read_to_string(root.path().join(path)).unwrap();
        // What the kernel shows once the driver has it; the last block is on line already.
        let node = root.path().join("devices/system/node/node1");
        for (number, state) in [(40, "offline\n"), (41, "online\n")] {
            let block = node.join(format!("memory{number}"));
            fs::create_dir_all(&block).unwrap();
            fs::write(block.join("state"), state).unwrap();
        }
        fs::create_dir_all(node.join("memory_side_cache")).unwrap();
        fs::write(node.join("cpulist"), "\n").unwrap();
        fs::write(node.join("meminfo"), "Node 1 MemTotal: 262144 kB\n").unwrap();
        let found = make_node(root.path(), Path::new("/dev/dax1.0")).unwrap();
        assert_eq!(found, MemoryNode { number: 1, bytes: 256 << 20 });
        assert_eq!(read("bus/dax/drivers/device_dax/unbind"), "dax1.0");
        assert_eq!(read("bus/dax/drivers/kmem/new_id"), "dax1.0");
        assert_eq!(read("devices/system/node/node1/memory40/state"), "online_movable");
        assert_eq!(read("devices/system/node/node1/memory41/state"), "online\n");
    }

    #[test]
    fn what_keeps_a_device_from_becoming_a_node_is_named() {
        let device = Path::new("/dev/dax1.0");
        let error = |root: &tempfile::TempDir| make_node(root.path(), device).unwrap_err().to_string();
        assert!(error(&sys("0\n")).contains("has no node of its own (target_node 0)"));
        assert!(error(&sys("-1\n")).contains("has no node of its own"));
        let small = sys("1\n");
        let blocks = small.path().join("devices/system/memory");
        fs::create_dir_all(&blocks).unwrap();
        fs::write(blocks.join("block_size_bytes"), "8000000\n").unwrap();
        assert!(error(&small).contains("too small for one block of 128 MiB"), "{}", error(&small));
        let old = sys("1\n");
        fs::remove_dir_all(old.path().join("bus/dax/drivers/kmem")).unwrap();
        assert!(error(&old).contains("no driver 'kmem'"));
        assert!(error(&tempfile::tempdir().unwrap()).contains("is no DAX device"));
    }
}
