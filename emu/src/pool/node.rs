//! CXL memory that the kernel has made system memory: a node that has memory and no processors. A tmpfs that is bound
//! to it holds templates as a file system on a CXL device does: a private mapping's loads go to the node, the first
//! store copies the page to local memory.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, mount};

use super::mapping::Mapping;

/// Where the kernel lists nodes.
pub const NODES: &str = "/sys/devices/system/node";

/// A node with memory and without processors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryNode {
    /// Its number.
    pub number: u32,
    /// Memory, bytes.
    pub bytes: u64,
}

/// Why there is no file system on such a node.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// There is no such node.
    #[error(
        "no node has memory and no processors: give the kernel a CXL device as system memory ('trenvx emu pool device --mode \
         node --online /dev/dax0.0 --mount DIR')"
    )]
    None,
    /// The file system could not be mounted.
    #[error("cannot mount a tmpfs of node {node} on {place}: {why}", place = .place.display())]
    Mount {
        /// The node.
        node: u32,
        /// Where.
        place: PathBuf,
        /// Why not.
        why: io::Error,
    },
}

/// The nodes under `nodes` ([`NODES`]) that have memory and no processors.
#[must_use]
pub fn memory_nodes(nodes: &Path) -> Vec<MemoryNode> {
    let read = |path: PathBuf| fs::read_to_string(path).unwrap_or_default();
    let mut found: Vec<MemoryNode> = fs::read_dir(nodes)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let number = entry.file_name().to_str()?.strip_prefix("node")?.parse().ok()?;
            if !read(entry.path().join("cpulist")).trim().is_empty() {
                return None;
            }
            // Node 1 MemTotal:         262144 kB
            let text = read(entry.path().join("meminfo"));
            let line = text.lines().find(|line| line.contains("MemTotal:"))?;
            let kib: u64 = line.split_whitespace().rev().nth(1)?.parse().ok()?;
            (kib > 0).then_some(MemoryNode { number, bytes: kib << 10 })
        })
        .collect();
    found.sort_by_key(|node| node.number);
    found
}

/// Mounts a tmpfs whose memory comes from this node, or from the first such node, and from nowhere else; of `mib` MiB,
/// or of all that the node has.
///
/// # Errors
/// If there is none, or it cannot be mounted.
pub fn mount_bound(
    place: &Path,
    node: Option<MemoryNode>,
    mib: Option<u64>,
) -> Result<MemoryNode, NodeError> {
    let first = || memory_nodes(Path::new(NODES)).first().copied();
    let node = node.or_else(first).ok_or(NodeError::None)?;
    let failed = |why| NodeError::Mount { node: node.number, place: place.to_owned(), why };
    fs::create_dir_all(place).map_err(failed)?;
    let bytes = mib.map_or(node.bytes, |mib| mib << 20);
    let options =
        CString::new(format!("mpol=bind:{},size={bytes},mode=700", node.number)).expect("no zero byte");
    mount("tmpfs", place, "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, Some(options.as_c_str()))
        .map_err(|errno| failed(errno.into()))?;
    Ok(node)
}

/// Has memory that the file needs from now on come from the node of who needs it. Pages that it has stay where they are.
///
/// The policy of a tmpfs holds for the copies of private mappings too: without this, the first store to a page would copy it
/// to the node once more, and not to local memory.
///
/// # Errors
/// If the kernel does not take the policy.
pub fn let_copies_be_local(file: &fs::File) -> io::Result<()> {
    /// `MPOL_LOCAL` of `linux/mempolicy.h`.
    const LOCAL: libc::c_int = 4;
    let length = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
    if length == 0 {
        return Ok(());
    }
    let mapping = Mapping::shared(file, length)?;
    // SAFETY: the mapping is there for the length of the call, which changes where memory is taken from and no memory.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mbind,
            mapping.at(0, length),
            length,
            LOCAL,
            std::ptr::null::<libc::c_ulong>(),
            0,
            0,
        )
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Whether a file lies on a tmpfs that is bound to nodes without processors.
///
/// # Errors
/// If the mounts of this process cannot be read.
pub fn is_bound(path: &Path) -> io::Result<bool> {
    Ok(bound_nodes(path)?.is_some())
}

/// The nodes without processors that the tmpfs with this file is bound to, if it is bound to such nodes only.
///
/// # Errors
/// If the mounts of this process cannot be read.
pub fn bound_nodes(path: &Path) -> io::Result<Option<Vec<u32>>> {
    let path = fs::canonicalize(path)?;
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let nodes: Vec<u32> = memory_nodes(Path::new(NODES)).into_iter().map(|node| node.number).collect();
    Ok(bound_to(&path, &mounts).filter(|bound| bound.iter().all(|node| nodes.contains(node))))
}

/// Pages in mappings of a process, by the node on which they lie, and how many of them are the process's own copies.
/// `maps` is the text of its `numa_maps`; the mappings are named by the addresses where they begin, as it has them.
#[must_use]
pub fn pages_by_node(maps: &str, starts: &BTreeSet<String>) -> (BTreeMap<u32, u64>, u64) {
    let (mut nodes, mut own) = (BTreeMap::new(), 0);
    // 7f12c000 default file=/mnt/node/t/pages anon=1 dirty=1 mapped=9 N0=1 N1=8 kernelpagesize_kB=4
    for line in maps.lines() {
        let mut words = line.split(' ');
        if !words.next().is_some_and(|start| starts.contains(start)) {
            continue;
        }
        for (key, value) in words.filter_map(|word| word.split_once('=')) {
            let Ok(value) = value.parse::<u64>() else { continue };
            if key == "anon" {
                own += value;
            } else if let Some(node) = key.strip_prefix('N').and_then(|node| node.parse().ok()) {
                *nodes.entry(node).or_default() += value;
            }
        }
    }
    (nodes, own)
}

/// The nodes that the tmpfs with this file is bound to, by the text of `/proc/self/mountinfo`.
fn bound_to(path: &Path, mounts: &str) -> Option<Vec<u32>> {
    // The deepest mount point above it; of several at one place, the last is seen.
    let above = mounts.lines().filter(|line| {
        line.split(' ').nth(4).is_some_and(|point| path.starts_with(point.replace("\\040", " ")))
    });
    let line = above.max_by_key(|line| line.split(' ').nth(4).map_or(0, str::len))?;
    let (_, kind) = line.split_once(" - ")?;
    let mut words = kind.split(' ');
    if words.next() != Some("tmpfs") {
        return None;
    }
    // A list of nodes has commas, as the list of options has: numbers go on where the policy began.
    let mut options = words.nth(1)?.split(',');
    let first = options.find_map(|option| option.strip_prefix("mpol=bind:"))?;
    let rest = options.take_while(|option| option.starts_with(|first: char| first.is_ascii_digit()));
    let mut nodes = Vec::new();
    for part in std::iter::once(first).chain(rest) {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        nodes.extend(from.parse::<u32>().ok()?..=to.parse::<u32>().ok()?);
    }
    Some(nodes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_with_memory_and_without_processors_are_found() {
        let root = tempfile::tempdir().unwrap();
        let node = |number: u32, processors: &str, kib: u64| {
            let folder = root.path().join(format!("node{number}"));
            fs::create_dir(&folder).unwrap();
            fs::write(folder.join("cpulist"), format!("{processors}\n")).unwrap();
            let text = format!("Node {number} MemTotal:       {kib} kB\nNode {number} MemFree:  1 kB\n");
            fs::write(folder.join("meminfo"), text).unwrap();
        };
        node(0, "0-3", 1 << 20);
        node(2, "", 262_144);
        node(1, "", 0);
        fs::write(root.path().join("possible"), "0-2").unwrap();
        assert_eq!(memory_nodes(root.path()), [MemoryNode { number: 2, bytes: 256 << 20 }]);
        assert!(memory_nodes(&root.path().join("none")).is_empty());
    }

    #[test]
    fn pages_are_counted_by_node() {
        let maps = "7f00 default file=/mnt/n/pages anon=2 dirty=2 mapped=9 active=0 N0=2 N1=7 kernelpagesize_kB=4\n\
            7f10 default anon=5 dirty=5 N0=5 kernelpagesize_kB=4\n\
            7f20 bind:1 file=/mnt/n/pages mapped=3 N1=3 kernelpagesize_kB=4\n";
        let starts = ["7f00", "7f20"].map(str::to_owned).into();
        assert_eq!(pages_by_node(maps, &starts), ([(0, 2), (1, 10)].into(), 2));
    }

    #[test]
    fn the_deepest_mount_says_where_memory_comes_from() {
        let mounts = "20 1 0:1 / / rw - ext4 /dev/vda rw\n\
            21 20 0:2 / /mnt rw - tmpfs tmpfs rw,size=1024k\n\
            22 21 0:3 / /mnt/far rw,nosuid - tmpfs tmpfs rw,size=64k,mpol=bind:1,3-4,inode64\n\
            23 21 0:4 / /mnt/far/disk rw - ext4 /dev/vdb rw\n";
        assert_eq!(bound_to(Path::new("/mnt/far/t/pages"), mounts), Some(vec![1, 3, 4]));
        for elsewhere in ["/mnt/t", "/etc/passwd", "/mnt/far/disk/pages", "/mnt/farther"] {
            assert_eq!(bound_to(Path::new(elsewhere), mounts), None, "{elsewhere}");
        }
    }
}
