//! The protocol that functions speak: one line of JSON per message.
//!
//! ```text
//! function: {"ready":true,"function":NAME,"pid":PID,"threads":THREADS}      once, when it is initialised
//! client:   {"id":N,"input":{...}}
//! function: {"id":N,"ok":true,"output":{...},"us":SERVICE_US}  or  {"id":N,"ok":false,"error":"..."}
//! ```
//!
//! A bad request is answered, too; the end of the client's stream ends the function with status 0.

use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use serde::Deserialize;
use serde_json::Value;

/// The longest message that is accepted; answers describe results and are small.
const LINE_LIMIT: usize = 16 << 20;

/// The client's end of a function's socket, or whatever else reads and writes through one descriptor.
#[derive(Debug)]
pub struct Client<S> {
    stream: S,
    /// Bytes that came and were not asked for yet.
    pending: Vec<u8>,
    next: u64,
}

/// What a function says once it is initialised.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Ready {
    /// Its name.
    pub function: String,
    /// Its process, as it sees it.
    pub pid: u32,
    /// Its threads at this moment.
    pub threads: u32,
}

/// The answer to a request that was done.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// What the function returned.
    pub output: Value,
    /// What the handler took, by the function's own clock.
    pub service: Duration,
}

/// Why there is no reply.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The deadline came first. The function may still be at work: do not use the client again.
    #[error("no {awaited} within {:.1} s", .after.as_secs_f64())]
    Timeout {
        /// What was waited for.
        awaited: &'static str,
        /// How long.
        after: Duration,
    },
    /// The function closed its end.
    #[error("the function ended while its {0} was awaited")]
    Ended(&'static str),
    /// What came is not of the protocol.
    #[error("not a {awaited}: {line:?}")]
    Garbled {
        /// What was expected.
        awaited: &'static str,
        /// What came, perhaps cut.
        line: String,
    },
    /// The function says that the request failed.
    #[error("the function answered with an error: {0}")]
    Refused(String),
    /// The descriptor failed.
    #[error("the function's socket: {0}")]
    Io(#[from] io::Error),
}

#[derive(Deserialize)]
struct Answer {
    id: Option<u64>,
    ok: bool,
    #[serde(default)]
    output: Value,
    #[serde(default)]
    us: u64,
    #[serde(default)]
    error: String,
}

impl<S: Read + Write + AsFd> Client<S> {
    /// Takes over the client's end. It is made non-blocking, which the other end does not notice.
    pub fn new(stream: S) -> Result<Self, ClientError> {
        let flags = rustix::fs::fcntl_getfl(&stream).map_err(io::Error::from)?;
        rustix::fs::fcntl_setfl(&stream, flags | rustix::fs::OFlags::NONBLOCK).map_err(io::Error::from)?;
        Ok(Self { stream, pending: Vec::new(), next: 1 })
    }

    /// Waits until the function is initialised.
    pub fn ready(&mut self, timeout: Duration) -> Result<Ready, ClientError> {
        let line = self.line("ready message", timeout)?;
        serde_json::from_slice(&line).map_err(|_| garbled("ready message", &line))
    }

    /// Sends one input and waits for its answer.
    pub fn call(&mut self, input: &Value, timeout: Duration) -> Result<Reply, ClientError> {
        let end = Instant::now() + timeout;
        let sent = self.send(input, timeout)?;
        let (id, reply) = self.receive(end.saturating_duration_since(Instant::now()))?;
        if id == Some(sent) {
            return reply.map_err(ClientError::Refused);
        }
        Err(ClientError::Garbled { awaited: "answer", line: format!("answer {id:?} to request {sent}") })
    }

    /// Sends one input without waiting; returns the number that its answer will have. For functions with worker
    /// threads, which answer in any order.
    pub fn send(&mut self, input: &Value, timeout: Duration) -> Result<u64, ClientError> {
        let id = self.next;
        self.next += 1;
        let mut message = serde_json::json!({"id": id, "input": input}).to_string().into_bytes();
        message.push(b'\n');
        self.write(&message, timeout)?;
        Ok(id)
    }

    /// The next answer, whichever request it belongs to: its number and the reply or the function's error.
    pub fn receive(
        &mut self,
        timeout: Duration,
    ) -> Result<(Option<u64>, Result<Reply, String>), ClientError> {
        let line = self.line("answer", timeout)?;
        let answer: Answer = serde_json::from_slice(&line).map_err(|_| garbled("answer", &line))?;
        let reply = Reply { output: answer.output, service: Duration::from_micros(answer.us) };
        Ok((answer.id, if answer.ok { Ok(reply) } else { Err(answer.error) }))
    }

    /// Sends bytes as they are; for tests of what a function does with bad requests.
    pub fn write(&mut self, mut bytes: &[u8], timeout: Duration) -> Result<(), ClientError> {
        let end = Instant::now() + timeout;
        while !bytes.is_empty() {
            match self.stream.write(bytes) {
                Ok(0) => return Err(ClientError::Ended("reading")),
                Ok(count) => bytes = &bytes[count..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.wait(PollFlags::OUT, end, "room for a request", timeout)?;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                    return Err(ClientError::Ended("reading"));
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// The next line, without its end.
    fn line(&mut self, awaited: &'static str, timeout: Duration) -> Result<Vec<u8>, ClientError> {
        let end = Instant::now() + timeout;
        let mut searched = 0;
        loop {
            if let Some(at) = self.pending[searched..].iter().position(|&byte| byte == b'\n') {
                let mut line: Vec<u8> = self.pending.drain(..=searched + at).collect();
                line.pop();
                return Ok(line);
            }
            searched = self.pending.len();
            if searched > LINE_LIMIT {
                return Err(garbled(awaited, &self.pending));
            }
            let mut piece = [0; 1 << 14];
            match self.stream.read(&mut piece) {
                Ok(0) => return Err(ClientError::Ended(awaited)),
                Ok(count) => self.pending.extend_from_slice(&piece[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.wait(PollFlags::IN, end, awaited, timeout)?;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // A socket whose other end was closed with unread bytes in it.
                Err(error) if error.kind() == ErrorKind::ConnectionReset => {
                    return Err(ClientError::Ended(awaited));
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn wait(
        &self,
        event: PollFlags,
        end: Instant,
        awaited: &'static str,
        after: Duration,
    ) -> Result<(), ClientError> {
        let left = end.saturating_duration_since(Instant::now());
        let left = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
        let mut fds = [PollFd::new(&self.stream, event)];
        match rustix::event::poll(&mut fds, Some(&left)) {
            Ok(0) => Err(ClientError::Timeout { awaited, after }),
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(errno) => Err(ClientError::Io(errno.into())),
        }
    }
}

fn garbled(awaited: &'static str, line: &[u8]) -> ClientError {
    let shown = String::from_utf8_lossy(&line[..line.len().min(200)]).into_owned();
    ClientError::Garbled { awaited, line: shown }
}
