//! Progress on standard error: a bar on a terminal, a line every 30 seconds otherwise.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{IsTerminal, Write, stderr};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Time between two lines where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(30);

/// Shows how far a plan has come.
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    lines: Option<(Arc<Lines>, JoinHandle<()>)>,
}

struct Lines {
    state: Mutex<State>,
    woken: Condvar,
    title: String,
    total: usize,
    began: Instant,
}

#[derive(Default)]
struct State {
    done: usize,
    failed: usize,
    over: bool,
}

impl Progress {
    /// For `total` runs; silent if not `shown`.
    pub fn new(title: &str, total: usize, shown: bool) -> Self {
        if !shown {
            return Self { bar: None, lines: None };
        }
        if stderr().is_terminal() {
            let style = ProgressStyle::with_template(
                "{prefix} {wide_bar} {pos}/{len} runs, {elapsed}, {eta} left {msg}",
            );
            let bar = ProgressBar::with_draw_target(Some(total as u64), ProgressDrawTarget::stderr());
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.set_prefix(title.to_owned());
            bar.enable_steady_tick(Duration::from_millis(500));
            return Self { bar: Some(bar), lines: None };
        }
        let lines = Arc::new(Lines {
            state: Mutex::default(),
            woken: Condvar::new(),
            title: title.to_owned(),
            total,
            began: Instant::now(),
        });
        let shared = Arc::clone(&lines);
        let thread = std::thread::spawn(move || shared.print_until_over());
        Self { bar: None, lines: Some((lines, thread)) }
    }

    /// One more run has ended.
    pub fn ended(&self, failed: bool) {
        if let Some(bar) = &self.bar {
            bar.inc(1);
            if failed {
                bar.set_message("(failures)");
            }
        }
        if let Some((lines, _)) = &self.lines {
            let mut state = lines.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.done += 1;
            state.failed += usize::from(failed);
        }
    }

    /// Says something beside the progress.
    pub fn say(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.println(line),
            None if self.lines.is_some() => eprintln!("{line}"),
            None => {}
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        if let Some((lines, thread)) = self.lines.take() {
            lines.state.lock().unwrap_or_else(PoisonError::into_inner).over = true;
            lines.woken.notify_all();
            let _ = thread.join();
        }
    }
}

impl Lines {
    fn print_until_over(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let waited = self.woken.wait_timeout_while(state, LINE_EVERY, |state| !state.over);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            if state.over {
                return;
            }
            // A closed standard error is no reason to stop the runs.
            let _ = writeln!(stderr(), "{}", self.line(&state));
        }
    }

    fn line(&self, state: &State) -> String {
        let seconds = self.began.elapsed().as_secs();
        let left = match state.done {
            0 => "unknown time".to_owned(),
            done => format!("about {} s", seconds * (self.total - done.min(self.total)) as u64 / done as u64),
        };
        let failed = if state.failed > 0 { format!(", {} failed", state.failed) } else { String::new() };
        format!("{}: {}/{} runs{failed}, {seconds} s so far, {left} left", self.title, state.done, self.total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_far_it_is_and_how_long_it_will_take() {
        let ago =
            |seconds| Instant::now().checked_sub(Duration::from_secs(seconds)).unwrap_or_else(Instant::now);
        let lines = |began| Lines {
            state: Mutex::default(),
            woken: Condvar::new(),
            title: "e04".into(),
            total: 30,
            began,
        };
        let line = lines(ago(60)).line(&State { done: 10, failed: 1, over: false });
        assert_eq!(line, "e04: 10/30 runs, 1 failed, 60 s so far, about 120 s left");
        let line = lines(ago(5)).line(&State::default());
        assert_eq!(line, "e04: 0/30 runs, 5 s so far, unknown time left");
    }
}
