//! Threads that make and end sandboxes, so that the event loop does not have to.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use traces::FunctionId;

use super::executor::Life;
use super::templates::Attachable;
use crate::pager::Attachment;
use crate::sandbox::{Error, Manager, Program, Sandbox};
use crate::template;

/// A start to be made.
pub(super) struct Job {
    pub life: Life,
    pub function: FunctionId,
    /// The sandbox to be repurposed; `None`: a new one.
    pub used: Option<Sandbox>,
}

/// A start that was made, or why not.
pub(super) struct Done {
    pub life: Life,
    pub result: Result<Made, String>,
}

/// A sandbox whose function process runs.
pub(super) struct Made {
    pub sandbox: Sandbox,
    /// What tells why its process ended, if its pages are served.
    pub attachment: Option<Attachment>,
    /// It was to be a used one, which was not clean.
    pub replaced: bool,
    /// It came from a template: it waits for its request and does not say so.
    pub is_ready: bool,
}

/// How a function is started.
pub(super) struct Startable {
    pub program: Program,
    /// Its template; `None`: it boots.
    pub template: Option<Attachable>,
}

/// The threads, and what they have to do and have done.
pub(super) struct Workers {
    shared: Arc<Shared>,
    ends: Option<Sender<Sandbox>>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    manager: Arc<Manager>,
    functions: Vec<Startable>,
    todo: Mutex<Todo>,
    more: Condvar,
    done: Mutex<Vec<Done>>,
    /// Becomes readable when something is done.
    bell: OwnedFd,
}

#[derive(Default)]
struct Todo {
    jobs: VecDeque<Job>,
    closing: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Workers {
    /// So many threads that make starts, and one that ends sandboxes.
    pub fn start(
        manager: Arc<Manager>,
        functions: Vec<Startable>,
        threads: usize,
        bell: OwnedFd,
    ) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            manager,
            functions,
            todo: Mutex::default(),
            more: Condvar::new(),
            done: Mutex::default(),
            bell,
        });
        let (ends, ended) = channel::<Sandbox>();
        let mut workers = Self { shared: Arc::clone(&shared), ends: Some(ends), threads: Vec::new() };
        for nth in 0..threads {
            let shared = Arc::clone(&shared);
            let thread = std::thread::Builder::new().name(format!("start-{nth}"));
            workers.threads.push(thread.spawn(move || shared.work())?);
        }
        let thread = std::thread::Builder::new().name("end".to_owned());
        workers.threads.push(thread.spawn(move || {
            while let Ok(sandbox) = ended.recv() {
                shared.manager.destroy(sandbox);
            }
        })?);
        Ok(workers)
    }

    pub fn make(&self, job: Job) {
        lock(&self.shared.todo).jobs.push_back(job);
        self.shared.more.notify_one();
    }

    pub fn end(&self, sandbox: Sandbox) {
        // The thread ends only after this sender.
        if let Some(ends) = &self.ends {
            let _ = ends.send(sandbox);
        }
    }

    /// What is done since the last call; silences the bell.
    pub fn take_done(&self) -> Vec<Done> {
        let _ = rustix::io::read(&self.shared.bell, &mut [0; 8]);
        std::mem::take(&mut *lock(&self.shared.done))
    }

    pub fn bell(&self) -> BorrowedFd<'_> {
        self.shared.bell.as_fd()
    }

    /// Ends the threads once they have done what they are at. Starts that nobody has begun are forgotten.
    pub fn close(mut self) {
        {
            let mut todo = lock(&self.shared.todo);
            todo.closing = true;
            todo.jobs.clear();
        }
        self.shared.more.notify_all();
        self.ends = None;
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
        lock(&self.shared.done).clear();
    }
}

impl Shared {
    fn work(&self) {
        loop {
            let mut todo = lock(&self.todo);
            let job = loop {
                if todo.closing {
                    return;
                }
                if let Some(job) = todo.jobs.pop_front() {
                    break job;
                }
                todo = self.more.wait(todo).unwrap_or_else(PoisonError::into_inner);
            };
            drop(todo);
            let Job { life, function, used } = job;
            let result =
                self.make(&self.functions[function.index()], used).map_err(|error| error.to_string());
            lock(&self.done).push(Done { life, result });
            let _ = rustix::io::write(&self.bell, &1_u64.to_ne_bytes());
        }
    }

    fn make(&self, function: &Startable, used: Option<Sandbox>) -> Result<Made, template::Error> {
        let is_ready = function.template.is_some();
        let was_used = used.is_some();
        match self.begin(function, used) {
            Ok((sandbox, attachment)) => Ok(Made { sandbox, attachment, replaced: false, is_ready }),
            Err(template::Error::Sandbox(Error::Unclean { .. })) if was_used => {
                let (sandbox, attachment) = self.begin(function, None)?;
                Ok(Made { sandbox, attachment, replaced: true, is_ready })
            }
            Err(error) => Err(error),
        }
    }

    fn begin(
        &self,
        function: &Startable,
        used: Option<Sandbox>,
    ) -> Result<(Sandbox, Option<Attachment>), template::Error> {
        let Startable { program, template } = function;
        match (template, used) {
            (Some(template), used) => template.start(&self.manager, used, program),
            (None, Some(used)) => Ok((self.manager.repurpose(used, program)?, None)),
            (None, None) => Ok((self.manager.create(program)?, None)),
        }
    }
}
