//! The browser's process.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::Error;
use super::super::ward::{Cell, Ward};
use super::cdp::Connection;
use super::launch::Running;

/// How long a browser may take to answer.
const START: Duration = Duration::from_secs(30);
/// Programs, the first that there is. The headless shell is the same engine without what windows need: of eight agents
/// with one page each it takes 57 MiB each instead of 80 in one browser, and 105 instead of 157 in browsers of their own.
const PROGRAMS: [&str; 4] = ["chromium-headless-shell", "chromium", "chromium-browser", "google-chrome"];
/// As root, there is no sandbox of its own: agents reach only the pages of their context, and the browser runs in the
/// cgroup of the ward. Most of the rest keeps it from looking for its maker's hosts. The features are parts of a window
/// that nobody sees, which would load pages of their own in each context (30 MB each), and a spare process.
/// Nobody looks at the window, whose contents are drawn all the same: a small one saves each agent another 10 MiB. What
/// a page shows, as text and in the document, does not depend on it; a picture of it does.
const FLAGS: [&str; 17] = [
    "--headless",
    "--window-size=320,240",
    "--no-sandbox",
    "--remote-debugging-pipe",
    "--no-startup-window",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-sync",
    "--disable-breakpad",
    "--disable-extensions",
    "--mute-audio",
    "--password-store=basic",
    "--disable-features=WebUIOmniboxPopup,WebUIOmniboxAimPopup,WebUIOmniboxFullPopup,SpareRendererForSitePerProcess",
];
/// The browser reads calls from descriptor 3 and writes answers to 4. A shell puts them there, from its own input and
/// output, and becomes the browser.
const SHELL: &str = r#"exec "$0" "$@" 3<&0 4>&1 </dev/null >/dev/null"#;
/// How much of what it printed is shown when it fails.
const SHOWN: usize = 1000;

/// Ends the browser when it is dropped: it is killed with all its processes, and its profile is removed.
#[derive(Debug)]
struct Hold {
    cell: Arc<Cell>,
    child: Child,
    profile: PathBuf,
}

/// The browser's program on this machine.
#[must_use]
pub fn program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin".into());
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    PROGRAMS.iter().find_map(|name| folders.iter().map(|folder| folder.join(name)).find(|one| one.is_file()))
}

/// The same where there has to be one.
pub(in crate::agents) fn installed() -> Result<PathBuf, Error> {
    program().ok_or_else(|| Error::Browser {
        program: "chromium".to_owned(),
        reason: "it is not installed: apt-get install chromium".to_owned(),
    })
}

/// What starts a guest's browser: the same with the same flags. Software emulation translates code once more that a
/// page's scripts were compiled to, so there they are interpreted: a shop assistant takes 25 s of processor time instead
/// of 37.
pub(in crate::agents) fn in_guest(emulated: bool) -> (Vec<String>, [(&'static str, &'static str); 5]) {
    let program = "/usr/lib/chromium/chromium-headless-shell";
    let profile = "--user-data-dir=/tmp/browser";
    let interpreted = emulated.then_some("--js-flags=--jitless");
    let line =
        [program].into_iter().chain(FLAGS).chain([profile]).chain(interpreted).map(str::to_owned).collect();
    (
        line,
        [("PATH", "/usr/bin:/bin"), ("HOME", "/tmp"), ("TMPDIR", "/tmp"), ("TZ", "UTC"), ("LANG", "C.UTF-8")],
    )
}

/// Starts one in `ward`, in this cgroup and with a profile of that name.
pub(super) fn start(program: &Path, ward: &Ward, cell: Arc<Cell>, name: &str) -> Result<Running, String> {
    let profile = ward.folder().join(name);
    // Its temporary files, too, go with the profile: it leaves some behind even when it ends by itself.
    let temporary = profile.join("tmp");
    std::fs::create_dir_all(&temporary).map_err(|error| format!("{}: {error}", temporary.display()))?;
    let printed = profile.join("printed");
    let log = File::create(&printed).map_err(|error| format!("{}: {error}", printed.display()))?;
    let mut command = Command::new("/bin/sh");
    command.arg("-c").arg(SHELL).arg(program).args(FLAGS);
    command.arg(format!("--user-data-dir={}", profile.display()));
    command
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("HOME", &profile)
        .env("TMPDIR", &temporary)
        .env("TZ", "UTC")
        .env("LANG", "C.UTF-8");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log).current_dir("/");
    cell.begin(&mut command).map_err(|error| error.to_string())?;
    let begun = Instant::now();
    let mut child = command.spawn().map_err(|error| format!("/bin/sh: {error}"))?;
    let pipes = child.stdin.take().zip(child.stdout.take());
    let hold = Hold { cell: Arc::clone(&cell), child, profile };
    // Both are there: they were asked for a few lines above.
    let (writer, reader) = pipes.ok_or("it has no pipes")?;
    let connection = Connection::new(reader, writer);
    let answered = connection.greet(begun + START);
    let (start, start_cpu) = (begun.elapsed(), cell.processor_time());
    match answered {
        Ok(()) => Ok(Running { _hold: Box::new(hold), connection, body: cell, start, start_cpu }),
        Err(fault) => {
            let text = std::fs::read_to_string(&printed).unwrap_or_default();
            let from = text.char_indices().rev().nth(SHOWN).map_or(0, |(at, _)| at);
            Err(format!("{fault:?} after {start:?}; it printed: {}", text[from..].trim()))
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.cell.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.profile);
    }
}
