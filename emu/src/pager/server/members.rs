//! How processes come to a thread and leave it.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Instant;

use rustix::event::epoll;

use super::attached::{Attached, Key};
use super::handler::Handler;
use super::mailbox::{Command, NewProcess, Told};
use crate::pager::messages::Answer;
use crate::pager::working_set::Recorder;

impl Handler {
    /// Commands of others: whether the thread is to end.
    pub(super) fn answer_bell(&mut self) -> bool {
        let _ = rustix::io::read(&self.mailbox.bell, &mut [0_u8; 8]);
        if self.mailbox.retry.swap(false, Ordering::Acquire) {
            self.progress = true;
        }
        let commands =
            std::mem::take(&mut *self.mailbox.commands.lock().unwrap_or_else(PoisonError::into_inner));
        for command in commands {
            match command {
                Command::Attach(new) => self.attach(*new),
                Command::Drop(peer) => self.drop_peer(peer),
                Command::Stop => {
                    let keys: Vec<Key> = self.slots.iter().map(|attached| attached.key).collect();
                    for key in keys {
                        self.kill_and_forget(key);
                    }
                    return true;
                }
            }
        }
        false
    }

    pub(super) fn attach(&mut self, new: NewProcess) {
        let key = self.slots.reserve();
        let pages = new.template.pages();
        let mut attached = Box::new(Attached {
            id: self.shared.next_id(),
            key,
            uffd: new.uffd,
            pidfd: Some(new.pidfd),
            peer: new.peer,
            recorder: new.options.record.then(|| Recorder::new(pages)),
            installed: Attached::nothing_installed(pages),
            template: new.template,
            layout: new.layout,
            options: new.options,
            ended: false,
        });
        let pidfd = attached.pidfd.as_ref().expect("given above");
        let entered =
            epoll::add(&self.epoll, pidfd, Told::Exit(key).data(), epoll::EventFlags::IN).and_then(|()| {
                let faults = Told::Faults(key).data();
                epoll::add(&self.epoll, &attached.uffd, faults, epoll::EventFlags::IN).inspect_err(|_| {
                    let _ = epoll::delete(&self.epoll, pidfd);
                })
            });
        if let Err(errno) = entered {
            let reason = format!("cannot wait for its faults: {errno}");
            attached.peer.tell(new.request, Answer::Refused { reason }, &[]);
            self.slots.give_up(key);
            return;
        }
        self.stats.counts.attached.add(1);
        let mut answers = Some(new.request);
        if !new.spans.is_empty() {
            self.start_job(key, new.spans, answers.take());
        }
        if attached.options.background {
            let all = attached.layout.ranges().collect();
            self.start_job(key, all, None);
        }
        if let Some(request) = answers {
            let told = Answer::Attached { attachment: attached.id, prefetched: 0 };
            if !attached.peer.tell(request, told, &[]) {
                attached.kill();
            }
        }
        self.slots.put(attached);
    }

    pub(super) fn exited(&mut self, key: Key) {
        if let Some(attached) = self.slots.take(key) {
            self.forget(*attached, true);
        }
    }

    /// Looks for forked children that are gone.
    pub(super) fn probe(&mut self) {
        self.probed = Instant::now();
        let children = self.slots.iter().filter(|attached| attached.pidfd.is_none());
        let gone: Vec<Key> = children.filter(|child| child.uffd.is_gone()).map(|child| child.key).collect();
        for key in gone {
            self.exited(key);
        }
    }

    pub(super) fn drop_peer(&mut self, peer: u64) {
        let of_peer = self.slots.iter().filter(|attached| attached.peer.number() == peer);
        let keys: Vec<Key> = of_peer.map(|attached| attached.key).collect();
        for key in keys {
            self.kill_and_forget(key);
        }
    }

    /// A process that nobody serves any more would read zeros: it is killed first.
    pub(super) fn kill_and_forget(&mut self, key: Key) {
        if let Some(mut attached) = self.slots.take(key) {
            attached.kill();
            self.forget(*attached, false);
        }
    }

    pub(super) fn forget(&mut self, mut attached: Attached, tell: bool) {
        // The descriptors have copies elsewhere, so that closing ours would not take them out.
        let _ = epoll::delete(&self.epoll, &attached.uffd);
        if let Some(pidfd) = &attached.pidfd {
            let _ = epoll::delete(&self.epoll, pidfd);
        }
        self.stats.counts.detached.add(1);
        if let Some(recorder) = attached.recorder.take().filter(|_| tell && !attached.ended) {
            self.shared.scribe(&attached.template, recorder.finish());
        }
        if tell && !attached.peer.tell(0, Answer::Exited { attachment: attached.id }, &[]) {
            self.stats.counts.notices_lost.add(1);
        }
        let (key, template) = (attached.key, attached.template.number);
        self.jobs.retain(|job| job.key != key);
        self.deferred.retain(|deferred| deferred.key != key);
        self.slots.give_up(key);
        drop(attached);
        self.tidy(template);
    }
}
