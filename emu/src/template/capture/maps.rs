//! The address space of a process, as the kernel tells it.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::template::pages::PAGE;

/// One line of `/proc/PID/maps`, with what `smaps` adds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mapping {
    pub(crate) start: u64,
    pub(crate) end: u64,
    /// `PROT_*`.
    pub(in crate::template) protection: u32,
    pub(in crate::template) shared: bool,
    pub(crate) offset: u64,
    pub(crate) device: u64,
    pub(crate) inode: u64,
    pub(crate) path: String,
    /// Bytes that are there now.
    pub(in crate::template) resident: u64,
    /// Bytes of it that are in no file.
    pub(in crate::template) anonymous: u64,
    /// Its protection key.
    pub(in crate::template) key: u32,
    /// The kernel's flags of two letters.
    pub(in crate::template) flags: Vec<String>,
}

impl Mapping {
    pub(in crate::template) fn has(&self, flag: &str) -> bool {
        self.flags.iter().any(|known| known == flag)
    }
}

/// All mappings of a process, ascending.
pub(in crate::template) fn read(pid: i32) -> io::Result<Vec<Mapping>> {
    read_from(pid, "smaps")
}

/// The same without looking at what is there, which takes the kernel far longer: nothing that `smaps` adds is known.
pub(crate) fn list(pid: i32) -> io::Result<Vec<Mapping>> {
    read_from(pid, "maps")
}

/// The kernel's own code in a process, if it has any.
pub(crate) fn vdso(mappings: &[Mapping]) -> Option<&Mapping> {
    mappings.iter().find(|mapping| mapping.path == "[vdso]")
}

fn read_from(pid: i32, name: &str) -> io::Result<Vec<Mapping>> {
    let mut text = String::new();
    File::open(Path::new("/proc").join(pid.to_string()).join(name))?.read_to_string(&mut text)?;
    parse(&text).ok_or_else(|| io::Error::other("the kernel's list of mappings has another form"))
}

fn parse(text: &str) -> Option<Vec<Mapping>> {
    let mut mappings: Vec<Mapping> = Vec::new();
    for line in text.lines() {
        let first = line.split_ascii_whitespace().next()?;
        if let Some(name) = first.strip_suffix(':') {
            let mapping = mappings.last_mut()?;
            let mut words = line.split_ascii_whitespace().skip(1);
            match name {
                "Rss" | "Swap" => mapping.resident += words.next()?.parse::<u64>().ok()? << 10,
                "Anonymous" => mapping.anonymous = words.next()?.parse::<u64>().ok()? << 10,
                "ProtectionKey" => mapping.key = words.next()?.parse().ok()?,
                "VmFlags" => mapping.flags = words.map(str::to_owned).collect(),
                _ => {}
            }
        } else {
            mappings.push(head(line)?);
        }
    }
    Some(mappings)
}

fn head(line: &str) -> Option<Mapping> {
    let mut rest = line;
    let mut word = || {
        let (word, after) = rest.split_once(' ').unwrap_or((rest, ""));
        rest = after.trim_start_matches(' ');
        word
    };
    let (start, end) = word().split_once('-')?;
    let rights = word().as_bytes();
    let offset = word();
    let (major, minor) = word().split_once(':')?;
    let inode = word().parse().ok()?;
    let hex = |text| u64::from_str_radix(text, 16).ok();
    let protection = [(b'r', libc::PROT_READ), (b'w', libc::PROT_WRITE), (b'x', libc::PROT_EXEC)];
    let set = protection.iter().enumerate().filter(|(at, (letter, _))| rights.get(*at) == Some(letter));
    Some(Mapping {
        start: hex(start)?,
        end: hex(end)?,
        protection: set.map(|(_, (_, bit))| *bit as u32).sum(),
        shared: rights.get(3) == Some(&b's'),
        offset: hex(offset)?,
        device: rustix::fs::makedev(
            u32::from_str_radix(major, 16).ok()?,
            u32::from_str_radix(minor, 16).ok()?,
        ),
        inode,
        path: rest.to_owned(),
        resident: 0,
        anonymous: 0,
        key: 0,
        flags: Vec::new(),
    })
}

/// What the kernel says of one page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::template) struct PageState(u64);

impl PageState {
    /// It is there, or swapped out.
    pub(in crate::template) fn is_there(self) -> bool {
        self.0 & (1 << 63 | 1 << 62) != 0
    }

    /// It is a guard: touching it ends the process.
    pub(in crate::template) fn is_guard(self) -> bool {
        self.0 & 1 << 58 != 0
    }

    /// It belongs to a file, or is shared.
    pub(in crate::template) fn is_of_file(self) -> bool {
        self.0 & 1 << 61 != 0
    }
}

/// States of the pages of a range.
pub(in crate::template) fn states(pagemap: &File, start: u64, end: u64) -> io::Result<Vec<PageState>> {
    let mut bytes = vec![0; ((end - start) as usize / PAGE) * 8];
    pagemap.read_exact_at(&mut bytes, start / PAGE as u64 * 8)?;
    Ok(bytes.as_chunks::<8>().0.iter().map(|word| PageState(u64::from_le_bytes(*word))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read() {
        let text = "7f7408bac000-7f7408bb3000 r--s 00001000 fe:00 325745    /usr/lib/a b.so (deleted)\n\
                    Size:                 28 kB\nRss:                   8 kB\nProtectionKey:         3\nVmFlags: rd mr me ms \n\
                    7fff953b1000-7fff953d2000 rw-p 00000000 00:00 0 \nSwap: 4 kB\nRss: 4 kB\nVmFlags: rd wr gd\n";
        let mappings = parse(text).unwrap();
        assert_eq!(mappings[0].path, "/usr/lib/a b.so (deleted)");
        assert_eq!((mappings[0].offset, mappings[0].resident, mappings[0].shared), (0x1000, 8192, true));
        assert_eq!((mappings[1].protection, mappings[0].key, mappings[1].key), (3, 3, 0));
        assert!(mappings[1].has("gd") && mappings[1].path.is_empty() && mappings[1].resident == 8192);
    }
}
