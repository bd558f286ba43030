//! The other end of [`source::tcp`](super::source::tcp): a machine that has templates gives their pages away.
//!
//! A client names a template by its root hash, never by a path, and gets pages by number; what is out of range is
//! refused, and so is who speaks another protocol. It can read nothing but the pages of the exported templates.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::memory::PageBuffer;
use super::source::tcp::{ANSWER, HELLO, MAGIC, REQUEST, VERSION, WELCOME, status};
use super::source::{MOST_PAGES, PageSource, check_range};

/// Connections at a time; more are closed at once.
const MOST_CONNECTIONS: usize = 256;
/// How long a greeting may take.
const GREETING: Duration = Duration::from_secs(2);
/// How long a client may take to receive an answer.
const SENDING: Duration = Duration::from_secs(10);

/// A template that is given away.
#[derive(Debug)]
pub struct Exported {
    /// The hash that clients name it by.
    pub root: blake3::Hash,
    /// Its pages.
    pub source: Arc<dyn PageSource>,
}

/// A running exporter. Ends with its connections when dropped.
#[derive(Debug)]
pub struct Export {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<std::thread::JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    templates: Vec<Exported>,
    ends: AtomicBool,
    living: AtomicUsize,
    streams: Mutex<Vec<(usize, TcpStream)>>,
}

impl Export {
    /// Listens at `address`.
    ///
    /// # Errors
    /// If the address cannot be had.
    pub fn start(address: impl std::net::ToSocketAddrs, templates: Vec<Exported>) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            templates,
            ends: AtomicBool::new(false),
            living: AtomicUsize::new(0),
            streams: Mutex::new(Vec::new()),
        });
        let for_thread = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("export".into());
        let accepting = Some(thread.spawn(move || accept(&listener, &for_thread))?);
        Ok(Self { address, shared, accepting })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections that live now.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.living.load(Ordering::Relaxed)
    }
}

impl Drop for Export {
    fn drop(&mut self) {
        self.shared.ends.store(true, Ordering::Relaxed);
        if let Some(thread) = self.accepting.take() {
            let _ = thread.join();
        }
        for (_, stream) in self.shared.streams.lock().expect("no connection panics").iter() {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
        while self.connections() > 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    let mut number = 0;
    while !shared.ends.load(Ordering::Relaxed) {
        let mut entries = [PollFd::new(listener, PollFlags::IN)];
        let _ = poll(&mut entries, Some(&Timespec { tv_sec: 0, tv_nsec: 50_000_000 }));
        let Ok((stream, _)) = listener.accept() else { continue };
        if shared.living.load(Ordering::Relaxed) >= MOST_CONNECTIONS {
            continue;
        }
        number += 1;
        let (Ok(copy), for_thread) = (stream.try_clone(), Arc::clone(shared)) else { continue };
        shared.streams.lock().expect("no connection panics").push((number, copy));
        shared.living.fetch_add(1, Ordering::Relaxed);
        let spawned = std::thread::Builder::new().name("export client".into()).spawn(move || {
            // A client that breaks off or breaks the rules loses its connection; nobody else notices.
            let _ = serve(stream, &for_thread.templates);
            for_thread.streams.lock().expect("no connection panics").retain(|(other, _)| *other != number);
            for_thread.living.fetch_sub(1, Ordering::Relaxed);
        });
        if spawned.is_err() {
            shared.streams.lock().expect("no connection panics").retain(|(other, _)| *other != number);
            shared.living.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

fn serve(mut stream: TcpStream, templates: &[Exported]) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(GREETING))?;
    stream.set_write_timeout(Some(SENDING))?;
    let mut hello = [0; HELLO];
    stream.read_exact(&mut hello)?;
    if &hello[..8] != MAGIC {
        return Ok(());
    }
    let version = u32::from_le_bytes(hello[8..12].try_into().expect("four bytes"));
    let template = templates.iter().find(|template| template.root.as_bytes() == &hello[16..HELLO]);
    let (found, pages) = match template {
        _ if version != VERSION => (status::VERSION, 0),
        None => (status::UNKNOWN_TEMPLATE, 0),
        Some(template) => (status::GOOD, template.source.pages()),
    };
    let mut welcome = [0; WELCOME];
    welcome[..8].copy_from_slice(MAGIC);
    welcome[8..12].copy_from_slice(&found.to_le_bytes());
    welcome[16..].copy_from_slice(&pages.to_le_bytes());
    stream.write_all(&welcome)?;
    let (Some(template), status::GOOD) = (template, found) else { return Ok(()) };
    stream.set_read_timeout(None)?;
    answer(&mut stream, &*template.source)
}

fn answer(stream: &mut TcpStream, source: &dyn PageSource) -> io::Result<()> {
    let mut room = PageBuffer::new(MOST_PAGES)?;
    loop {
        let mut request = [0; REQUEST];
        match stream.read_exact(&mut request) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            result => result?,
        }
        let first = u64::from_le_bytes(request[8..16].try_into().expect("eight bytes"));
        let count = u32::from_le_bytes(request[16..20].try_into().expect("four bytes"));
        let found = match check_range(first, count as usize, source.pages()) {
            Err(_) => status::RANGE,
            Ok(()) => match source.read(first, &mut room.pages_mut()[..count as usize]) {
                Ok(()) => status::GOOD,
                Err(_) => status::FAILED,
            },
        };
        let mut head = [0; ANSWER];
        head[..8].copy_from_slice(&request[..8]);
        head[8..12].copy_from_slice(&found.to_le_bytes());
        head[12..].copy_from_slice(&count.to_le_bytes());
        stream.write_all(&head)?;
        if found == status::GOOD {
            stream.write_all(room.pages()[..count as usize].as_flattened())?;
        }
    }
}
