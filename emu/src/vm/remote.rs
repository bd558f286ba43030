//! System calls that a VMM is made to do, where nothing from outside can do them for it.
//!
//! They are done as the template engine has processes do them: its threads are stopped, one of them does the call, and
//! all go on as if nothing had been.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};

use super::Error;
use crate::template::capture::Tracer;

/// A VMM that is stopped for calls. Dropped, it goes on.
pub(super) struct Remote {
    pid: i32,
    tracer: Tracer,
}

impl Remote {
    /// Stops the VMM `pid`.
    pub(super) fn hold(pid: u32) -> Result<Self, Error> {
        let number = pid.cast_signed();
        let mut tracer = Tracer::seize(number).map_err(step("stop the VMM"))?;
        let (vdso, code) = vdso(pid).map_err(Error::at("read the VMM's vdso"))?;
        tracer.prepare_calls(vdso, &code).map_err(step("prepare the VMM for calls"))?;
        Ok(Self { pid: number, tracer })
    }

    /// Its number.
    pub(super) fn pid(&self) -> i32 {
        self.pid
    }

    /// Has it do a system call, which is for `what`; its result.
    pub(super) fn call(
        &mut self,
        what: &'static str,
        call: libc::c_long,
        arguments: &[u64],
    ) -> Result<i64, Error> {
        self.tracer.call(self.pid, call, arguments).map_err(step(what))
    }
}

fn step(step: &'static str) -> impl Fn(crate::template::Error) -> Error {
    move |error| Error::at(step)(io::Error::other(error))
}

/// Has the VMM `pid`, which has `root` mapped, read single pages of it when its guest touches them, and none around them.
///
/// The kernel reads ahead around each page of a mapping that is not cached yet, and QEMU has asked for huge pages, for
/// which 2 MiB are read at once. Nobody else can change that for a process: `process_madvise` takes neither advice.
pub(super) fn read_no_more_than_touched(pid: u32, root: &File) -> Result<(), Error> {
    let (begin, length) = mapping(pid, root).map_err(Error::at("find the root image in the VMM"))?;
    let mut vmm = Remote::hold(pid)?;
    for advice in [libc::MADV_NOHUGEPAGE, libc::MADV_RANDOM] {
        let advice = [begin, length, advice as u64];
        vmm.call("advise the VMM's mapping of the root image", libc::SYS_madvise, &advice)?;
    }
    Ok(())
}

/// Where in the process the file is mapped, as a whole: address and length.
pub(super) fn mapping(pid: u32, file: &File) -> io::Result<(u64, u64)> {
    let about = file.metadata()?;
    let maps = fs::read_to_string(format!("/proc/{pid}/maps"))?;
    let found = maps.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        let (begin, end) = words.next()?.split_once('-')?;
        let (offset, device, inode) = (words.nth(1)?, words.next()?, words.next()?);
        let (major, minor) = device.split_once(':')?;
        let number = |text: &str| u64::from_str_radix(text, 16).ok();
        let device = libc::makedev(number(major)? as u32, number(minor)? as u32);
        let same = device == about.dev() && inode.parse() == Ok(about.ino()) && number(offset) == Some(0);
        let (begin, end) = (number(begin)?, number(end)?);
        (same && end - begin == about.len()).then_some((begin, end - begin))
    });
    found.ok_or_else(|| io::Error::other("it is not mapped in one piece"))
}

/// Where the vdso lies, and its bytes.
fn vdso(pid: u32) -> io::Result<(u64, Vec<u8>)> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps"))?;
    let line =
        maps.lines().find(|line| line.ends_with("[vdso]")).ok_or_else(|| io::Error::other("it has none"))?;
    let range = line.split_whitespace().next().unwrap_or_default();
    let number = |text: &str| u64::from_str_radix(text, 16).map_err(io::Error::other);
    let (begin, end) = range.split_once('-').ok_or_else(|| io::Error::other("it has no range"))?;
    let (begin, end) = (number(begin)?, number(end)?);
    let mut code = vec![0; (end - begin) as usize];
    File::open(format!("/proc/{pid}/mem"))?.read_exact_at(&mut code, begin)?;
    Ok((begin, code))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vm::memory;

    #[test]
    fn a_mapping_is_found_by_its_file() {
        let file = memory::file("test", 4 * 4096).unwrap();
        assert!(mapping(std::process::id(), &file).is_err());
        let mapped = crate::pager::memory::Mapping::private(&file, 4 * 4096).unwrap();
        assert_eq!(mapping(std::process::id(), &file).unwrap(), (mapped.address(), 4 * 4096));
    }
}
