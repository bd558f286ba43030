//! Progress on standard error: a bar on a terminal, a line every 30 seconds otherwise.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{IsTerminal, Write, stderr};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Time between two lines where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(30);

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// There was nothing to do.
    Cached,
    New,
    Failed,
}

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
    every: Duration,
}

#[derive(Default)]
struct State {
    done: usize,
    /// Of those done: they took no time, and say nothing about the time left.
    cached: usize,
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
            every: LINE_EVERY,
        });
        let shared = Arc::clone(&lines);
        let thread = std::thread::spawn(move || shared.print_until_over(&mut stderr()));
        Self { bar: None, lines: Some((lines, thread)) }
    }

    /// One more run has ended.
    pub fn ended(&self, how: Ended) {
        if let Some(bar) = &self.bar {
            bar.inc(1);
            if how == Ended::Failed {
                bar.set_message("(failures)");
            }
        }
        if let Some((lines, _)) = &self.lines {
            let mut state = lines.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.done += 1;
            state.cached += usize::from(how == Ended::Cached);
            state.failed += usize::from(how == Ended::Failed);
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
    fn print_until_over(&self, output: &mut impl Write) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let waited = self.woken.wait_timeout_while(state, self.every, |state| !state.over);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            if state.over {
                return;
            }
            // A closed standard error is no reason to stop the runs.
            let _ = writeln!(output, "{}", self.line(&state));
        }
    }

    fn line(&self, state: &State) -> String {
        let seconds = self.began.elapsed().as_secs();
        let left = match state.done.saturating_sub(state.cached) as u64 {
            0 => "unknown time".to_owned(),
            new => {
                format!("at most about {} s", seconds * self.total.saturating_sub(state.done) as u64 / new)
            }
        };
        let failed = if state.failed > 0 { format!(", {} failed", state.failed) } else { String::new() };
        let cached = match state.cached {
            0 => String::new(),
            n => format!(" ({n} in the store before)"),
        };
        let (title, done, total) = (&self.title, state.done, self.total);
        format!("{title}: {done}/{total} runs{cached}{failed}, {seconds} s so far, {left} left")
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
            every: LINE_EVERY,
        };
        let line = lines(ago(60)).line(&State { done: 10, failed: 1, ..State::default() });
        assert_eq!(line, "e04: 10/30 runs, 1 failed, 60 s so far, at most about 120 s left");
        let line = lines(ago(60)).line(&State { done: 20, cached: 15, ..State::default() });
        assert_eq!(line, "e04: 20/30 runs (15 in the store before), 60 s so far, at most about 120 s left");
        let line = lines(ago(5)).line(&State::default());
        assert_eq!(line, "e04: 0/30 runs, 5 s so far, unknown time left");
    }

    #[test]
    fn lines_come_until_it_is_over() {
        let lines = Lines {
            state: Mutex::default(),
            woken: Condvar::new(),
            title: "e04".into(),
            total: 3,
            began: Instant::now(),
            every: Duration::from_millis(5),
        };
        let mut output = Vec::new();
        std::thread::scope(|scope| {
            let printing = scope.spawn(|| lines.print_until_over(&mut output));
            std::thread::sleep(Duration::from_millis(100));
            lines.state.lock().unwrap().over = true;
            lines.woken.notify_all();
            printing.join().unwrap();
        });
        let text = String::from_utf8(output).unwrap();
        assert!(text.lines().count() >= 2, "{text}");
        assert!(text.lines().all(|line| line.starts_with("e04: 0/3 runs")), "{text}");
    }
}
