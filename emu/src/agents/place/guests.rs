//! What agents in microVMs are started from: an image, and a template of each root device.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::Error;
use crate::vm::{Accelerator, Host, Image, Machine, Method, RootDevice, Template};

/// Memory of an agent's guest, MiB. Agents here need a tenth of it; what they do not touch costs nothing.
const MEMORY_MIB: u32 = 512;
/// What is imported before the template is taken: all that agents and their tools use.
const WARM: &str =
    "import hashlib, http.client, json, random, re, resource, runpy, shutil, socket, subprocess, unittest";

/// An image, and the templates that were made of it. Templates are kept in the folder of all outputs, and made again
/// where they do not fit this machine.
#[derive(Debug)]
pub struct Guests {
    out: PathBuf,
    image: Image,
    accelerator: Accelerator,
    launcher: Option<PathBuf>,
    loaded: Mutex<BTreeMap<RootDevice, Arc<Template>>>,
    machine: fn(RootDevice) -> Machine,
}

impl Guests {
    /// Of the image in the folder of all outputs, on the best accelerator of this machine.
    ///
    /// # Errors
    /// If there is no image, or no guest can be tried.
    pub fn find(out: &Path) -> Result<Self, Error> {
        let image = Image::find(out)?;
        let accelerator = Accelerator::of_this_machine(&image)?;
        Ok(Self::new(out, image, accelerator, None))
    }

    /// Of this image, with templates under `out`. `launcher`: as of [`Host::start`].
    #[must_use]
    pub fn new(out: &Path, image: Image, accelerator: Accelerator, launcher: Option<PathBuf>) -> Self {
        let machine = |root| Machine::new(MEMORY_MIB, root);
        Self { out: out.to_owned(), image, accelerator, launcher, loaded: Mutex::default(), machine }
    }

    /// What runs the guests.
    #[must_use]
    pub fn accelerator(&self) -> &Accelerator {
        &self.accelerator
    }

    /// Their image.
    #[must_use]
    pub fn image(&self) -> &Image {
        &self.image
    }

    pub(super) fn host(&self, method: Method) -> Result<Host, Error> {
        Ok(Host::start(method, &self.image, self.accelerator.clone(), self.launcher.clone())?)
    }

    /// The template for this method, booted if there is none that fits.
    pub(super) fn template(&self, method: Method) -> Result<Arc<Template>, Error> {
        // Held while one boots: others wait for it instead of booting, too.
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = loaded.get(&method.root()) {
            return Ok(Arc::clone(known));
        }
        let name = format!("agents-{}", method.root().name());
        let machine = (self.machine)(method.root());
        let kept = Template::load(&self.out, &name, &self.image, &self.accelerator).ok();
        let kept = kept.filter(|kept| kept.manifest().machine == machine && kept.manifest().warm == WARM);
        let template = match kept {
            Some(kept) => kept,
            None => {
                eprintln!("booting a guest for agents, root on {}", machine.root.name());
                let made = Template::make(&self.host(method)?, &name, &machine, WARM)?;
                made.template.save(&self.out)?;
                made.template
            }
        };
        let template = Arc::new(template);
        loaded.insert(machine.root, Arc::clone(&template));
        Ok(template)
    }
}
