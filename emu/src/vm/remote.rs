//! System calls that a VMM is made to do, where nothing from outside can do them for it.
//!
//! They are done as the template engine has processes do them: its threads are stopped, one of them does the call, and
//! all go on as if nothing had been.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};

use super::Error;
use crate::template::capture::Tracer;
use crate::template::capture::maps::{self, Mapping};

/// A VMM that is stopped for calls. Dropped, it goes on.
pub(super) struct Remote {
    pid: i32,
    tracer: Tracer,
    mappings: Vec<Mapping>,
}

impl Remote {
    /// Stops the VMM `pid`.
    pub(super) fn hold(pid: u32) -> Result<Self, Error> {
        let number = pid.cast_signed();
        let mut tracer = Tracer::seize(number).map_err(step("stop the VMM"))?;
        let mappings = maps::list(number).map_err(Error::at("list the VMM's mappings"))?;
        let (vdso, code) = vdso(pid, &mappings).map_err(Error::at("read the VMM's vdso"))?;
        tracer.prepare_calls(vdso, &code).map_err(step("prepare the VMM for calls"))?;
        Ok(Self { pid: number, tracer, mappings })
    }

    /// Its number.
    pub(super) fn pid(&self) -> i32 {
        self.pid
    }

    /// Where it has the file mapped, as a whole: address and length.
    pub(super) fn mapping(&self, file: &File) -> io::Result<(u64, u64)> {
        find(&self.mappings, file)
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
    let mut vmm = Remote::hold(pid)?;
    let (begin, length) = vmm.mapping(root).map_err(Error::at("find the root image in the VMM"))?;
    for advice in [libc::MADV_NOHUGEPAGE, libc::MADV_RANDOM] {
        let advice = [begin, length, advice as u64];
        vmm.call("advise the VMM's mapping of the root image", libc::SYS_madvise, &advice)?;
    }
    Ok(())
}

/// Where the file is mapped, as a whole: address and length.
fn find(mappings: &[Mapping], file: &File) -> io::Result<(u64, u64)> {
    let about = file.metadata()?;
    let whole = |one: &&Mapping| {
        (one.device, one.inode, one.offset) == (about.dev(), about.ino(), 0)
            && one.end - one.start == about.len()
    };
    let found = mappings.iter().find(whole).map(|one| (one.start, one.end - one.start));
    found.ok_or_else(|| io::Error::other("it is not mapped in one piece"))
}

/// Where the vdso lies, and its bytes.
fn vdso(pid: u32, mappings: &[Mapping]) -> io::Result<(u64, Vec<u8>)> {
    let vdso = maps::vdso(mappings).ok_or_else(|| io::Error::other("it has none"))?;
    let mut code = vec![0; (vdso.end - vdso.start) as usize];
    File::open(format!("/proc/{pid}/mem"))?.read_exact_at(&mut code, vdso.start)?;
    Ok((vdso.start, code))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vm::memory;

    #[test]
    fn a_mapping_is_found_by_its_file() {
        let file = memory::file("test", 4 * 4096).unwrap();
        let mapping = || find(&maps::list(std::process::id().cast_signed()).unwrap(), &file);
        assert!(mapping().is_err());
        let mapped = crate::pager::memory::Mapping::private(&file, 4 * 4096).unwrap();
        assert_eq!(mapping().unwrap(), (mapped.address(), 4 * 4096));
    }
}
