//! The manager's end of a function's channel, and of its log.
//!
//! A function writes one line of JSON when it is ready (`{"ready":true}`), and one per request. Lines are
//! bounded: a function that floods its output is told from one that answers.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, SealFlags, SeekFrom};
use rustix::io::Errno;

/// Longest line that is taken from a function, bytes.
pub const LONGEST_LINE: usize = 8 << 20;

/// Why no answer came.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The function closed its end or ended.
    #[error("the function ended without an answer")]
    Closed,
    /// The time limit was met.
    #[error("no answer within the time limit of {0:?}")]
    Late(Duration),
    /// It wrote without an end of line.
    #[error("the function wrote more than {LONGEST_LINE} bytes without an end of line: the output limit")]
    TooLong,
    /// The socket failed.
    #[error("cannot talk to the function: {0}")]
    Socket(#[from] io::Error),
}

/// One end of the stream whose other end is the function's descriptors 0 and 1.
#[derive(Debug)]
pub struct Channel {
    stream: UnixStream,
    pending: Vec<u8>,
    next_id: u64,
}

impl Channel {
    /// A channel and the function's end of it.
    pub(crate) fn new() -> io::Result<(Self, OwnedFd)> {
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        Ok((Self { stream: ours, pending: Vec::new(), next_id: 0 }, theirs.into()))
    }

    /// Waits for the next line, without its end.
    ///
    /// # Errors
    /// If none comes in time or can come.
    pub fn line(&mut self, within: Duration) -> Result<Vec<u8>, Failure> {
        let end = Instant::now() + within;
        let mut seen = 0;
        loop {
            if let Some(at) = self.pending[seen..].iter().position(|byte| *byte == b'\n') {
                let rest = self.pending.split_off(seen + at + 1);
                let mut line = std::mem::replace(&mut self.pending, rest);
                line.pop();
                return Ok(line);
            }
            seen = self.pending.len();
            if seen > LONGEST_LINE {
                return Err(Failure::TooLong);
            }
            let mut piece = [0; 16 << 10];
            // A plain read takes no descriptors that the function may have sent along: they are closed.
            match rustix::io::read(&self.stream, &mut piece) {
                Ok(0) => return Err(Failure::Closed),
                Ok(got) => self.pending.extend_from_slice(&piece[..got]),
                Err(Errno::AGAIN) => {
                    if !wait(&self.stream, PollFlags::IN, end)? {
                        return Err(Failure::Late(within));
                    }
                }
                Err(Errno::INTR) => {}
                Err(Errno::CONNRESET) => return Err(Failure::Closed),
                Err(errno) => return Err(Failure::Socket(errno.into())),
            }
            if Instant::now() > end {
                return Err(Failure::Late(within));
            }
        }
    }

    /// Sends a line.
    ///
    /// # Errors
    /// If the function does not take it in time.
    pub fn send(&mut self, line: &str, within: Duration) -> Result<(), Failure> {
        let end = Instant::now() + within;
        let bytes = [line.as_bytes(), b"\n"].concat();
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            match rustix::net::send(&self.stream, rest, rustix::net::SendFlags::NOSIGNAL) {
                Ok(sent) => rest = &rest[sent..],
                Err(Errno::AGAIN) => {
                    if !wait(&self.stream, PollFlags::OUT, end)? {
                        return Err(Failure::Late(within));
                    }
                }
                Err(Errno::INTR) => {}
                Err(Errno::PIPE | Errno::CONNRESET) => return Err(Failure::Closed),
                Err(errno) => return Err(Failure::Socket(errno.into())),
            }
        }
        Ok(())
    }

    /// One request: its input as JSON, and the line that answers it.
    ///
    /// # Errors
    /// If no answer with its number comes in time.
    pub fn request(
        &mut self,
        input: &serde_json::Value,
        within: Duration,
    ) -> Result<serde_json::Value, Failure> {
        self.next_id += 1;
        let id = self.next_id;
        let end = Instant::now() + within;
        self.send(&serde_json::json!({ "id": id, "input": input }).to_string(), within)?;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let line = self.line(left).map_err(|failure| match failure {
                Failure::Late(_) => Failure::Late(within),
                other => other,
            })?;
            // What is no answer is the function's own talk.
            if let Ok(answer) = serde_json::from_slice::<serde_json::Value>(&line)
                && answer["id"] == id
            {
                return Ok(answer);
            }
        }
    }
}

impl AsFd for Channel {
    /// Readable when the function has written or ended.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

fn wait(stream: &UnixStream, what: PollFlags, end: Instant) -> Result<bool, Failure> {
    let left = end.saturating_duration_since(Instant::now());
    let left = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
    match poll(&mut [PollFd::new(stream, what)], Some(&left)) {
        Ok(0) => Ok(false),
        Ok(_) | Err(Errno::INTR) => Ok(true),
        Err(errno) => Err(Failure::Socket(errno.into())),
    }
}

/// What a function wrote to descriptor 2: a file in memory that cannot grow beyond its size, so that nobody has to
/// read along and a flood ends in an error of the function's own.
#[derive(Debug)]
pub struct Log {
    file: File,
    room: u64,
}

impl Log {
    /// A log of this size and the function's descriptor of it, which shares its place of writing.
    pub(crate) fn new(room: u64) -> io::Result<(Self, OwnedFd)> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = rustix::fs::memfd_create("trenvx-log", flags)?;
        rustix::fs::ftruncate(&file, room)?;
        // The function is another user, and `/proc/self/fd/2` can be opened anew only by its mode.
        rustix::fs::fchmod(&file, rustix::fs::Mode::from(0o666))?;
        rustix::fs::fcntl_add_seals(&file, SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL)?;
        let theirs = file.try_clone()?;
        Ok((Self { file: file.into(), room }, theirs))
    }

    /// How much of it is written, bytes. A function that seeks makes this meaningless, to itself alone.
    #[must_use]
    pub fn written(&self) -> u64 {
        rustix::fs::seek(&self.file, SeekFrom::Current(0)).unwrap_or(0).min(self.room)
    }

    /// Whether there is no room any more.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.room - self.written() < 4096.min(self.room)
    }

    /// The last `most` bytes of what was written.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn tail(&self, most: usize) -> io::Result<Vec<u8>> {
        let written = self.written();
        let length = written.min(most as u64);
        let mut bytes = vec![0; length as usize];
        self.file.read_exact_at(&mut bytes, written - length)?;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn lines_come_one_by_one() {
        let (mut ours, theirs) = Channel::new().unwrap();
        let mut theirs = UnixStream::from(theirs);
        theirs.write_all(b"{\"ready\":true}\n{\"id\":1").unwrap();
        assert_eq!(ours.line(SECOND).unwrap(), b"{\"ready\":true}");
        assert!(matches!(ours.line(Duration::from_millis(5)), Err(Failure::Late(_))));
        theirs.write_all(b"}\n").unwrap();
        assert_eq!(ours.line(SECOND).unwrap(), b"{\"id\":1}");
        drop(theirs);
        assert!(matches!(ours.line(SECOND), Err(Failure::Closed)));
    }

    #[test]
    fn a_request_waits_for_its_own_answer() {
        let (mut ours, theirs) = Channel::new().unwrap();
        let mut theirs = UnixStream::from(theirs);
        theirs.write_all(b"hello\n{\"id\":7}\n{\"id\":1,\"ok\":true,\"output\":3}\n").unwrap();
        let answer = ours.request(&serde_json::json!(2), SECOND).unwrap();
        assert_eq!(answer["output"], 3);
        let mut asked = [0; 64];
        let got = theirs.read(&mut asked).unwrap();
        assert_eq!(&asked[..got], b"{\"id\":1,\"input\":2}\n");
    }

    #[test]
    fn a_log_is_bounded_and_keeps_its_end() {
        let (log, theirs) = Log::new(8192).unwrap();
        let mut theirs = File::from(theirs);
        theirs.write_all(b"one two").unwrap();
        assert_eq!(log.tail(3).unwrap(), b"two");
        assert!(!log.is_full());
        let mut written = 7;
        while let Ok(more) = theirs.write(&[b'x'; 1000]) {
            written += more;
        }
        assert!(written <= 8192 && log.is_full(), "{written}");
    }
}
