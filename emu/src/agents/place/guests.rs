//! What agents in microVMs are started from: an image, and a template of each root device.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::Error;
use crate::agents::browser;
use crate::vm::{Accelerator, Host, Image, Machine, Method, RootDevice, Template};

/// Memory of an agent's guest, MiB. Agents here need a tenth of it; what they do not touch costs nothing.
const MEMORY_MIB: u32 = 512;
/// Memory of a guest with a browser, for eight agents' pages, MiB.
const BROWSER_MIB: u32 = 1024;
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
    /// The image with a browser, where it is not that of the folder of all outputs.
    browser: Option<Image>,
    /// What else is run before a template is taken.
    also: String,
    loaded: Mutex<BTreeMap<(RootDevice, bool), Arc<Template>>>,
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
        let out = out.to_owned();
        Self {
            out,
            image,
            accelerator,
            launcher,
            browser: None,
            also: String::new(),
            loaded: Mutex::default(),
        }
    }

    /// With this image where a browser is needed.
    #[must_use]
    pub fn with_browser(self, image: Image) -> Self {
        Self { browser: Some(image), ..self }
    }

    /// With templates that run this Python, too, before they are taken: as the guest's process 1.
    #[must_use]
    pub fn that_run(self, code: &str) -> Self {
        Self { also: code.to_owned(), ..self }
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

    /// The template for this method, with a browser that is warm or without; booted if there is none that fits.
    pub(super) fn template(&self, method: Method, browser: bool) -> Result<Arc<Template>, Error> {
        // Held while one boots: others wait for it instead of booting, too.
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let root = method.root();
        if let Some(known) = loaded.get(&(root, browser)) {
            return Ok(Arc::clone(known));
        }
        let (image, memory_mib, sort) = match (browser, &self.browser) {
            (false, _) => (self.image.clone(), MEMORY_MIB, ""),
            (true, Some(image)) => (image.clone(), BROWSER_MIB, "-browser"),
            (true, None) => (Image::with_browser(&self.out)?, BROWSER_MIB, "-browser"),
        };
        let name = format!("agents{sort}-{}", root.name());
        let machine = Machine { browser, ..Machine::new(memory_mib, root) };
        let warm = if browser { self.warm_browser() } else { WARM.to_owned() };
        let warm = [warm.as_str(), self.also.as_str()].join("\n").trim_end().to_owned();
        let kept = Template::load(&self.out, &name, &image, &self.accelerator).ok();
        let kept = kept.filter(|kept| kept.manifest().machine == machine && kept.manifest().warm == warm);
        let template = match kept {
            Some(kept) => kept,
            None => {
                let what = if browser { "agents with a browser" } else { "agents" };
                eprintln!("booting a guest for {what}, root on {}", root.name());
                let host = Host::start(method, &image, self.accelerator.clone(), self.launcher.clone())?;
                let made = Template::make(&host, &name, &machine, &warm)?;
                // It serves this run whether it can be kept for others or not.
                if let Err(error) = made.template.save(&self.out) {
                    eprintln!("note: that guest's template is of this run alone: {error}");
                }
                made.template
            }
        };
        let template = Arc::new(template);
        loaded.insert((root, browser), Arc::clone(&template));
        Ok(template)
    }

    /// Agents' imports, and a browser that has shown a page. JSON's texts, lists and maps of texts are Python's.
    fn warm_browser(&self) -> String {
        let (line, environment) = browser::in_guest(self.accelerator.is_emulated());
        let environment: BTreeMap<_, _> = environment.into_iter().collect();
        let (line, environment) = (serde_json::json!(line), serde_json::json!(environment));
        format!("{WARM}\nimport __main__\n__main__.browser({line}, {environment})")
    }
}
