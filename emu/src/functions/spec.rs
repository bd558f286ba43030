//! What a sandbox needs to know to run a function.

use std::path::{Path, PathBuf};

use crate::sandbox::{Limits, Program};

use super::{Error, Inputs, Language, Manifest, Places, built_in, stage};

/// A function whose files were found: what to execute, with what, in what, within which limits.
#[derive(Clone, Debug)]
pub struct FunctionSpec {
    /// Name.
    pub name: String,
    /// What runs it.
    pub language: Language,
    /// Program and arguments, as paths in the sandbox. Its descriptors 0 and 1 are the protocol's socket.
    pub argv: Vec<String>,
    /// Its whole environment.
    pub env: Vec<(String, String)>,
    /// The folder it starts in, in the sandbox.
    pub cwd: PathBuf,
    /// Read-only layers, uppermost first; each a tree that begins at the sandbox's root. Below them is the image.
    pub layers: Vec<PathBuf>,
    /// Processors it is allowed.
    pub cpus: u32,
    /// Processes and threads it is allowed.
    pub pids: u32,
    /// Worker threads beside the main one; 0: the main thread does the work.
    pub threads: u32,
    /// Its inputs, with the memory limit of the copy that each belongs to and with what answers must be.
    pub inputs: Inputs,
}

impl FunctionSpec {
    /// As a sandbox starts it. Limits are loose, as the published platform's: what it accounts is the declared
    /// memory, what stops a function is an accident.
    #[must_use]
    pub fn program(self) -> Program {
        let Self { argv, env, cwd, layers, pids, name, .. } = self;
        Program {
            env: env.into_iter().collect(),
            cwd: cwd.display().to_string(),
            layers,
            limits: Limits { pids: Some(pids), ..Limits::default() },
            hostname: name,
            ..Program::new(argv)
        }
    }
}

/// Folder of a function's files in a sandbox.
const FOLDER: &str = "/function";

impl Manifest {
    /// Finds the function's layers. Its code is laid out as a layer at this moment, so that a change of a handler
    /// needs no set-up; packages and data must have been made by the set-up.
    pub fn locate(&self, places: &Places) -> Result<FunctionSpec, Error> {
        let mut layers = vec![match self.language {
            Language::BuiltIn => stage::program(self, places)?,
            _ => stage::code(self, places)?,
        }];
        let packages = match self.language {
            Language::Python => self.folder.join("requirements.txt").is_file(),
            Language::Node => self.folder.join("package-lock.json").is_file(),
            Language::Native | Language::BuiltIn => false,
        };
        if packages {
            let folder = places.layers().join(self.language.name()).join(&self.name);
            layers.push(self.made("layer of packages", folder)?);
        }
        if let Some(owner) = &self.data {
            layers.push(self.made("layer of data", places.layers().join("data").join(owner))?);
        }
        Ok(FunctionSpec {
            name: self.name.clone(),
            language: self.language,
            argv: self.command(),
            env: self.environment(),
            cwd: if self.language == Language::Native {
                PathBuf::from("/")
            } else {
                Path::new(FOLDER).join("code")
            },
            layers,
            cpus: self.cpus,
            pids: self.pids,
            threads: self.threads,
            inputs: self.inputs.clone(),
        })
    }

    fn made(&self, what: &'static str, path: PathBuf) -> Result<PathBuf, Error> {
        if path.join("function").is_dir() {
            return Ok(path);
        }
        Err(Error::NotSetUp { function: self.name.clone(), what, path })
    }

    fn command(&self) -> Vec<String> {
        let mut argv = match self.language {
            Language::Python => vec!["/usr/bin/python3".to_owned(), format!("{FOLDER}/runtime/serve.py")],
            Language::Node => vec!["/usr/bin/node".to_owned(), format!("{FOLDER}/runtime/serve.js")],
            Language::Native => return self.argv.clone(),
            Language::BuiltIn => {
                let program = [format!("{FOLDER}/code/{}", stage::BUILT_IN), built_in::HIDDEN.to_owned()];
                return program.into_iter().chain(self.argv.clone()).collect();
            }
        };
        let handler = self.handler.as_deref().unwrap_or_default();
        argv.extend(["--name".to_owned(), self.name.clone()]);
        argv.extend(["--handler".to_owned(), format!("{FOLDER}/code/{handler}")]);
        if self.threads > 0 {
            argv.extend(["--threads".to_owned(), self.threads.to_string()]);
        }
        argv
    }

    fn environment(&self) -> Vec<(String, String)> {
        let cpus = self.cpus.to_string();
        let mut env: Vec<(&str, String)> = vec![
            ("PATH", "/usr/bin:/bin".to_owned()),
            ("HOME", "/tmp".to_owned()),
            ("LANG", "C.UTF-8".to_owned()),
            ("FUNCTION_CPUS", cpus.clone()),
            ("FUNCTION_DATA", format!("{FOLDER}/data")),
        ];
        match self.language {
            Language::Python => env.extend([
                ("PYTHONPATH", format!("{FOLDER}/packages")),
                ("PYTHONDONTWRITEBYTECODE", "1".to_owned()),
                // numpy's algebra starts a thread per processor of the machine if nobody says otherwise.
                ("OPENBLAS_NUM_THREADS", cpus),
            ]),
            Language::Node => env.push(("NODE_ENV", "production".to_owned())),
            Language::Native | Language::BuiltIn => {}
        }
        let mut env: Vec<(String, String)> =
            env.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        env.retain(|(name, _)| !self.env.contains_key(name));
        env.extend(self.env.clone());
        env
    }
}
