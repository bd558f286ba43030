//! Pages that are installed before anybody asks: before a process runs, and in idle moments.

use std::time::Instant;

use super::attached::{Job, Key};
use super::fill::{Filled, Why};
use super::handler::Handler;
use crate::pager::messages::Answer;
use crate::pager::source::MOST_PAGES;

impl Handler {
    pub(super) fn start_job(&mut self, key: Key, spans: Vec<(u64, u64)>, answers: Option<u64>) {
        self.next_job += 1;
        let chunk = if answers.is_some() { 64 } else { self.shared.config.idle_chunk };
        self.jobs.push(Job {
            number: self.next_job,
            key,
            spans: spans.into(),
            chunk,
            outstanding: 0,
            stuck_since: None,
            installed: 0,
            answers,
        });
    }

    /// One step of the first job; jobs that nobody waits for only when the turn was idle.
    pub(super) fn work(&mut self, idle: bool) {
        let wanted = |job: &Job| (job.answers.is_some() || idle) && job.can_step();
        let Some(place) = self.jobs.iter().position(wanted) else { return };
        let job = &mut self.jobs[place];
        let (number, key, chunk) = (job.number, job.key, job.chunk);
        let since = *job.stuck_since.get_or_insert_with(Instant::now);
        let front = job.spans.front().copied();
        let finished = front.is_none() && job.outstanding == 0;
        let Some(mut attached) = self.slots.take(key) else {
            self.jobs.remove(place);
            return;
        };
        if finished || attached.ended {
            let job = self.jobs.remove(place);
            if let Some(request) = job.answers {
                let told = Answer::Attached { attachment: attached.id, prefetched: job.installed };
                if !attached.peer.tell(request, told, &[]) {
                    attached.kill();
                }
            }
            self.slots.put(attached);
            return;
        }
        if let Some((address, pages)) = front {
            let most = (pages as usize).min(chunk);
            let filled = self.fill(&mut attached, address, most, Why::Job(number), since);
            let (step, new) = match filled {
                Filled::Done(done) | Filled::Pending(done) => (done, done as u64),
                Filled::Later | Filled::NoRoom => (0, 0),
                // Whoever needs the page will ask for it and hear the reason.
                Filled::Failed(_) => (1, 0),
                Filled::Gone => (pages as usize, 0),
            };
            self.stats.counts.prefetched_pages.add(new);
            let job = &mut self.jobs[place];
            job.installed += new;
            if step > 0 {
                job.stuck_since = None;
            }
            let (address, pages) = job.spans.front_mut().expect("looked at above");
            *address += (step * crate::template::pages::PAGE) as u64;
            *pages -= step as u64;
            if *pages == 0 {
                job.spans.pop_front();
            }
            if job.answers.is_none() {
                job.chunk = (job.chunk * 2).min(self.shared.config.idle_chunk * 64).min(MOST_PAGES);
            }
        }
        self.slots.put(attached);
        // The others take their turns.
        let job = self.jobs.remove(place);
        self.jobs.push(job);
    }
}
