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
use crate::sandbox::{Manager, Origin, Program, Sandbox};
use crate::template;

/// A start to be made.
pub(super) struct Job {
    pub life: Life,
    pub function: FunctionId,
    /// The sandbox that it is to be in.
    pub place: Place,
}

/// Where a function is to be started.
pub(super) enum Place {
    /// In a new sandbox.
    New,
    /// In this used one.
    Used(Box<Sandbox>),
    /// In a used one that is gone, so in a new one: why.
    Gone(&'static str),
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
    /// It was to be a used one, which was not clean or does not work any more: why it is a new one.
    pub replaced: Option<String>,
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
            let Job { life, function, place } = job;
            let result =
                self.make(&self.functions[function.index()], place).map_err(|error| error.to_string());
            lock(&self.done).push(Done { life, result });
            let _ = rustix::io::write(&self.bell, &1_u64.to_ne_bytes());
        }
    }

    fn make(&self, function: &Startable, place: Place) -> Result<Made, template::Error> {
        let (used, gone) = match place {
            Place::New => (None, None),
            Place::Used(sandbox) => (Some(*sandbox), None),
            Place::Gone(why) => (None, Some(why.to_owned())),
        };
        let Startable { program, template } = function;
        let (sandbox, origin, attachment) = match template {
            Some(template) => template.start(&self.manager, used, program)?,
            None => {
                let (sandbox, origin) = self.manager.start_in(used, program, &[])?;
                (sandbox, origin, None)
            }
        };
        let replaced = match origin {
            Origin::NewAfterFailure(why) => Some(why),
            Origin::New | Origin::Repurposed => gone,
        };
        Ok(Made { sandbox, attachment, replaced, is_ready: template.is_some() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Fake;
    use crate::sandbox::{Config, Mode};

    fn shared(kernel: &Fake) -> Shared {
        let config = Config { ready: 0, ..Config::new(Mode::Repurpose) };
        Shared {
            manager: Arc::new(Manager::on(config, Box::new(kernel.clone()))),
            functions: Vec::new(),
            todo: Mutex::default(),
            more: Condvar::new(),
            done: Mutex::default(),
            bell: rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC).unwrap(),
        }
    }

    fn function() -> Startable {
        Startable { program: Program::new(["/bin/true"]), template: None }
    }

    /// The next order is answered by an error, as by an init that is gone.
    fn next_order_fails(kernel: &Fake) {
        let mut books = kernel.books();
        let next = books.calls.len();
        // Limits stay, the root is made first.
        books.fail_at = Some(next + 2);
    }

    #[test]
    fn an_idle_sandbox_whose_init_is_gone_costs_no_call() {
        let kernel = Fake::default();
        let shared = shared(&kernel);
        let idle = shared.manager.create_idle().unwrap();
        next_order_fails(&kernel);
        let made = shared.make(&function(), Place::Used(Box::new(idle))).unwrap();
        let why = made.replaced.as_deref().unwrap();
        assert!(why.contains("talk to its init"), "{why}");
        shared.manager.settle();
        let statistics = shared.manager.statistics();
        assert_eq!((statistics.created, statistics.repurposed, statistics.destroyed), (2, 0, 1));
    }

    #[test]
    fn what_fails_in_a_new_sandbox_too_is_an_error() {
        let kernel = Fake::default();
        let shared = shared(&kernel);
        kernel.books().fail_at = Some(0);
        assert!(shared.make(&function(), Place::New).is_err());
    }

    #[test]
    fn a_start_is_told_by_where_it_came_to_be() {
        let kernel = Fake::default();
        let shared = shared(&kernel);
        let idle = shared.manager.create_idle().unwrap();
        assert_eq!(shared.make(&function(), Place::Used(Box::new(idle))).unwrap().replaced, None);
        assert_eq!(shared.make(&function(), Place::New).unwrap().replaced, None);
        // One that was to be used and has died unheard of is no repurposed start.
        let made = shared.make(&function(), Place::Gone("it had died")).unwrap();
        assert_eq!(made.replaced.as_deref(), Some("it had died"));
    }
}
