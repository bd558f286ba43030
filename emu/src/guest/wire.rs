//! What host and agent say to each other through the guest's serial port: frames of a kind, a number of the
//! command that they are about, and bytes.

use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize};

/// Longest contents of a frame, bytes. Output of commands comes in pieces of at most this.
pub const LONGEST: usize = 64 << 10;

/// What a frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Agent: here I am; contents: [`Ready`].
    Ready,
    /// Host: start this; contents: [`Start`].
    Start,
    /// Host: send this signal to the command and all that it started; contents: the number.
    Signal,
    /// Host: switch the machine off.
    Off,
    /// Agent: standard output.
    Output,
    /// Agent: standard error.
    Errors,
    /// Agent: the command ended; contents: [`End`]. The last frame of a command.
    End,
}

impl Kind {
    const ALL: [Self; 7] =
        [Self::Ready, Self::Start, Self::Signal, Self::Off, Self::Output, Self::Errors, Self::End];
}

/// A guest that is ready.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ready {
    /// Release of its kernel.
    pub kernel: String,
    /// Seconds since it was switched on.
    pub up_s: f64,
}

/// A command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// Program and arguments. The program `trenvx` is the agent.
    pub words: Vec<String>,
    /// Added to the environment.
    pub env: Vec<(String, String)>,
    /// Folder to start in.
    pub folder: String,
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum End {
    /// With this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// It could not be started.
    NotStarted(String),
}

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What it says.
    pub kind: Kind,
    /// Number of the command; 0 where it is about none.
    pub command: u32,
    /// Contents.
    pub bytes: Vec<u8>,
}

impl Frame {
    /// With contents that are written as JSON.
    #[must_use]
    pub fn json(kind: Kind, command: u32, contents: &impl Serialize) -> Self {
        Self { kind, command, bytes: serde_json::to_vec(contents).expect("plain data") }
    }

    /// Writes it in one piece.
    ///
    /// # Errors
    /// If it is too long or cannot be written.
    pub fn write(&self, to: &mut impl Write) -> io::Result<()> {
        if self.bytes.len() > LONGEST {
            return Err(io::Error::other(format!(
                "{} bytes do not fit a frame of {LONGEST}",
                self.bytes.len()
            )));
        }
        let mut all = Vec::with_capacity(9 + self.bytes.len());
        all.push(self.kind as u8);
        all.extend_from_slice(&self.command.to_le_bytes());
        all.extend_from_slice(&(self.bytes.len() as u32).to_le_bytes());
        all.extend_from_slice(&self.bytes);
        to.write_all(&all)
    }

    /// Reads the next one.
    ///
    /// # Errors
    /// At the end of the stream (`UnexpectedEof`), or if what comes is no frame.
    pub fn read(from: &mut impl Read) -> io::Result<Self> {
        let mut head = [0; 9];
        from.read_exact(&mut head)?;
        let kind = *Kind::ALL
            .get(usize::from(head[0]))
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("no frame is {}", head[0])))?;
        let command = u32::from_le_bytes([head[1], head[2], head[3], head[4]]);
        let length = u32::from_le_bytes([head[5], head[6], head[7], head[8]]) as usize;
        if length > LONGEST {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a frame of {length} bytes")));
        }
        let mut bytes = vec![0; length];
        from.read_exact(&mut bytes)?;
        Ok(Self { kind, command, bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_back_as_they_were() {
        let mut stream = Vec::new();
        let frames: Vec<Frame> = Kind::ALL
            .into_iter()
            .enumerate()
            .map(|(nth, kind)| Frame { kind, command: nth as u32 * 77, bytes: vec![nth as u8; nth * 9000] })
            .collect();
        for frame in &frames {
            frame.write(&mut stream).unwrap();
        }
        let mut rest = stream.as_slice();
        for frame in &frames {
            assert_eq!(&Frame::read(&mut rest).unwrap(), frame);
        }
        assert_eq!(Frame::read(&mut rest).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        let too_long = [0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff];
        assert_eq!(Frame::read(&mut too_long.as_slice()).unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert_eq!(Frame::read(&mut [9; 9].as_slice()).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
