//! The code of a function as a layer: a copy of its few files, in a folder named by their content.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::{Error, Language, Manifest, Places};

/// Files of a function's folder that are not its code.
const NOT_CODE: [&str; 6] =
    ["manifest.toml", "requirements.txt", "package.json", "package-lock.json", "generate.py", "__pycache__"];

/// The layer with the function's code and the runner of its language; made if it is not there. The same files give
/// the same folder, and one that is there is whole.
pub(super) fn code(manifest: &Manifest, places: &Places) -> Result<PathBuf, Error> {
    let mut files = Vec::new();
    for (name, path) in entries(&manifest.folder)? {
        if !NOT_CODE.contains(&name.as_str()) && path.is_file() {
            files.push((format!("function/code/{name}"), read(&path)?));
        }
    }
    let runner = match manifest.language {
        Language::Python => Some("serve.py"),
        Language::Node => Some("serve.js"),
        Language::Native => None,
    };
    if let Some(runner) = runner {
        let path = places.functions.join("runtime").join(manifest.language.name()).join(runner);
        files.push((format!("function/runtime/{runner}"), read(&path)?));
    }

    let mut hasher = blake3::Hasher::new();
    for (name, content) in &files {
        hasher.update(&(name.len() as u64).to_le_bytes()).update(name.as_bytes());
        hasher.update(&(content.len() as u64).to_le_bytes()).update(content);
    }
    let hash = hasher.finalize().to_hex();
    let folder = places.layers().join("code");
    let target = folder.join(format!("{}-{}", manifest.name, &hash[..16]));
    if !target.is_dir() {
        fs::create_dir_all(&folder).map_err(Error::io("make", &folder))?;
        remove_leavings(&folder);
        write(&files, &folder, &target)?;
    }
    Ok(target)
}

/// Writes the files beside `target` and moves them there in one step.
fn write(files: &[(String, Vec<u8>)], folder: &Path, target: &Path) -> Result<(), Error> {
    // Two threads of one process may be at it too.
    let thread = rustix::thread::gettid().as_raw_nonzero();
    let partial = folder.join(format!(".partial-{}-{thread}", std::process::id()));
    for folder in ["function/code", "function/runtime"].map(|name| partial.join(name)) {
        fs::create_dir_all(&folder).map_err(Error::io("make", &folder))?;
    }
    for (name, content) in files {
        let file = partial.join(name);
        fs::write(&file, content).map_err(Error::io("write", &file))?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).map_err(Error::io("write", &file))?;
    }
    match fs::rename(&partial, target) {
        // Somebody else made the same one in the meantime.
        Err(error) if matches!(error.kind(), ErrorKind::DirectoryNotEmpty | ErrorKind::AlreadyExists) => {
            fs::remove_dir_all(&partial).map_err(Error::io("remove", &partial))
        }
        result => result.map_err(Error::io("finish", target)),
    }
}

/// Removes what processes that were killed left unfinished.
fn remove_leavings(folder: &Path) {
    for (name, path) in entries(folder).unwrap_or_default() {
        let pid = name.strip_prefix(".partial-").and_then(|rest| rest.split('-').next());
        if pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            let _ = fs::remove_dir_all(path);
        }
    }
}

/// Names and paths in a folder, sorted.
fn entries(folder: &Path) -> Result<Vec<(String, PathBuf)>, Error> {
    let listed = fs::read_dir(folder).map_err(Error::io("list", folder))?;
    let mut entries: Vec<(String, PathBuf)> = listed
        .flatten()
        .filter_map(|entry| Some((entry.file_name().into_string().ok()?, entry.path())))
        .collect();
    entries.sort();
    Ok(entries)
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(Error::io("read", path))
}
