//! The code of a function as a layer: a copy of its few files, in a folder named by their content.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Error, Language, Manifest, Places, built_in};

/// Name of the program in the layer of a built-in function.
pub(super) const BUILT_IN: &str = "trenvx";
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
        Language::Native | Language::BuiltIn => None,
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

/// The layer with this program, for functions that are in it; made if it is not there. It is told from others by its
/// size and time of change, and lies there by another name of the same file where the file system allows that. Those
/// that nobody has made anew for a day go.
pub(super) fn program(manifest: &Manifest, places: &Places) -> Result<PathBuf, Error> {
    let program = built_in::program().ok_or_else(|| Error::NotSetUp {
        function: manifest.name.clone(),
        what: "program that has built-in functions",
        path: PathBuf::from("/proc/self/exe"),
    })?;
    let file = fs::metadata(&program).map_err(Error::io("look at", &program))?;
    let key = format!("{} {} {}", file.len(), file.mtime(), file.mtime_nsec());
    let key = blake3::hash(key.as_bytes()).to_hex();
    let folder = places.layers().join("code");
    let target = folder.join(format!("{}-{}", manifest.name, &key[..16]));
    if target.is_dir() {
        return Ok(target);
    }
    fs::create_dir_all(&folder).map_err(Error::io("make", &folder))?;
    remove_leavings(&folder);
    remove_old(&folder, &manifest.name);
    let partial = partial(&folder);
    let code = partial.join("function/code");
    fs::create_dir_all(&code).map_err(Error::io("make", &code))?;
    let copy = code.join(BUILT_IN);
    if fs::hard_link(&program, &copy).is_err() {
        fs::copy(&program, &copy).map_err(Error::io("copy this program to", &copy))?;
    }
    finish(&partial, &target)?;
    Ok(target)
}

fn remove_old(folder: &Path, name: &str) {
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    for (other, path) in entries(folder).unwrap_or_default() {
        let is_one = other.strip_prefix(name).is_some_and(|rest| rest.starts_with('-') && rest.len() == 17);
        let made = path.metadata().and_then(|folder| folder.modified());
        let age = made.ok().and_then(|made| made.elapsed().ok());
        if is_one && age.is_some_and(|age| age > DAY) {
            let _ = fs::remove_dir_all(path);
        }
    }
}

/// A folder for something unfinished. Two threads of one process may be at it too.
fn partial(folder: &Path) -> PathBuf {
    let thread = rustix::thread::gettid().as_raw_nonzero();
    folder.join(format!(".partial-{}-{thread}", std::process::id()))
}

/// Moves what is finished to its place, unless somebody else has made the same one in the meantime.
fn finish(partial: &Path, target: &Path) -> Result<(), Error> {
    match fs::rename(partial, target) {
        Err(error) if matches!(error.kind(), ErrorKind::DirectoryNotEmpty | ErrorKind::AlreadyExists) => {
            fs::remove_dir_all(partial).map_err(Error::io("remove", partial))
        }
        result => result.map_err(Error::io("finish", target)),
    }
}

/// Writes the files beside `target` and moves them there in one step.
fn write(files: &[(String, Vec<u8>)], folder: &Path, target: &Path) -> Result<(), Error> {
    let partial = partial(folder);
    for folder in ["function/code", "function/runtime"].map(|name| partial.join(name)) {
        fs::create_dir_all(&folder).map_err(Error::io("make", &folder))?;
    }
    for (name, content) in files {
        let file = partial.join(name);
        fs::write(&file, content).map_err(Error::io("write", &file))?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).map_err(Error::io("write", &file))?;
    }
    finish(&partial, target)
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
