//! Where functions and what the set-up made of them are.

use std::path::{Path, PathBuf};

use super::Error;

/// Environment variable that names the folder of functions.
pub const FUNCTIONS_VARIABLE: &str = "TRENVX_FUNCTIONS";

/// The folders that functions are loaded and run from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// The folder of functions, `emu/functions` in the repository.
    pub functions: PathBuf,
    /// The folder of all outputs, where the set-up leaves images and layers.
    pub out: PathBuf,
}

impl Places {
    /// The folder of functions that [`FUNCTIONS_VARIABLE`] names, else `emu/functions` here or above; with `out`.
    pub fn here(out: &Path) -> Result<Self, Error> {
        let candidates: Vec<PathBuf> = match std::env::var_os(FUNCTIONS_VARIABLE) {
            Some(stated) => vec![PathBuf::from(stated)],
            None => {
                let here = std::env::current_dir().map_err(Error::io("find the current folder from", "."))?;
                here.ancestors().map(|folder| folder.join("emu/functions")).collect()
            }
        };
        let found = candidates.iter().find(|folder| folder.join("runtime").is_dir()).cloned();
        let functions =
            found.ok_or_else(|| Error::NoFunctions(candidates.into_iter().next().unwrap_or_default()))?;
        Ok(Self { functions, out: std::path::absolute(out).map_err(Error::io("find", out))? })
    }

    /// The base root image below all functions.
    #[must_use]
    pub fn image(&self) -> PathBuf {
        self.out.join("images/base")
    }

    /// The folder of layers.
    #[must_use]
    pub fn layers(&self) -> PathBuf {
        self.out.join("functions")
    }
}
