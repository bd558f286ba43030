//! Finding experiment files: `e04` → `configs/experiments/e04-w1.toml`.

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::suggest;
use std::path::{Path, PathBuf};

/// Environment variable that names the folder of configurations.
pub const CONFIGS_VARIABLE: &str = "TRENVX_CONFIGS";

/// An experiment file by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listed {
    /// `e04`.
    pub id: String,
    /// `e04-w1`.
    pub name: String,
    /// The file.
    pub path: PathBuf,
}

/// The folder of configurations: `given` (from `--configs`), else the environment variable, else
/// `configs` in the current folder or the nearest folder above it.
pub fn root(given: Option<&Path>) -> Result<PathBuf, Diagnostics> {
    let stated = given.map(Path::to_owned).or_else(|| std::env::var_os(CONFIGS_VARIABLE).map(PathBuf::from));
    let candidates: Vec<PathBuf> = match stated {
        Some(stated) => vec![stated],
        None => {
            let mut up = vec![PathBuf::from("configs")];
            if let Ok(here) = std::env::current_dir() {
                up.extend(here.ancestors().skip(1).map(|folder| folder.join("configs")));
            }
            up
        }
    };
    candidates.iter().find(|folder| folder.join("base.toml").is_file()).cloned().ok_or_else(|| {
        let looked = candidates.first().cloned().unwrap_or_default();
        Diagnostic::file(
            &looked,
            format!(
                "no base.toml here: run inside the repository, or give --configs DIR or {CONFIGS_VARIABLE}"
            ),
        )
        .into()
    })
}

/// Every experiment file of a folder of configurations, sorted by name.
pub fn list(root: &Path) -> Result<Vec<Listed>, Diagnostics> {
    let folder = root.join("experiments");
    let entries = std::fs::read_dir(&folder).map_err(|error| {
        Diagnostic::file(&folder, format!("cannot be listed ({error}): is this a folder of configurations?"))
    })?;
    let mut found: Vec<Listed> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|ending| ending == "toml"))
        .filter_map(|path| {
            let name = path.file_stem()?.to_str()?.to_owned();
            let id = name.split('-').next()?.to_owned();
            Some(Listed { id, name, path })
        })
        .collect();
    found.sort();
    Ok(found)
}

/// The file of an experiment named by id (`e04`), file name (`e04-w1`) or path.
pub fn find(id_or_path: &str, root: &Path) -> Result<PathBuf, Diagnostics> {
    let as_path = Path::new(id_or_path);
    if as_path.is_file() {
        return Ok(as_path.to_owned());
    }
    if id_or_path.contains('/') || as_path.extension().is_some() {
        return Err(Diagnostic::file(
            as_path,
            "no such file: give an experiment's id, or the path of its file",
        )
        .into());
    }
    let all = list(root)?;
    let matching: Vec<&Listed> =
        all.iter().filter(|one| one.id == id_or_path || one.name == id_or_path).collect();
    match matching[..] {
        [one] => Ok(one.path.clone()),
        [] => {
            let names = all.iter().flat_map(|one| [one.id.as_str(), one.name.as_str()]);
            let near = suggest::nearest(id_or_path, names);
            let hint = near.map_or_else(
                || {
                    format!(
                        "known are {}",
                        all.iter().map(|one| one.name.as_str()).collect::<Vec<_>>().join(", ")
                    )
                },
                |name| format!("did you mean \"{name}\"?"),
            );
            Err(Diagnostic::named(
                id_or_path,
                format!("no such experiment in {}: {hint}", root.join("experiments").display()),
            )
            .into())
        }
        _ => {
            let names: Vec<&str> = matching.iter().map(|one| one.name.as_str()).collect();
            Err(Diagnostic::named(
                id_or_path,
                format!("several experiments have this id: write one of {}", names.join(", ")),
            )
            .into())
        }
    }
}
