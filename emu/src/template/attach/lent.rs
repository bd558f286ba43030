//! Mapped files that every process of a template is lent: looked up and opened once, where each would have to look them
//! up in its new root, which knows no name yet (some 10 us a file).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::OnceLock;

use super::carrier::GIVEN_ALWAYS;
use crate::kernel::linux::Base;
use crate::sandbox::{MOST_GIVEN, Manager, Program};
use crate::template::manifest::{KnownFile, Manifest, OwnFile};

/// The files of one template.
#[derive(Debug)]
pub(super) struct Lent {
    /// Paths, in the order of [`of`].
    paths: Vec<String>,
    known: Vec<KnownFile>,
    open: OnceLock<Open>,
}

#[derive(Debug)]
struct Open {
    makings: (Base, Vec<PathBuf>),
    files: Vec<OwnedFd>,
}

/// Which mapped files can be lent, by their places among all of them: those that are only read, and are not the
/// process's own.
pub(super) fn of<'a>(
    files: &'a [(String, bool)],
    own: &'a [OwnFile],
) -> impl Iterator<Item = (usize, &'a str)> {
    let is_own = |path: &str| own.iter().any(|file| path.strip_prefix(&*file.path).is_some_and(is_rest));
    let lent = files.iter().enumerate().filter(move |(_, (path, writes))| !writes && !is_own(path));
    lent.map(|(nth, (path, _))| (nth, path.as_str())).take(MOST_GIVEN - GIVEN_ALWAYS)
}

/// Whether this comes behind the path of the file or of a folder above it.
fn is_rest(rest: &str) -> bool {
    rest.is_empty() || rest.starts_with('/')
}

impl Lent {
    pub(super) fn new(manifest: &Manifest, files: &[(String, bool)]) -> Self {
        let paths: Vec<String> = of(files, &manifest.own_files).map(|(_, path)| path.to_owned()).collect();
        let known = manifest.known_files.clone();
        Self { paths, known, open: OnceLock::new() }
    }

    /// The files for a process of this program, opened by the first; none where its root is made of something else, or
    /// where one of them is not as it was: then each process opens its own, and says what is wrong.
    pub(super) fn files(&self, manager: &Manager, program: &Program) -> Vec<BorrowedFd<'_>> {
        let makings = manager.makings(program);
        let open = self.open.get_or_init(|| {
            let files = self.open_all(manager, program).unwrap_or_default();
            Open { makings: makings.clone(), files }
        });
        if open.makings == makings { open.files.iter().map(AsFd::as_fd).collect() } else { Vec::new() }
    }

    fn open_all(&self, manager: &Manager, program: &Program) -> Option<Vec<OwnedFd>> {
        let opened = manager.open_files(program, self.paths.iter().map(String::as_str)).ok()?;
        let checked = |(path, file): (&String, Option<std::fs::File>)| {
            let known = self.known.binary_search_by(|known| known.path.cmp(path)).ok()?;
            file.filter(|file| self.known[known].looks_like(file)).map(OwnedFd::from)
        };
        self.paths.iter().zip(opened).map(checked).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::template::manifest::OwnContent;

    #[test]
    fn what_is_written_or_the_processs_own_is_not_lent() {
        let own = |path: &str, content| OwnFile { path: path.into(), mode: 0o644, modified_ns: 0, content };
        let own = [own("/tmp/made", OwnContent::Folder), own("/usr/lib/a.so", OwnContent::Gone)];
        let files = ["/usr/lib/a.so", "/usr/lib/a.so.1", "/tmp/made/b.so", "/tmp/made2", "/data"];
        let files: Vec<_> = files.iter().map(|path| (path.to_string(), *path == "/data")).collect();
        let lent: Vec<_> = of(&files, &own).collect();
        assert_eq!(lent, [(1, "/usr/lib/a.so.1"), (3, "/tmp/made2")]);
    }
}
