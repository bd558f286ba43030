//! The wire between guests: an Ethernet hub inside this process, one socket pair a guest.
//!
//! No port is opened on any network, not even on loopback, so nothing else can be on this wire. QEMU's stream
//! back-end sends frames as a length (4 bytes, big-endian) and the bytes. A guest can be unplugged: its frames
//! then go nowhere, as with a cable pulled further away, while its own link stays up.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use rustix::event::{PollFd, PollFlags, poll};

/// Frames that wait for one guest before more are dropped, as a switch drops them.
const QUEUE: usize = 4096;
/// Longest frame that is forwarded, bytes: more than any that the guests' cards make.
const LONGEST: usize = 256 << 10;

/// What one guest's plug has seen, and whether it is in.
#[derive(Debug, Default)]
pub struct Plug {
    out: AtomicBool,
    forwarded: AtomicU64,
    dropped: AtomicU64,
}

impl Plug {
    /// Pulls the plug or puts it in.
    pub fn set_in(&self, plugged: bool) {
        self.out.store(!plugged, Ordering::SeqCst);
    }

    /// Frames from this guest that reached the others, and those that did not.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        (self.forwarded.load(Ordering::Relaxed), self.dropped.load(Ordering::Relaxed))
    }
}

/// The hub. It ends with this value.
#[derive(Debug)]
pub struct Switch {
    plugs: Vec<Arc<Plug>>,
    stop: UnixStream,
    thread: Option<JoinHandle<()>>,
}

impl Switch {
    /// A hub with `count` sockets, and the guests' ends of them.
    ///
    /// # Errors
    /// If a socket or the thread cannot be made.
    pub fn new(count: usize) -> io::Result<(Self, Vec<OwnedFd>)> {
        let mut ports = Vec::new();
        let mut ends = Vec::new();
        for _ in 0..count {
            let (ours, theirs) = UnixStream::pair()?;
            ours.set_nonblocking(true)?;
            ports.push(Port {
                socket: Some(ours),
                plug: Arc::default(),
                read: Vec::new(),
                queue: VecDeque::new(),
                sent: 0,
            });
            ends.push(theirs.into());
        }
        let plugs = ports.iter().map(|port| Arc::clone(&port.plug)).collect();
        let (stop, stopped) = UnixStream::pair()?;
        let thread =
            thread::Builder::new().name("switch".into()).spawn(move || forward(&mut ports, &stopped))?;
        Ok((Self { plugs, stop, thread: Some(thread) }, ends))
    }

    /// The plug of guest `number`.
    #[must_use]
    pub fn plug(&self, number: usize) -> &Arc<Plug> {
        &self.plugs[number]
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        let _ = self.stop.shutdown(std::net::Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Port {
    socket: Option<UnixStream>,
    plug: Arc<Plug>,
    read: Vec<u8>,
    queue: VecDeque<Arc<[u8]>>,
    /// Bytes of the first frame in the queue that are on their way.
    sent: usize,
}

impl Port {
    /// Reads what is there and returns the whole frames in it, each with its length in front.
    fn take(&mut self) -> Vec<Arc<[u8]>> {
        let Some(socket) = &mut self.socket else { return Vec::new() };
        let mut piece = [0; 64 << 10];
        match socket.read(&mut piece) {
            Ok(0) => self.socket = None,
            Ok(got) => self.read.extend_from_slice(&piece[..got]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => self.socket = None,
        }
        let mut frames = Vec::new();
        let mut at = 0;
        while let Some(head) = self.read.get(at..at + 4) {
            let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
            if length > LONGEST {
                // Whoever sends this is no QEMU any more.
                self.socket = None;
                break;
            }
            let Some(frame) = self.read.get(at..at + 4 + length) else { break };
            frames.push(Arc::from(frame));
            at += 4 + length;
        }
        self.read.drain(..at);
        frames
    }

    /// Writes as much of the queue as the guest takes now.
    fn give(&mut self) {
        while let (Some(socket), Some(frame)) = (&mut self.socket, self.queue.front()) {
            match socket.write(&frame[self.sent..]) {
                Ok(sent) => {
                    self.sent += sent;
                    if self.sent == frame.len() {
                        self.queue.pop_front();
                        self.sent = 0;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => self.socket = None,
            }
        }
    }
}

/// Hands frames from each guest to all others until the other end of `stopped` closes.
fn forward(ports: &mut [Port], stopped: &UnixStream) {
    loop {
        let ready = {
            let mut waits = vec![PollFd::new(stopped, PollFlags::IN)];
            for port in ports.iter() {
                let Some(socket) = &port.socket else { continue };
                let write = if port.queue.is_empty() { PollFlags::empty() } else { PollFlags::OUT };
                waits.push(PollFd::from_borrowed_fd(socket.as_fd(), PollFlags::IN | write));
            }
            match poll(&mut waits, None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => !waits[0].revents().is_empty(),
                Err(_) => true,
            }
        };
        if ready {
            return;
        }
        for number in 0..ports.len() {
            let frames = ports[number].take();
            for frame in frames {
                let from_in = !ports[number].plug.out.load(Ordering::SeqCst);
                let mut reached = false;
                for (other, port) in ports.iter_mut().enumerate() {
                    let to_in = !port.plug.out.load(Ordering::SeqCst);
                    if other != number && from_in && to_in && port.queue.len() < QUEUE {
                        port.queue.push_back(Arc::clone(&frame));
                        reached = true;
                    }
                }
                let plug = &ports[number].plug;
                let count = if reached { &plug.forwarded } else { &plug.dropped };
                count.fetch_add(1, Ordering::Relaxed);
            }
        }
        for port in ports.iter_mut() {
            port.give();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn frame(text: &str) -> Vec<u8> {
        let mut bytes = (text.len() as u32).to_be_bytes().to_vec();
        bytes.extend_from_slice(text.as_bytes());
        bytes
    }

    fn guests(count: usize) -> (Switch, Vec<UnixStream>) {
        let (switch, ends) = Switch::new(count).unwrap();
        let ends: Vec<UnixStream> = ends.into_iter().map(UnixStream::from).collect();
        for end in &ends {
            end.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        }
        (switch, ends)
    }

    fn next(end: &mut UnixStream) -> String {
        let mut length = [0; 4];
        end.read_exact(&mut length).unwrap();
        let mut bytes = vec![0; u32::from_be_bytes(length) as usize];
        end.read_exact(&mut bytes).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_frame_reaches_all_others_even_in_pieces() {
        let (_switch, mut ends) = guests(3);
        let bytes = [frame("one"), frame("two")].concat();
        ends[0].write_all(&bytes[..5]).unwrap();
        ends[0].write_all(&bytes[5..]).unwrap();
        for end in &mut ends[1..] {
            assert_eq!((next(end), next(end)), ("one".to_owned(), "two".to_owned()));
        }
    }

    #[test]
    fn a_pulled_plug_drops_frames_both_ways_until_it_is_back() {
        let (switch, mut ends) = guests(2);
        switch.plug(1).set_in(false);
        ends[0].write_all(&frame("lost")).unwrap();
        ends[1].write_all(&frame("lost too")).unwrap();
        while switch.plug(0).counts().1 == 0 || switch.plug(1).counts().1 == 0 {
            thread::sleep(Duration::from_millis(1));
        }
        switch.plug(1).set_in(true);
        ends[0].write_all(&frame("there")).unwrap();
        ends[1].write_all(&frame("back")).unwrap();
        assert_eq!((next(&mut ends[1]), next(&mut ends[0])), ("there".to_owned(), "back".to_owned()));
    }

    #[test]
    fn a_guest_that_ends_does_not_disturb_the_others() {
        let (_switch, mut ends) = guests(3);
        drop(ends.pop());
        ends[0].write_all(&frame("still here")).unwrap();
        assert_eq!(next(&mut ends[1]), "still here");
    }
}
