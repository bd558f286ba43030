//! The agents: a folder of `emu/agents` each, with a manifest.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use traces::generate::agents::TokenTrace;

use super::Error;
use super::recording::Recording;

/// Environment variable that names the folder of agents.
pub const AGENTS_VARIABLE: &str = "TRENVX_AGENTS";

/// An agent as its manifest describes it.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// Name, which is that of its folder and of its profile.
    pub name: String,
    /// The folder.
    pub folder: PathBuf,
    /// What it does, in a few words.
    pub summary: String,
    /// Where its shape comes from.
    pub source: String,
    /// Whether it uses a browser.
    pub browser: bool,
    /// The trace that the sizes of its requests are drawn from.
    pub tokens: TokenTrace,
}

/// As in the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    summary: String,
    source: String,
    browser: bool,
    tokens: TokenTrace,
}

/// The folder of agents that [`AGENTS_VARIABLE`] names, else `emu/agents` here or above.
///
/// # Errors
/// If there is none.
pub fn here() -> Result<PathBuf, Error> {
    let candidates: Vec<PathBuf> = match std::env::var_os(AGENTS_VARIABLE) {
        Some(stated) => vec![PathBuf::from(stated)],
        None => {
            let here = std::env::current_dir().map_err(Error::io("find the current folder from", "."))?;
            here.ancestors().map(|folder| folder.join("emu/agents")).collect()
        }
    };
    let found = candidates.iter().find(|folder| folder.join("runtime").is_dir()).cloned();
    let found = found.ok_or_else(|| Error::NoAgents(candidates.into_iter().next().unwrap_or_default()))?;
    std::path::absolute(&found).map_err(Error::io("find", &found))
}

/// Every agent of that folder, by name.
///
/// # Errors
/// If a manifest is not as it should be.
pub fn list(folder: &Path) -> Result<Vec<Manifest>, Error> {
    let entries = fs::read_dir(folder).map_err(|_| Error::NoAgents(folder.to_owned()))?;
    let mut folders: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|one| one.join("manifest.toml").is_file())
        .collect();
    folders.sort();
    folders.iter().map(|one| Manifest::read(one)).collect()
}

/// The agents of these names, in their order; all for none.
///
/// # Errors
/// If there is no agent of a name, or a manifest is not as it should be.
pub fn find(folder: &Path, names: &[String]) -> Result<Vec<Manifest>, Error> {
    let all = list(folder)?;
    if names.is_empty() {
        return Ok(all);
    }
    let known: Vec<&str> = all.iter().map(|one| one.name.as_str()).collect();
    names
        .iter()
        .map(|name| {
            all.iter().find(|one| one.name == *name).cloned().ok_or_else(|| {
                let nearest = traces::names::nearest(name, &known).map(str::to_owned);
                let known = known.iter().map(|&one| one.to_owned()).collect();
                Error::Unknown { name: name.clone(), nearest, known }
            })
        })
        .collect()
}

impl Manifest {
    /// Reads the manifest of a folder.
    ///
    /// # Errors
    /// If it is not as it should be.
    pub fn read(folder: &Path) -> Result<Self, Error> {
        let file = folder.join("manifest.toml");
        let text = fs::read_to_string(&file).map_err(Error::io("read", &file))?;
        let written: Written = toml::from_str(&text).map_err(|error| Error::file(&file, error))?;
        if !folder.join("agent.py").is_file() {
            return Err(Error::file(&file, "there is no agent.py beside it"));
        }
        Ok(Self {
            name: folder.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            folder: folder.to_owned(),
            summary: written.summary,
            source: written.source,
            browser: written.browser,
            tokens: written.tokens,
        })
    }

    /// Its recordings: seeds 0, 1, … as far as there are any, at least one.
    ///
    /// # Errors
    /// If there is none, or one does not read.
    pub fn recordings(&self) -> Result<Vec<Recording>, Error> {
        let mut found = vec![Recording::read(&self.folder, 0)?];
        for seed in 1.. {
            if !Recording::path(&self.folder, seed).is_file() {
                break;
            }
            found.push(Recording::read(&self.folder, seed)?);
        }
        Ok(found)
    }
}
