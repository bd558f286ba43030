//! What a function has written to its root: everything in the upper layer of its overlay, open or closed.

use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::sandbox::Function;
use crate::template::error::Error;
use crate::template::manifest::{Descriptor, File, OwnContent, OwnFile, from_hex, to_hex};

/// Largest file of the function's own that is carried along, bytes.
const CARRIED: u64 = 1 << 20;
/// Most of all of them together: they are written again at every attach.
const CARRIED_TOGETHER: u64 = 4 << 20;
/// Most files and folders.
const MOST: usize = 1000;

/// All of it, folders before what is in them.
///
/// # Errors
/// What cannot be written again, by name.
pub(super) fn capture(function: &Function, descriptors: &[Descriptor]) -> Result<Vec<OwnFile>, Error> {
    let upper = PathBuf::from(format!("/proc/self/fd/{}/upper", function.writable().as_raw_fd()));
    let mut walk = Walk { upper, sockets: sockets(descriptors), found: Vec::new(), bytes: 0 };
    walk.folder("")?;
    Ok(walk.found)
}

struct Walk {
    upper: PathBuf,
    /// Paths that listening sockets make themselves.
    sockets: Vec<String>,
    found: Vec<OwnFile>,
    bytes: u64,
}

impl Walk {
    fn folder(&mut self, inside: &str) -> Result<(), Error> {
        let path = self.upper.join(inside.trim_start_matches('/'));
        let failed = |error| Error::file("list", &path)(error);
        let mut names = Vec::new();
        for entry in fs::read_dir(&path).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            names.push(name.into_string().map_err(|name| {
                Error::Uncapturable(format!("its own file {inside}/{} has no name in UTF-8", name.display()))
            })?);
        }
        names.sort();
        names.into_iter().try_for_each(|name| self.entry(&format!("{inside}/{name}")))
    }

    fn entry(&mut self, inside: &str) -> Result<(), Error> {
        let path = self.upper.join(inside.trim_start_matches('/'));
        let failed = |error| Error::file("look at", &path)(error);
        let refuse = |why: String| Err(Error::Uncapturable(format!("its own file {inside} {why}")));
        let metadata = fs::symlink_metadata(&path).map_err(failed)?;
        let kind = metadata.file_type();
        if self.found.len() >= MOST {
            return Err(Error::Uncapturable(format!("it has written more than {MOST} files and folders")));
        }
        if let Some(name) = attribute(&path).map_err(failed)? {
            return refuse(if name == OPAQUE {
                "is a folder that replaces one of its layers".into()
            } else {
                format!("has an extended attribute ({name})")
            });
        }
        let content = if kind.is_dir() {
            OwnContent::Folder
        } else if kind.is_symlink() {
            let target = fs::read_link(&path).map_err(failed)?;
            OwnContent::Link(target.to_string_lossy().into_owned())
        } else if kind.is_char_device() && metadata.rdev() == 0 {
            OwnContent::Gone
        } else if kind.is_socket() && self.sockets.iter().any(|socket| socket == inside) {
            OwnContent::Socket
        } else if kind.is_file() {
            if metadata.nlink() > 1 {
                return refuse("has several names".into());
            }
            if metadata.len() > CARRIED {
                return refuse(format!("has {} bytes: more than {CARRIED}", metadata.len()));
            }
            self.bytes += metadata.len();
            if self.bytes > CARRIED_TOGETHER {
                return refuse(format!("and those before it have more than {CARRIED_TOGETHER} bytes"));
            }
            OwnContent::File(to_hex(&fs::read(&path).map_err(failed)?))
        } else {
            return refuse("is neither file, folder, link nor a socket that listens".into());
        };
        let is_folder = content == OwnContent::Folder;
        self.found.push(OwnFile {
            path: inside.to_owned(),
            mode: metadata.mode() & 0o7777,
            modified_ns: metadata.mtime() * 1_000_000_000 + metadata.mtime_nsec(),
            content,
        });
        if is_folder { self.folder(inside) } else { Ok(()) }
    }
}

const OPAQUE: &str = "trusted.overlay.opaque";

/// An attribute that would be lost.
fn attribute(path: &Path) -> io::Result<Option<String>> {
    let mut names = vec![0_u8; 64 << 10];
    let length = match rustix::fs::llistxattr(path, &mut names) {
        Err(rustix::io::Errno::OPNOTSUPP) => 0,
        result => result?,
    };
    let names = names[..length].split(|byte| *byte == 0).map(String::from_utf8_lossy);
    // Of the overlay's own notes only this one means something to the function.
    let mut lost =
        names.filter(|name| name == OPAQUE || name.starts_with("user.") || name.starts_with("security."));
    Ok(lost.next().map(std::borrow::Cow::into_owned))
}

/// Paths to which listening sockets are bound.
fn sockets(descriptors: &[Descriptor]) -> Vec<String> {
    let paths = descriptors.iter().filter_map(|descriptor| match &descriptor.file {
        File::Listener { family, address, .. } if *family == libc::AF_UNIX as u32 => {
            let bytes = from_hex(address)?;
            let path = bytes.get(2..)?.split(|byte| *byte == 0).next()?;
            String::from_utf8(path.to_vec()).ok().filter(|path| path.starts_with('/'))
        }
        _ => None,
    });
    paths.collect()
}
