//! The least of an HTTP/1.1 server that a mock model and a web site need: one thread a connection.
//!
//! Requests are parsed by `httparse`; answers are whole or streamed in chunks. [`Server::stop`] breaks every
//! connection wherever it is, as a killed server's kernel would, so that a test can kill a server and start another
//! one at the same address.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::Error;

/// The largest head of a request, bytes.
const HEAD: usize = 16 << 10;
/// The largest body of a request, bytes: a conversation, or a game.
const BODY: usize = 4 << 20;
/// How long a connection may be idle.
const IDLE: Duration = Duration::from_secs(30);
/// Header fields of a request.
const FIELDS: usize = 64;
/// Any free port on loopback.
pub const ANY: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 0);
/// Steps in which a server that waits looks whether it was stopped.
const STEP: Duration = Duration::from_millis(10);

/// A request.
#[derive(Debug)]
pub struct Request {
    /// `GET`, `POST`, …
    pub method: String,
    /// Without the query.
    pub path: String,
    /// After the question mark; empty without one.
    pub query: String,
    fields: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Request {
    /// The field of that name, in lower case.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The cookie of that name.
    #[must_use]
    pub fn cookie(&self, name: &str) -> Option<&str> {
        self.field("cookie")?
            .split(';')
            .find_map(|pair| pair.trim().split_once('=').filter(|(key, _)| *key == name))
            .map(|(_, value)| value)
    }

    /// The value of that name in the query, as it is written there.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.query
            .split('&')
            .find_map(|pair| pair.split_once('=').filter(|(key, _)| *key == name))
            .map(|(_, value)| value)
    }
}

/// What answers requests.
pub trait Handler: Send + Sync + 'static {
    /// Answers one request.
    ///
    /// # Errors
    /// If the connection breaks.
    fn handle(&self, request: &Request, answer: &mut Answer<'_>) -> io::Result<()>;
}

/// The way back of an answer.
#[derive(Debug)]
pub struct Answer<'a> {
    stream: &'a TcpStream,
    shared: &'a Shared,
}

impl Answer<'_> {
    /// Sends a whole answer.
    ///
    /// # Errors
    /// If the connection breaks.
    pub fn send(&mut self, status: &str, kind: &str, fields: &[(&str, &str)], body: &[u8]) -> io::Result<()> {
        let mut head =
            format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n", body.len());
        for (name, value) in fields {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(body);
        self.stream.write_all(&bytes)
    }

    /// Begins an answer whose parts follow, each with [`Self::part`].
    ///
    /// # Errors
    /// If the connection breaks.
    pub fn begin(&mut self, kind: &str) -> io::Result<()> {
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nCache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n\r\n"
        );
        self.stream.write_all(head.as_bytes())
    }

    /// Sends one part.
    ///
    /// # Errors
    /// If the connection breaks.
    pub fn part(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
        chunk.extend_from_slice(bytes);
        chunk.extend_from_slice(b"\r\n");
        self.stream.write_all(&chunk)
    }

    /// Ends an answer of parts.
    ///
    /// # Errors
    /// If the connection breaks.
    pub fn end(&mut self) -> io::Result<()> {
        self.stream.write_all(b"0\r\n\r\n")
    }

    /// Waits until `until`.
    ///
    /// # Errors
    /// If the server is stopped meanwhile.
    pub fn wait_until(&self, until: Instant) -> io::Result<()> {
        loop {
            if self.shared.stopped.load(Ordering::Acquire) {
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            std::thread::sleep(left.min(STEP));
        }
    }
}

#[derive(Debug, Default)]
struct Shared {
    stopped: AtomicBool,
    connections: Mutex<BTreeMap<u64, TcpStream>>,
}

/// A server that listens. Dropped, it is stopped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Listens at an address of this machine, at its port or, for 0, at any that is free.
    ///
    /// # Errors
    /// If the port is taken.
    pub fn start(at: (Ipv4Addr, u16), handler: Arc<dyn Handler>) -> Result<Self, Error> {
        let name = format!("{}:{}", at.0, at.1);
        let listener = TcpListener::bind(at).map_err(Error::io("listen at", &name))?;
        let address = listener.local_addr().map_err(Error::io("listen at", &name))?;
        let shared = Arc::new(Shared::default());
        let of_thread = Arc::clone(&shared);
        let thread = std::thread::spawn(move || accept(&listener, &of_thread, &handler));
        Ok(Self { address, shared, thread: Some(thread) })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops listening and breaks every connection, also in the middle of an answer.
    pub fn stop(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        self.shared.stopped.store(true, Ordering::Release);
        // Wakes the thread that accepts.
        drop(TcpStream::connect_timeout(&self.address, Duration::from_secs(1)));
        // It does not panic, and if it did it would listen no more.
        let _ = thread.join();
        let connections = self.shared.connections.lock().unwrap_or_else(PoisonError::into_inner);
        for stream in connections.values() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>, handler: &Arc<dyn Handler>) {
    for number in 0.. {
        let accepted = listener.accept();
        if shared.stopped.load(Ordering::Acquire) {
            return;
        }
        // Without descriptors it fails at once: not in a busy loop.
        let Ok((stream, _)) = accepted else {
            std::thread::sleep(STEP);
            continue;
        };
        let Ok(held) = stream.try_clone() else { continue };
        shared.connections.lock().unwrap_or_else(PoisonError::into_inner).insert(number, held);
        let (shared, handler) = (Arc::clone(shared), Arc::clone(handler));
        std::thread::spawn(move || {
            // A connection that breaks is the client's affair, which tries again.
            let _ = serve(&stream, &shared, handler.as_ref());
            let _ = stream.shutdown(Shutdown::Both);
            shared.connections.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
        });
    }
}

fn serve(stream: &TcpStream, shared: &Shared, handler: &dyn Handler) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(IDLE))?;
    let mut rest = Vec::new();
    while !shared.stopped.load(Ordering::Acquire) {
        let mut answer = Answer { stream, shared };
        match read(stream, &mut rest)? {
            Incoming::Request(request) => {
                handler.handle(&request, &mut answer)?;
                if request.field("connection").is_some_and(|word| word.eq_ignore_ascii_case("close")) {
                    return Ok(());
                }
            }
            Incoming::Closed => return Ok(()),
            Incoming::Bad(message) => {
                return answer.send("400 Bad Request", "text/plain", &[], message.as_bytes());
            }
        }
    }
    Ok(())
}

/// What came over a connection.
enum Incoming {
    Request(Request),
    Closed,
    Bad(String),
}

/// Reads one request; what came after it stays in `rest`.
fn read(mut stream: &TcpStream, rest: &mut Vec<u8>) -> io::Result<Incoming> {
    let mut more = |rest: &mut Vec<u8>| -> io::Result<usize> {
        let mut bytes = [0; 8192];
        let count = stream.read(&mut bytes)?;
        rest.extend_from_slice(&bytes[..count]);
        Ok(count)
    };
    let (mut request, head) = loop {
        let mut fields = [httparse::EMPTY_HEADER; FIELDS];
        let mut parsed = httparse::Request::new(&mut fields);
        match parsed.parse(rest) {
            Ok(httparse::Status::Complete(length)) => {
                let target = parsed.path.unwrap_or("/");
                let (path, query) = target.split_once('?').unwrap_or((target, ""));
                let fields = parsed.headers.iter().map(|field| {
                    let value = String::from_utf8_lossy(field.value).into_owned();
                    (field.name.to_ascii_lowercase(), value)
                });
                let request = Request {
                    method: parsed.method.unwrap_or("GET").to_owned(),
                    path: path.to_owned(),
                    query: query.to_owned(),
                    fields: fields.collect(),
                    body: Vec::new(),
                };
                break (request, length);
            }
            Ok(httparse::Status::Partial) if rest.len() > HEAD => {
                return Ok(Incoming::Bad(format!("the head is longer than {HEAD} bytes")));
            }
            Ok(httparse::Status::Partial) => {
                if more(rest)? == 0 {
                    return Ok(Incoming::Closed);
                }
            }
            Err(error) => return Ok(Incoming::Bad(error.to_string())),
        }
    };
    let length = match request.field("content-length").map(str::parse::<usize>) {
        None => 0,
        Some(Ok(length)) if length <= BODY => length,
        Some(_) => return Ok(Incoming::Bad(format!("a body has at most {BODY} bytes and says how many"))),
    };
    while rest.len() < head + length {
        if more(rest)? == 0 {
            return Ok(Incoming::Closed);
        }
    }
    request.body = rest[head..head + length].to_vec();
    rest.drain(..head + length);
    Ok(Incoming::Request(request))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Echo;

    impl Handler for Echo {
        fn handle(&self, request: &Request, answer: &mut Answer<'_>) -> io::Result<()> {
            if request.path == "/slow" {
                answer.begin("text/plain")?;
                answer.part(b"first")?;
                answer.wait_until(Instant::now() + Duration::from_secs(60))?;
                return answer.end();
            }
            let text = format!(
                "{} {} {} {}",
                request.path,
                request.parameter("b").unwrap_or("-"),
                request.cookie("who").unwrap_or("-"),
                String::from_utf8_lossy(&request.body)
            );
            answer.send("200 OK", "text/plain", &[], text.as_bytes())
        }
    }

    fn exchange(server: &Server, sent: &[u8]) -> String {
        let mut stream = TcpStream::connect(server.address()).unwrap();
        stream.write_all(sent).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn two_requests_on_one_connection_are_answered_in_order() {
        let server = Server::start(ANY, Arc::new(Echo)).unwrap();
        let sent = b"POST /x?a=1&b=2 HTTP/1.1\r\nCookie: a=b; who=me\r\nContent-Length: 3\r\n\r\nabc\
                     GET /y HTTP/1.1\r\nConnection: close\r\n\r\n";
        let text = exchange(&server, sent);
        let bodies: Vec<&str> =
            text.split("HTTP/1.1 ").filter_map(|one| one.split("\r\n\r\n").nth(1)).collect();
        assert_eq!(bodies, ["/x 2 me abc", "/y - - "]);
    }

    #[test]
    fn what_is_no_request_is_refused() {
        let server = Server::start(ANY, Arc::new(Echo)).unwrap();
        assert!(exchange(&server, b"\x01\x02 nonsense\r\n\r\n").starts_with("HTTP/1.1 400"));
        let long = format!("POST / HTTP/1.1\r\nContent-Length: {}\r\n\r\n", BODY + 1);
        assert!(exchange(&server, long.as_bytes()).starts_with("HTTP/1.1 400"));
    }

    #[test]
    fn a_stopped_server_breaks_an_answer_in_the_middle_and_its_address_can_be_taken_again() {
        let mut server = Server::start(ANY, Arc::new(Echo)).unwrap();
        let address = server.address();
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(b"GET /slow HTTP/1.1\r\n\r\n").unwrap();
        let mut first = [0; 40];
        stream.read_exact(&mut first).unwrap();
        server.stop();
        let mut rest = Vec::new();
        // An end or a reset, and soon.
        let _ = stream.read_to_end(&mut rest);
        assert!(!rest.ends_with(b"0\r\n\r\n"), "the answer must not look complete");
        let again = Server::start((Ipv4Addr::LOCALHOST, address.port()), Arc::new(Echo)).unwrap();
        assert!(exchange(&again, b"GET /z HTTP/1.1\r\nConnection: close\r\n\r\n").ends_with("/z - - "));
    }
}
