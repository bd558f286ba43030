//! Processes that fault on purpose, and templates for them: what benches, soaks and tests attach.
//!
//! A [`Process`] is a forked child with an arena of memory. It makes its own userfaultfd, hands it over, and then
//! does [tasks](tasks::Task): touching pages and telling how long that took, or running a pseudo-random program of
//! reads, writes and changes of the memory map whose hash must be the same however its pages are served.

mod child;
pub mod program;
pub mod soak;
pub mod tasks;
mod templates;
pub mod visit;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::mm::{MapFlags, ProtFlags};

pub use child::{Child, fork};
pub use templates::{pages_of, random_pages, write_template};

use self::tasks::{Done, Task};
use super::client::{Attachment, Client, ClientError};
use super::layout::Region;
use super::memory::Mapping;
use super::messages::{Mode, Options};
use super::uffd::{Uffd, feature, track};
use crate::sandbox::wire;
use crate::template::pages::{PAGE, PAGES};

/// How long a task may take that somebody waits for.
const WITHIN: Duration = Duration::from_secs(20);

/// How the arena gets its pages.
#[derive(Clone, Debug)]
pub enum Arena {
    /// Copied in before the start: what every other way is compared with.
    Plain(PathBuf),
    /// Anonymous, served by copies.
    Private,
    /// The shared cache, mapped.
    Shared(std::sync::Arc<OwnedFd>),
}

/// A forked child with an arena.
#[derive(Debug)]
pub struct Process {
    /// The process.
    pub child: Child,
    channel: OwnedFd,
    uffd: Option<OwnedFd>,
    address: u64,
    pages: usize,
    parts: usize,
}

impl Process {
    /// Starts a process whose arena is to show `pages` pages of a template, in `parts` equal regions in reverse
    /// order. It waits for tasks.
    ///
    /// # Errors
    /// If it cannot be started, or has no userfaultfd.
    pub fn start(arena: &Arena, pages: usize, parts: usize) -> io::Result<Self> {
        assert!(pages.is_multiple_of(parts), "parts are equal");
        let (ours, theirs) = wire::pair()?;
        let mut keep = vec![theirs.as_fd()];
        let file = if let Arena::Shared(file) = arena { Some(std::sync::Arc::clone(file)) } else { None };
        keep.extend(file.as_ref().map(|file| file.as_fd()));
        let mut child = fork(&keep, |mut kept| {
            let channel = kept.remove(0);
            live(&channel, arena, kept.pop(), pages, parts).map_err(|error| error.to_string())
        })?;
        drop(theirs);
        let Some((address, mut fds)) = wire::receive::<u64>(&ours)? else {
            return Err(io::Error::other(format!("the process has ended: {:?}", child.wait())));
        };
        Ok(Self { child, channel: ours, uffd: fds.pop(), address, pages, parts })
    }

    /// Starts a process and has it served.
    ///
    /// # Errors
    /// If it cannot be started, or the server refuses.
    pub fn attached(
        client: &Client,
        template: &Path,
        pages: usize,
        parts: usize,
        options: Options,
    ) -> Result<(Self, Attachment), ClientError> {
        let arena = match options.mode {
            Mode::Private => Arena::Private,
            Mode::Shared => Arena::Shared(std::sync::Arc::new(client.cache(template)?.0)),
        };
        let mut process = Self::start(&arena, pages, parts)?;
        let attachment = process.attach(client, template, options)?;
        Ok((process, attachment))
    }

    /// Has the process served.
    ///
    /// # Errors
    /// If the server refuses.
    pub fn attach(
        &mut self,
        client: &Client,
        template: &Path,
        options: Options,
    ) -> Result<Attachment, ClientError> {
        let uffd = self.uffd.take().ok_or_else(|| io::Error::other("it has been attached before"))?;
        client.attach(uffd, self.child.pidfd(), template, &self.regions(), options)
    }

    /// Its userfaultfd, to be served by somebody else.
    ///
    /// # Panics
    /// If it has been taken before.
    pub fn take_uffd(&mut self) -> Uffd {
        Uffd::from_fd(self.uffd.take().expect("taken once"))
    }

    /// Its regions.
    #[must_use]
    pub fn regions(&self) -> Vec<Region> {
        let length = (self.pages / self.parts * PAGE) as u64;
        let region = |part: usize| Region {
            address: self.address + part as u64 * length,
            length,
            first_page: template_page(part * (self.pages / self.parts), self.pages, self.parts) as u64,
        };
        (0..self.parts).map(region).collect()
    }

    /// Gives it a task, without waiting.
    ///
    /// # Errors
    /// If it has ended.
    pub fn begin(&self, task: &Task) -> io::Result<()> {
        wire::send(&self.channel, task, &[])
    }

    /// Waits for the end of a task; `None` if the process ends first.
    ///
    /// # Errors
    /// If it says something else, or nothing in time.
    pub fn finish(&self, within: Duration) -> io::Result<Option<Done>> {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let mut entries = [PollFd::new(&self.channel, PollFlags::IN)];
        let limit =
            Timespec { tv_sec: within.as_secs() as i64, tv_nsec: i64::from(within.subsec_nanos()) as _ };
        if rustix::io::retry_on_intr(|| poll(&mut entries, Some(&limit)))? == 0 {
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(wire::receive::<Done>(&self.channel)?.map(|(done, _)| done))
    }

    /// Gives it a task and waits.
    ///
    /// # Errors
    /// If it ends or does not finish within 20 seconds.
    pub fn run(&self, task: &Task) -> io::Result<Done> {
        self.begin(task)?;
        self.finish(WITHIN)?.ok_or_else(|| io::Error::other("the process has ended during its task"))
    }
}

/// The page of the template that page `page` of an arena shows.
#[must_use]
pub fn template_page(page: usize, pages: usize, parts: usize) -> usize {
    let size = pages / parts;
    (parts - 1 - page / size) * size + page % size
}

/// What the child does: makes the arena, hands it over, and does tasks until nobody gives any.
fn live(
    channel: &OwnedFd,
    arena: &Arena,
    file: Option<OwnedFd>,
    pages: usize,
    parts: usize,
) -> io::Result<()> {
    let (size, length) = (pages / parts * PAGE, pages * PAGE);
    let mut memory = Mapping::anonymous(length)?;
    let mut uffd = None;
    match arena {
        Arena::Plain(template) => {
            let source = std::fs::File::open(template.join(PAGES))?;
            for page in 0..pages {
                let offset = template_page(page, pages, parts) * PAGE;
                let into = &mut memory.bytes_mut()[page * PAGE..][..PAGE];
                std::os::unix::fs::FileExt::read_exact_at(&source, into, offset as u64)?;
            }
        }
        Arena::Private => {
            let made = Uffd::open(feature::SERVED)?;
            made.register(memory.address(), memory.length(), track::MISSING)?;
            uffd = Some(made);
        }
        Arena::Shared(_) => {
            let made = Uffd::open(feature::SERVED)?;
            let file = file.ok_or_else(|| io::Error::other("a shared arena without its file"))?;
            for part in 0..parts {
                let offset = (template_page(part * (pages / parts), pages, parts) * PAGE) as u64;
                let address = memory.address() + (part * size) as u64;
                // SAFETY: within the arena, which nobody uses yet.
                unsafe {
                    rustix::mm::mmap(
                        address as *mut _,
                        size,
                        ProtFlags::READ | ProtFlags::WRITE,
                        MapFlags::PRIVATE | MapFlags::FIXED,
                        &file,
                        offset,
                    )
                }?;
                made.register(address, size as u64, track::MISSING | track::MINOR)?;
            }
            uffd = Some(made);
        }
    }
    // Its ranges are unmapped, moved and replaced from here on: it belongs to the process, not to a variable.
    let address = memory.leak();
    let fds: Vec<_> = uffd.as_ref().map(AsFd::as_fd).into_iter().collect();
    wire::send(channel, &(address as u64), &fds)?;
    drop(uffd);
    let region = tasks::Region { address, pages };
    while let Some((task, _)) = wire::receive::<Task>(channel)? {
        wire::send(channel, &tasks::run(&region, &task), &[])?;
    }
    Ok(())
}
