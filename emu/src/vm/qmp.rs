//! The VMM's own channel: commands, answers, and what it tells unasked.

use std::io::{self, Read, Write};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Error;
use crate::sandbox::wire::send;

/// How long the VMM may take over an answer. Commands that take longer answer at once and tell by events.
const PATIENCE: Duration = Duration::from_secs(30);

/// The machine's end.
#[derive(Debug)]
pub(super) struct Qmp {
    stream: UnixStream,
    pending: Vec<u8>,
    /// What it told unasked and nobody has asked about yet.
    events: Vec<Value>,
}

impl Qmp {
    /// A channel and the VMM's end of it.
    pub(super) fn new() -> io::Result<(Self, OwnedFd)> {
        let (ours, theirs) = UnixStream::pair()?;
        Ok((Self { stream: ours, pending: Vec::new(), events: Vec::new() }, theirs.into()))
    }

    /// Waits until the VMM is there.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] if it ended instead.
    pub(super) fn greet(&mut self) -> Result<(), Error> {
        let end = Instant::now() + PATIENCE;
        self.message(end).map_err(Error::at("wait for the VMM"))?;
        self.run("qmp_capabilities", json!({})).map(|_| ())
    }

    /// One command and its answer.
    ///
    /// # Errors
    /// The VMM's own words, or that it is gone.
    #[allow(clippy::needless_pass_by_value, reason = "calls read better with a literal")]
    pub(super) fn run(&mut self, command: &str, arguments: Value) -> Result<Value, Error> {
        let mut line = json!({ "execute": command, "arguments": arguments }).to_string();
        line.push('\n');
        let sent = self.stream.write_all(line.as_bytes());
        sent.map_err(Error::at(format!("ask the VMM to {command}")))?;
        self.answer(command)
    }

    /// Gives the VMM a descriptor, by a name.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub(super) fn give(&mut self, name: &str, descriptor: BorrowedFd<'_>) -> Result<(), Error> {
        let message = json!({ "execute": "getfd", "arguments": { "fdname": name } });
        send(&self.stream, &message, &[descriptor]).map_err(Error::at("give the VMM a descriptor"))?;
        self.answer("getfd").map(|_| ())
    }

    fn answer(&mut self, command: &str) -> Result<Value, Error> {
        let at = || Error::at(format!("ask the VMM to {command}"));
        let end = Instant::now() + PATIENCE;
        loop {
            let mut message = self.message(end).map_err(at())?;
            if message.get("event").is_some() {
                self.events.push(message);
            } else if let Some(error) = message.get("error") {
                let why = error["desc"].as_str().unwrap_or("no reason given").to_owned();
                return Err(Error::Vmm { command: command.to_owned(), why });
            } else if message.get("return").is_some() {
                return Ok(message["return"].take());
            }
        }
    }

    /// Waits until a migration has ended, well or not.
    pub(super) fn migrated(&mut self) -> Result<(), Error> {
        let end = Instant::now() + PATIENCE;
        loop {
            let state = self.run("query-migrate", json!({}))?;
            match state["status"].as_str() {
                Some("completed") => return Ok(()),
                Some("failed" | "cancelled") => {
                    let why = state["error-desc"].as_str().unwrap_or("no reason given").to_owned();
                    return Err(Error::Vmm { command: "migrate".to_owned(), why });
                }
                _ if Instant::now() > end => {
                    let source = io::Error::from(io::ErrorKind::TimedOut);
                    return Err(Error::at("wait for the state of the devices")(source));
                }
                _ => std::thread::sleep(Duration::from_micros(500)),
            }
        }
    }

    /// The next message.
    fn message(&mut self, end: Instant) -> io::Result<Value> {
        loop {
            if let Some(at) = self.pending.iter().position(|byte| *byte == b'\n') {
                let rest = self.pending.split_off(at + 1);
                let line = std::mem::replace(&mut self.pending, rest);
                return serde_json::from_slice(&line).map_err(io::Error::other);
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            self.stream.set_read_timeout(Some(left))?;
            let mut piece = [0; 4096];
            match self.stream.read(&mut piece) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(got) => self.pending.extend_from_slice(&piece[..got]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vmm(answers: &'static [&'static str]) -> Qmp {
        let (qmp, theirs) = Qmp::new().unwrap();
        let mut theirs = UnixStream::from(theirs);
        std::thread::spawn(move || {
            let mut sink = [0; 4096];
            for answer in answers {
                if !answer.contains("QMP") {
                    assert!(theirs.read(&mut sink).unwrap() > 0);
                }
                theirs.write_all(answer.as_bytes()).unwrap();
            }
        });
        qmp
    }

    #[test]
    fn answers_are_told_from_events() {
        let mut qmp = vmm(&[
            "{\"QMP\":{}}\r\n",
            "{\"return\":{}}\r\n",
            "{\"event\":\"STOP\"}\r\n{\"return\":{\"running\":false}}\r\n",
            "{\"error\":{\"class\":\"GenericError\",\"desc\":\"no such thing\"}}\r\n",
        ]);
        qmp.greet().unwrap();
        assert_eq!(qmp.run("query-status", json!({})).unwrap()["running"], false);
        assert_eq!(qmp.events[0]["event"], "STOP");
        let error = qmp.run("nonsense", json!({})).unwrap_err();
        assert_eq!(error.to_string(), "the VMM refused nonsense: no such thing");
        // And then it is gone.
        assert!(matches!(qmp.run("cont", json!({})), Err(Error::System { .. })));
    }

    #[test]
    fn a_state_that_does_not_fit_is_an_error_with_its_reason() {
        let mut qmp = vmm(&[
            "{\"return\":{\"status\":\"active\"}}\r\n",
            "{\"return\":{\"status\":\"failed\",\"error-desc\":\"unknown device\"}}\r\n",
        ]);
        let error = qmp.migrated().unwrap_err();
        assert!(error.to_string().contains("unknown device"), "{error}");
    }
}
