//! The counts as OpenMetrics text, to a file or to who asks at a socket.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::stats::{Report, Times, bucket_end_ns};

/// How often the file is written.
const EVERY: Duration = Duration::from_secs(1);
/// How often the thread looks whether it is to end.
const TICK: Duration = Duration::from_millis(50);

/// The counts as OpenMetrics text.
#[must_use]
pub fn text(report: &Report) -> String {
    let mut text = String::new();
    for (name, meaning, value) in report.counts.list() {
        family(&mut text, name, "counter", meaning);
        let _ = writeln!(text, "trenvx_pager_{name}_total {value}");
    }
    family(&mut text, "attachments", "gauge", "Processes that are attached now.");
    let _ = writeln!(text, "trenvx_pager_attachments {}", report.attachments);
    family(&mut text, "cache_bytes", "gauge", "Bytes that the shared caches hold now.");
    let _ = writeln!(text, "trenvx_pager_cache_bytes {}", report.cache_pages * 4096);
    family(&mut text, "fault_seconds", "histogram", "From reading a fault to having its page in place.");
    histogram(&mut text, "fault_seconds", "", &report.faults);
    let counts: Vec<_> = report.sources.iter().map(|source| source.counts.list()).collect();
    for at in 0..super::stats::SourceSums::default().list().len() {
        let (name, meaning, _) = super::stats::SourceSums::default().list()[at];
        family(&mut text, &format!("source_{name}"), "counter", meaning);
        for (source, counts) in report.sources.iter().zip(&counts) {
            let labels = labels(&source.template, &source.source);
            let _ = writeln!(text, "trenvx_pager_source_{name}_total{{{labels}}} {}", counts[at].2);
        }
    }
    family(&mut text, "source_read_seconds", "histogram", "From asking a source to having the pages.");
    for source in &report.sources {
        histogram(&mut text, "source_read_seconds", &labels(&source.template, &source.source), &source.read);
    }
    text.push_str("# EOF\n");
    text
}

fn family(text: &mut String, name: &str, kind: &str, meaning: &str) {
    let _ = writeln!(text, "# TYPE trenvx_pager_{name} {kind}");
    let _ = writeln!(text, "# HELP trenvx_pager_{name} {meaning}");
}

fn labels(template: &str, source: &str) -> String {
    let escaped = |value: &str| value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!("template=\"{}\",source=\"{}\"", escaped(template), escaped(source))
}

fn histogram(text: &mut String, name: &str, labels: &str, times: &Times) {
    let comma = if labels.is_empty() { "" } else { "," };
    let mut sum = 0;
    for (bucket, count) in times.buckets.iter().enumerate() {
        sum += count;
        // Every second bucket, from half a microsecond to a second: the range that says something.
        if bucket % 2 == 1 && (17..60).contains(&bucket) {
            let end = bucket_end_ns(bucket) as f64 / 1e9;
            let _ = writeln!(text, "trenvx_pager_{name}_bucket{{{labels}{comma}le=\"{end:e}\"}} {sum}");
        }
    }
    let _ = writeln!(text, "trenvx_pager_{name}_bucket{{{labels}{comma}le=\"+Inf\"}} {sum}");
    let braces = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
    let _ = writeln!(text, "trenvx_pager_{name}_count{braces} {sum}");
    let _ = writeln!(text, "trenvx_pager_{name}_sum{braces} {}", times.sum_ns as f64 / 1e9);
}

/// Where the text goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A file that is replaced every second.
    File(PathBuf),
    /// A unix socket that gives the text to everybody who connects.
    Socket(PathBuf),
}

/// A thread that tells the counts. Ends when dropped; a file stays as it was written last.
#[derive(Debug)]
pub struct Teller {
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    socket: Option<PathBuf>,
}

impl Teller {
    /// Tells what `report` counts.
    ///
    /// # Errors
    /// If the file or socket cannot be had.
    pub fn start(target: Target, report: impl Fn() -> Report + Send + 'static) -> io::Result<Self> {
        let ends = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&ends);
        let thread = std::thread::Builder::new().name("pager metrics".into());
        let (thread, socket) = match target {
            Target::File(path) => {
                replace(&path, &text(&report()))?;
                let thread = thread.spawn(move || {
                    let mut ticks = 0;
                    while !ended.load(Ordering::Relaxed) {
                        std::thread::sleep(TICK);
                        ticks += 1;
                        if ticks * TICK >= EVERY {
                            ticks = 0;
                            // A full disk does not stop the server; the file is then old, and says so by its age.
                            let _ = replace(&path, &text(&report()));
                        }
                    }
                    let _ = replace(&path, &text(&report()));
                })?;
                (thread, None)
            }
            Target::Socket(path) => {
                let _ = std::fs::remove_file(&path);
                let listener = UnixListener::bind(&path)?;
                listener.set_nonblocking(true)?;
                let thread = thread.spawn(move || {
                    while !ended.load(Ordering::Relaxed) {
                        match listener.accept() {
                            Ok((mut stream, _)) => {
                                let _ = stream.set_write_timeout(Some(EVERY));
                                let _ = stream.write_all(text(&report()).as_bytes());
                            }
                            Err(_) => std::thread::sleep(TICK),
                        }
                    }
                })?;
                (thread, Some(path))
            }
        };
        Ok(Self { ends, thread: Some(thread), socket })
    }
}

impl Drop for Teller {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        if let Some(path) = &self.socket {
            let _ = std::fs::remove_file(path);
        }
    }
}

fn replace(path: &Path, text: &str) -> io::Result<()> {
    let beside = path.with_extension(format!("{}.tmp", std::process::id()));
    std::fs::write(&beside, text)?;
    std::fs::rename(&beside, path).inspect_err(|_| drop(std::fs::remove_file(&beside)))
}
