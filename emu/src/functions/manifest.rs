//! Manifests: what a function is, as its folder says.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use toml::Spanned;

use super::{Error, Expect, Places};

/// A function as its manifest describes it. Nothing of it is looked for on the machine yet.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// Name, which is that of its folder.
    pub name: String,
    /// The folder.
    pub folder: PathBuf,
    /// What it does, in a few words.
    pub summary: String,
    /// What runs it.
    pub language: Language,
    /// File of the handler within the folder; none for native and built-in functions.
    pub handler: Option<String>,
    /// Program and arguments of a native function, name and arguments of a built-in one; empty for the others.
    pub argv: Vec<String>,
    /// Worker threads beside the main one that take requests; 0: the main thread does the work.
    pub threads: u32,
    /// Processors it is allowed.
    pub cpus: u32,
    /// Processes and threads it is allowed.
    pub pids: u32,
    /// The function whose data it reads, if it reads any.
    pub data: Option<String>,
    /// Further environment variables.
    pub env: BTreeMap<String, String>,
    /// How its answers are checked, and why so.
    pub check: String,
    /// Its inputs.
    pub inputs: Inputs,
}

/// What runs a handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Language {
    /// The base image's CPython.
    Python,
    /// The base image's Node.
    Node,
    /// A program of its own.
    Native,
    /// This program.
    BuiltIn,
}

impl Language {
    /// The word for it in manifests and names of folders.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Python => "python",
            Self::Node => "node",
            Self::Native => "native",
            Self::BuiltIn => "built-in",
        }
    }
}

/// The inputs that every function has: three to measure with, and another one to call it with before its memory is
/// captured.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inputs {
    /// The input of the first copy.
    pub base: Input,
    /// The input of the copy `_1`.
    #[serde(rename = "_1")]
    pub first: Input,
    /// The input of the copy `_2`.
    #[serde(rename = "_2")]
    pub second: Input,
    /// The input of the call before a capture.
    #[serde(rename = "warm-up")]
    pub warm_up: Input,
}

/// One input and what its answer must be.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// Declared memory limit of the copy that is called with it, MB; none for the warm-up call.
    pub memory_mb: Option<u64>,
    /// The request's input.
    pub input: Value,
    /// What the answer must be; at least one demand.
    #[serde(deserialize_with = "some")]
    pub expect: Vec<Expect>,
}

impl Inputs {
    /// All of them with their names, the warm-up call last.
    #[must_use]
    pub fn all(&self) -> [(&'static str, &Input); 4] {
        [("base", &self.base), ("_1", &self.first), ("_2", &self.second), ("warm-up", &self.warm_up)]
    }
}

impl Input {
    /// Everything that is wrong with an answer to it.
    #[must_use]
    pub fn faults(&self, output: &Value) -> Vec<String> {
        self.expect.iter().filter_map(|expect| expect.fault(output)).collect()
    }

    /// Declared memory limit in bytes, if it has one.
    #[must_use]
    pub fn memory_limit(&self) -> Option<u64> {
        self.memory_mb.map(|mb| mb * 1_000_000)
    }
}

fn some<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Vec<Expect>, D::Error> {
    let list = Vec::deserialize(from)?;
    if list.is_empty() {
        return Err(serde::de::Error::custom(
            "an input without an expectation is not checked: state at least one",
        ));
    }
    Ok(list)
}

/// As in the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    summary: String,
    language: Spanned<Language>,
    handler: Option<Spanned<String>>,
    argv: Option<Spanned<Vec<String>>>,
    threads: Option<Spanned<u32>>,
    cpus: u32,
    pids: u32,
    data: Option<String>,
    #[serde(default)]
    env: BTreeMap<String, String>,
    check: String,
    inputs: Inputs,
}

/// Every function, by name.
pub fn list(places: &Places) -> Result<Vec<Manifest>, Error> {
    names(places)?.iter().map(|name| Manifest::read(&places.functions.join(name))).collect()
}

/// The function of that name.
pub fn find(places: &Places, name: &str) -> Result<Manifest, Error> {
    let known = names(places)?;
    if known.iter().any(|other| other == name) {
        return Manifest::read(&places.functions.join(name));
    }
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    let nearest = traces::names::nearest(name, &known).map(str::to_owned);
    Err(Error::Unknown { name: name.to_owned(), nearest })
}

fn names(places: &Places) -> Result<Vec<String>, Error> {
    let entries =
        fs::read_dir(&places.functions).map_err(|_| Error::NoFunctions(places.functions.clone()))?;
    let mut names: Vec<String> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|folder| folder.join("manifest.toml").is_file())
        .filter_map(|folder| Some(folder.file_name()?.to_str()?.to_owned()))
        .collect();
    names.sort();
    Ok(names)
}

impl Manifest {
    /// Reads the manifest of a folder.
    pub fn read(folder: &Path) -> Result<Self, Error> {
        let file = folder.join("manifest.toml");
        let text = fs::read_to_string(&file).map_err(Error::io("read", &file))?;
        let at = |offset: usize, message: String| {
            let before = &text[..offset.min(text.len())];
            let line = before.matches('\n').count() + 1;
            let column = before.rsplit('\n').next().map_or(0, |rest| rest.chars().count()) + 1;
            Error::Manifest { file: file.clone(), line, column, message }
        };
        let written: Written = toml::from_str(&text)
            .map_err(|error| at(error.span().map_or(0, |span| span.start), error.message().to_owned()))?;

        let language = *written.language.as_ref();
        match (language, &written.handler, &written.argv) {
            (Language::Native | Language::BuiltIn, None, Some(argv)) if argv.as_ref().is_empty() => {
                return Err(at(argv.span().start, "`argv` names no program".to_owned()));
            }
            (Language::Native | Language::BuiltIn, None, Some(_))
            | (Language::Python | Language::Node, Some(_), None) => {}
            (Language::Native | Language::BuiltIn, ..) => {
                let message = format!("a {} function has `argv`, and no `handler`", language.name());
                return Err(at(written.language.span().start, message));
            }
            (language, ..) => {
                let message = format!("a function in {} has a `handler`, and no `argv`", language.name());
                return Err(at(written.language.span().start, message));
            }
        }
        if let Some(handler) = &written.handler
            && !folder.join(handler.as_ref()).is_file()
        {
            let message = format!("there is no file `{}` in {}", handler.as_ref(), folder.display());
            return Err(at(handler.span().start, message));
        }
        if let Some(threads) = &written.threads
            && language != Language::Python
        {
            let message =
                "only Python functions have worker threads: Node has its own, native ones say it in `argv`";
            return Err(at(threads.span().start, message.to_owned()));
        }
        Ok(Self {
            name: folder.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            folder: folder.to_owned(),
            summary: written.summary,
            language,
            handler: written.handler.map(Spanned::into_inner),
            argv: written.argv.map(Spanned::into_inner).unwrap_or_default(),
            threads: written.threads.map_or(0, Spanned::into_inner),
            cpus: written.cpus,
            pids: written.pids,
            data: written.data,
            env: written.env,
            check: written.check,
            inputs: written.inputs,
        })
    }
}
