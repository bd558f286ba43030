//! Looking for what a predecessor left. A clean sandbox gives the same answer as a new one.

use std::net::TcpStream;

use serde_json::{Value, json};

use super::leave::{
    NAME, PORT, SESSION, USER, device, key_name, posix_queue, unsafe_msgget, unsafe_semget, unsafe_shmget,
};
use super::{Action, cgroup, last_errno, text};

pub(super) const ACTIONS: &[(&str, Action)] = &[
    ("look-file", |with| Ok(json!(std::path::Path::new(text(with, "path")?).exists()))),
    ("look-attribute", |_| Ok(attribute())),
    ("look-shared-memory", |_| Ok(json!(unsafe_shmget(false) >= 0))),
    ("look-semaphore", |_| Ok(json!(unsafe_semget(false) >= 0))),
    ("look-message-queue", |_| Ok(json!(unsafe_msgget(false) >= 0))),
    ("look-posix-queue", |_| Ok(json!(posix_queue(false).is_ok()))),
    ("look-text", |with| Ok(json!(read(text(with, "path")?)))),
    ("look-lines", |with| Ok(json!(read(text(with, "path")?).lines().count()))),
    ("look-address", |_| Ok(asks_device("lo:1", libc::SIOCGIFADDR))),
    ("look-mtu", |_| Ok(mtu())),
    ("look-table", |_| Ok(json!(has_table()))),
    ("look-listener", |_| Ok(json!(TcpStream::connect(("127.0.0.1", PORT)).is_ok()))),
    ("connect", connect),
    ("look-abstract-socket", |_| Ok(json!(abstract_socket()))),
    ("look-key", |with| Ok(json!(key(SESSION, with)))),
    ("look-user-key", |with| Ok(json!(key(USER, with)))),
    ("look-cgroup", |_| cgroup::look()),
    ("look-tracer", |_| Ok(json!(tracer()))),
    ("look-environment", |_| Ok(json!(std::env::var_os("TRENVX_LEAK").is_some()))),
    ("look-host-name", |_| Ok(json!(read("/proc/sys/kernel/hostname")))),
    ("look-descriptors", |_| Ok(json!(descriptors()))),
    ("look-processes", |_| Ok(json!(processes()))),
];

/// Whether somebody answers at an address (`HOST:PORT`).
fn connect(with: &Value) -> Result<Value, String> {
    let address = text(with, "address")?.parse().map_err(|_| "no address".to_owned())?;
    let within = std::time::Duration::from_millis(with["ms"].as_u64().unwrap_or(1000));
    match TcpStream::connect_timeout(&address, within) {
        Ok(_) => Ok(json!("connected")),
        Err(error) if error.kind() == std::io::ErrorKind::TimedOut => Err("ETIMEDOUT".to_owned()),
        Err(error) => Err(super::name_of(error.raw_os_error().unwrap_or(0))),
    }
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| error.to_string())
}

fn attribute() -> Value {
    let mut value = [0_u8; 16];
    // SAFETY: strings end with a zero, the room has the stated size.
    let got = unsafe {
        libc::getxattr(c"/tmp".as_ptr(), c"trusted.leak".as_ptr(), value.as_mut_ptr().cast(), value.len())
    };
    json!(got >= 0)
}

fn asks_device(name: &str, request: libc::Ioctl) -> Value {
    let mut about = device(name);
    // SAFETY: a socket of our own and a valid request; closed again.
    unsafe {
        let fd = libc::socket(libc::AF_INET, libc::SOCK_DGRAM, 0);
        let result = libc::ioctl(fd, request, &raw mut about);
        let answer = if result < 0 { json!(last_errno()) } else { json!("there") };
        libc::close(fd);
        answer
    }
}

fn mtu() -> Value {
    let mut about = device("eth0");
    // SAFETY: a socket of our own and a valid request, which the kernel fills in; closed again.
    unsafe {
        let fd = libc::socket(libc::AF_INET, libc::SOCK_DGRAM, 0);
        libc::ioctl(fd, libc::SIOCGIFMTU, &raw mut about);
        libc::close(fd);
        json!(about.ifr_ifru.ifru_mtu)
    }
}

/// Asks nftables for its tables: whether there is any.
fn has_table() -> bool {
    const GET_TABLE: u16 = (10 << 8) | 1;
    let mut bytes = 20_u32.to_ne_bytes().to_vec();
    bytes.extend_from_slice(&GET_TABLE.to_ne_bytes());
    bytes.extend_from_slice(&((libc::NLM_F_REQUEST | libc::NLM_F_DUMP) as u16).to_ne_bytes());
    bytes.extend_from_slice(&[0; 12]);
    // SAFETY: makes a descriptor; sends a valid buffer and receives into another; closed again.
    unsafe {
        let fd = libc::socket(libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_NETFILTER);
        libc::send(fd, bytes.as_ptr().cast(), bytes.len(), 0);
        let mut answer = [0_u8; 4096];
        let got = libc::recv(fd, answer.as_mut_ptr().cast(), answer.len(), 0);
        libc::close(fd);
        let kind = u16::from_ne_bytes([answer[4], answer[5]]);
        got >= 16 && kind != libc::NLMSG_DONE as u16 && kind != libc::NLMSG_ERROR as u16
    }
}

fn abstract_socket() -> bool {
    use std::os::linux::net::SocketAddrExt;
    let name = std::os::unix::net::SocketAddr::from_abstract_name(NAME);
    name.is_ok_and(|name| std::os::unix::net::UnixStream::connect_addr(&name).is_ok())
}

/// Whether the key is there; it is not any more after that.
fn key(keyring: libc::c_long, with: &Value) -> bool {
    const KEYCTL_SEARCH: libc::c_long = 10;
    const KEYCTL_INVALIDATE: libc::c_long = 21;
    let (kind, name) = (c"user", key_name(with));
    // SAFETY: strings end with a zero and outlive the calls; then numbers only.
    unsafe {
        let (kind, name) = (kind.as_ptr(), name.as_ptr());
        let found = libc::syscall(libc::SYS_keyctl, KEYCTL_SEARCH, keyring, kind, name, 0);
        if found >= 0 {
            libc::syscall(libc::SYS_keyctl, KEYCTL_INVALIDATE, found);
        }
        found >= 0
    }
}

/// Who traces us.
fn tracer() -> String {
    let status = read("/proc/self/status");
    status.lines().find(|line| line.starts_with("TracerPid")).unwrap_or_default().to_owned()
}

/// Numbers of open descriptors but the three, and but the one that lists them.
fn descriptors() -> Vec<i32> {
    let entries = std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let numbers: Vec<i32> =
        entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(|fd| *fd > 2).collect();
    // SAFETY: asks about a number, which may be closed by now.
    numbers.into_iter().filter(|fd| unsafe { libc::fcntl(*fd, libc::F_GETFD) } >= 0).collect()
}

/// Processes that can be seen.
fn processes() -> usize {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_name().to_string_lossy().parse::<u32>().is_ok()).count()
}
