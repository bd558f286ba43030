//! Kernel modules of an unpacked kernel: which ones a driver needs, in the order in which they load.
//!
//! What a module needs stands in the module itself (`depends=` and `softdep=pre:` of its `.modinfo` section), so
//! neither `depmod` nor the host's settings of `modprobe` have a say.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Why modules could not be found.
#[derive(Debug, thiserror::Error)]
pub enum ModulesError {
    /// The folder could not be read.
    #[error("{path}: {why}", path = .path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// Why not.
        why: io::Error,
    },
    /// There is no such module.
    #[error(
        "this kernel has no module {name}{for_whom}: take a kernel of a distribution's full flavour (Debian's \
         'cloud' flavour lacks RDMA and 9p)",
        for_whom = .wanted_by.as_ref().map(|name| format!(", which {name} needs")).unwrap_or_default()
    )]
    Absent {
        /// Its name.
        name: String,
        /// The module that asked for it, if one did.
        wanted_by: Option<String>,
    },
}

/// The modules of one kernel.
#[derive(Debug)]
pub struct Modules {
    files: BTreeMap<String, PathBuf>,
    built_in: BTreeSet<String>,
}

impl Modules {
    /// The modules under `folder`, which is `lib/modules/RELEASE` of an unpacked kernel.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn of(folder: &Path) -> Result<Self, ModulesError> {
        let mut files = BTreeMap::new();
        let mut folders = vec![folder.to_owned()];
        while let Some(path) = folders.pop() {
            let entries = fs::read_dir(&path).map_err(|why| ModulesError::Io { path, why })?;
            for entry in entries.flatten() {
                let path = entry.path();
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    folders.push(path);
                } else if path.extension() == Some(OsStr::new("ko")) {
                    files.insert(name_of(&path), path);
                }
            }
        }
        let list = folder.join("modules.builtin");
        let text = fs::read_to_string(&list).map_err(|why| ModulesError::Io { path: list, why })?;
        let built_in = text.lines().map(|line| name_of(Path::new(line))).collect();
        Ok(Self { files, built_in })
    }

    /// The files to load for `wanted`, each after everything that it needs, none twice and none that is in
    /// `loaded`, which grows by them.
    ///
    /// # Errors
    /// If one is neither there nor built in, or cannot be read.
    pub fn order(
        &self,
        wanted: &[&str],
        loaded: &mut BTreeSet<String>,
    ) -> Result<Vec<PathBuf>, ModulesError> {
        let mut order = Vec::new();
        for name in wanted {
            self.visit(name, None, loaded, &mut order)?;
        }
        Ok(order)
    }

    fn visit(
        &self,
        name: &str,
        wanted_by: Option<&str>,
        loaded: &mut BTreeSet<String>,
        order: &mut Vec<PathBuf>,
    ) -> Result<(), ModulesError> {
        let name = name.replace('-', "_");
        if self.built_in.contains(&name) || !loaded.insert(name.clone()) {
            return Ok(());
        }
        let Some(path) = self.files.get(&name) else {
            return Err(ModulesError::Absent { name, wanted_by: wanted_by.map(str::to_owned) });
        };
        let bytes = fs::read(path).map_err(|why| ModulesError::Io { path: path.clone(), why })?;
        let needs = Needs::of(&bytes);
        for other in &needs.hard {
            self.visit(other, Some(&name), loaded, order)?;
        }
        // A soft one may be an alias (crypto-crc32c) or left out on purpose.
        for other in needs.soft.iter().filter(|other| self.files.contains_key(&other.replace('-', "_"))) {
            self.visit(other, Some(&name), loaded, order)?;
        }
        order.push(path.clone());
        Ok(())
    }
}

fn name_of(path: &Path) -> String {
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    name.replace('-', "_")
}

/// What a module says that it needs.
#[derive(Debug, Default, PartialEq, Eq)]
struct Needs {
    hard: Vec<String>,
    soft: Vec<String>,
}

impl Needs {
    /// From the bytes of a module. Entries of `.modinfo` are `key=value` between zero bytes.
    fn of(bytes: &[u8]) -> Self {
        let mut needs = Self::default();
        for entry in bytes.split(|byte| *byte == 0) {
            // Short entries only: the rest of the file is code.
            let Some(text) = (entry.len() < 4096).then(|| std::str::from_utf8(entry).ok()).flatten() else {
                continue;
            };
            if let Some(names) = text.strip_prefix("depends=") {
                needs.hard.extend(names.split(',').filter(|name| !name.is_empty()).map(str::to_owned));
            } else if let Some(rest) = text.strip_prefix("softdep=pre:") {
                let names = rest.split_whitespace().take_while(|word| *word != "post:");
                needs.soft.extend(names.map(str::to_owned));
            }
        }
        needs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kernel(modules: &[(&str, &str)], built_in: &str) -> (tempfile::TempDir, Modules) {
        let folder = tempfile::tempdir().unwrap();
        let drivers = folder.path().join("kernel/drivers");
        fs::create_dir_all(&drivers).unwrap();
        for (name, info) in modules {
            let bytes = format!("\x7fELF\0code\0license=GPL\0{info}\0name={name}\0");
            fs::write(drivers.join(format!("{name}.ko")), bytes).unwrap();
        }
        fs::write(folder.path().join("modules.builtin"), built_in).unwrap();
        let modules = Modules::of(folder.path()).unwrap();
        (folder, modules)
    }

    fn names(paths: &[PathBuf]) -> Vec<String> {
        paths.iter().map(|path| name_of(path)).collect()
    }

    #[test]
    fn what_a_module_needs_comes_before_it_and_once() {
        let (_folder, modules) = kernel(
            &[
                ("rdma_rxe", "depends=ib-core,udp_tunnel"),
                ("ib-core", "depends="),
                ("udp_tunnel", "depends=ipv6"),
                ("cxl_mem", "softdep=pre: cxl_port ib_core post: nothing\0depends="),
            ],
            "kernel/net/ipv6.ko\nkernel/drivers/cxl/cxl_port.ko\n",
        );
        let mut loaded = BTreeSet::new();
        let first = modules.order(&["rdma_rxe"], &mut loaded).unwrap();
        assert_eq!(names(&first), ["ib_core", "udp_tunnel", "rdma_rxe"]);
        let second = modules.order(&["cxl_mem", "rdma_rxe", "cxl_port"], &mut loaded).unwrap();
        assert_eq!(names(&second), ["cxl_mem"]);
    }

    #[test]
    fn a_missing_module_is_named_with_the_one_that_needs_it() {
        let (_folder, modules) = kernel(&[("nd_pmem", "depends=libnvdimm")], "");
        let error = modules.order(&["nd_pmem"], &mut BTreeSet::new()).unwrap_err();
        assert!(error.to_string().contains("no module libnvdimm, which nd_pmem needs"), "{error}");
    }
}
