//! Which real function stands for each function of a workload.

use std::collections::BTreeMap;
use std::fmt::Debug;

use serde_json::Value;
use traces::Workload;

use super::error::Refused;
use crate::functions::{self, Input, Places};
use crate::sandbox::{Base, Program};

/// A function that real sandboxes can run: what is started, what it is asked, what it must answer.
#[derive(Clone, Debug)]
pub struct Real {
    /// What is started.
    pub program: Program,
    /// The input of every invocation.
    pub input: Value,
    /// What answers must be.
    pub expect: Option<Input>,
}

/// Where real functions come from.
pub trait Catalog: Debug + Send + Sync {
    /// What lies under all of them.
    fn base(&self) -> Base;

    /// Names of all functions, without copies.
    ///
    /// # Errors
    /// If they cannot be listed.
    fn names(&self) -> Result<Vec<String>, Refused>;

    /// The function of that name, with the input of the copy (0: the base input).
    ///
    /// # Errors
    /// If it is not set up.
    fn find(&self, name: &str, copy: usize) -> Result<Real, Refused>;
}

/// The functions of a workload, in its order.
///
/// # Errors
/// If one does not exist: all that do not are named.
pub(super) fn match_all(catalog: &dyn Catalog, workload: &Workload) -> Result<Vec<Real>, Refused> {
    let known = catalog.names()?;
    let split = |name: &str| {
        let (base, copy) = match name.rsplit_once('_') {
            Some((base, "1")) => (base, 1),
            Some((base, "2")) => (base, 2),
            _ => (name, 0),
        };
        known.iter().any(|known| known == base).then(|| (base.to_owned(), copy))
    };
    let missing: Vec<String> = workload
        .functions
        .iter()
        .filter(|function| split(&function.name).is_none())
        .map(|function| function.name.clone())
        .collect();
    if !missing.is_empty() {
        return Err(Refused::NoFunction { missing, known });
    }
    workload
        .functions
        .iter()
        .filter_map(|function| split(&function.name))
        .map(|(base, copy)| catalog.find(&base, copy))
        .collect()
}

/// The functions of `emu/functions` in the base image, as the set-up has made them.
#[derive(Clone, Debug)]
pub struct Installed(pub Places);

impl Catalog for Installed {
    fn base(&self) -> Base {
        Base::Image(self.0.image())
    }

    fn names(&self) -> Result<Vec<String>, Refused> {
        Ok(functions::list(&self.0)?.into_iter().map(|manifest| manifest.name).collect())
    }

    fn find(&self, name: &str, copy: usize) -> Result<Real, Refused> {
        let image = self.0.image();
        if !image.join("usr").is_dir() {
            let function = name.to_owned();
            return Err(functions::Error::NotSetUp { function, what: "base image", path: image }.into());
        }
        let spec = functions::find(&self.0, name)?.locate(&self.0)?;
        let input = match copy {
            0 => &spec.inputs.base,
            1 => &spec.inputs.first,
            _ => &spec.inputs.second,
        };
        let (input, expect) = (input.input.clone(), Some(input.clone()));
        Ok(Real { program: spec.program(), input, expect })
    }
}

/// Functions of a test or a tool: by name.
#[derive(Clone, Debug)]
pub struct Listed {
    /// What lies under them.
    pub base: Base,
    /// Each with its name.
    pub functions: BTreeMap<String, Real>,
}

impl Catalog for Listed {
    fn base(&self) -> Base {
        self.base.clone()
    }

    fn names(&self) -> Result<Vec<String>, Refused> {
        Ok(self.functions.keys().cloned().collect())
    }

    fn find(&self, name: &str, _copy: usize) -> Result<Real, Refused> {
        let found = self.functions.get(name).cloned();
        found.ok_or_else(|| Refused::NoFunction {
            missing: vec![name.to_owned()],
            known: self.functions.keys().cloned().collect(),
        })
    }
}
