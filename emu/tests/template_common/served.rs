//! A page server for attached templates: the product's own, in a process of its own.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use emu::pager::{Attachment, Client, Mode, Options};
use emu::sandbox::{Manager, Program};
use emu::template::{Attached, Backing, Error, Prepared, Served, Template};

/// What served processes need of a machine, beside what templates do.
pub const SERVED: &[&str] =
    &["userfaultfd", "userfaultfd-device", "userfaultfd-features", "userfaultfd-minor"];

/// A server that serves until it is dropped, with this manager's connection to it.
pub struct PageServer {
    pub client: Client,
    device: File,
    server: Child,
    socket: PathBuf,
}

impl PageServer {
    /// With pages from a source, as it is typed.
    pub fn start(folder: &Path, source: &str) -> Self {
        let socket = folder.join("pages.socket");
        let server = Command::new(env!("CARGO_BIN_EXE_trenvx-function"))
            .args(["serve-pages", socket.to_str().expect("a path"), source])
            .stdin(Stdio::null())
            .spawn()
            .expect("a page server");
        let end = Instant::now() + Duration::from_secs(20);
        let client = loop {
            match Client::connect(&socket) {
                Ok(client) => break client,
                Err(error) => assert!(Instant::now() < end, "{error}"),
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        let device = File::options().read(true).write(true).open("/dev/userfaultfd").expect("the device");
        Self { client, device, server, socket }
    }

    /// A process of a template in a new sandbox, so many pages at a fault.
    pub fn attach(
        &self,
        prepared: &Prepared,
        template: &Template,
        (manager, program): (&Manager, &Program),
        batch: usize,
    ) -> Result<(Attached, Attachment), Error> {
        self.attach_with(prepared, template, (manager, program), self.options(prepared, batch))
    }

    /// How a template's processes are served: so many pages at a fault, and nothing else.
    pub fn options(&self, prepared: &Prepared, batch: usize) -> Options {
        let mode = if prepared.backing() == Backing::FaultShared { Mode::Shared } else { Mode::Private };
        Options { batch, ..Options::new(mode) }
    }

    /// The same, served as these options say.
    pub fn attach_with(
        &self,
        prepared: &Prepared,
        template: &Template,
        (manager, program): (&Manager, &Program),
        options: Options,
    ) -> Result<(Attached, Attachment), Error> {
        let served =
            Served { client: &self.client, folder: template.folder(), options, device: self.device.as_fd() };
        prepared.start_served(manager, None, program, &served)
    }

    /// Kills it as `kill -9` does.
    pub fn kill(&mut self) {
        self.server.kill().expect("it can be killed");
        self.server.wait().expect("it is waited for");
    }
}

impl Drop for PageServer {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
        let _ = std::fs::remove_file(&self.socket);
    }
}
