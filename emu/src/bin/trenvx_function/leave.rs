//! Leaving something behind: one action per kind of thing that could meet the next function.

use std::ffi::CString;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd};

use serde_json::{Value, json};

use super::{Action, cgroup, done, last_errno, text};

pub(super) const ACTIONS: &[(&str, Action)] = &[
    ("leave-nothing", |_| Ok(json!("done"))),
    ("leave-file", file),
    ("leave-attribute", attribute),
    ("leave-shared-memory", |_| done_int(unsafe_shmget(true))),
    ("leave-semaphore", |_| done_int(unsafe_semget(true))),
    ("leave-message-queue", |_| done_int(unsafe_msgget(true))),
    ("leave-posix-queue", |_| posix_queue(true)),
    ("leave-setting", setting),
    ("leave-address", |_| address()),
    ("leave-route", |_| route()),
    ("leave-neighbour", |_| neighbour()),
    ("leave-table", |_| nft_table()),
    ("leave-mtu", |_| mtu()),
    ("listen", |_| io(TcpListener::bind(("0.0.0.0", PORT))).map(|open| json!(open.into_raw_fd()))),
    ("leave-listener", |with| listener(with).map(|_| json!("done"))),
    ("leave-time-wait", |_| time_wait()),
    ("leave-abstract-socket", |_| abstract_socket()),
    ("leave-key", |with| key(SESSION, with)),
    ("leave-user-key", |with| key(USER, with)),
    ("leave-core-pattern", |_| core_pattern()),
    ("leave-cgroup-setting", |_| cgroup::set()),
    ("leave-cgroup-inside", |_| cgroup::make_inside()),
    ("leave-mount", |_| mount()),
    ("leave-orphan", |_| orphan()),
    ("leave-watch", |_| watch()),
    ("leave-timer", |_| timer()),
    ("leave-memory-peak", |_| Ok(json!(peak()))),
    ("leave-environment", |_| environment()),
    ("leave-host-name", |_| done_int(unsafe_sethostname())),
    ("leave-descriptor-in-flight", |_| in_flight(listener(&Value::Null)?)),
    ("leave-unix-in-flight", |_| in_flight(abstract_listener()?)),
    ("leave-file-in-flight", |_| in_flight(file_in_memory()?)),
];

/// Keys, ports and names that both sides know.
pub(super) const KEY: libc::key_t = 0x7e4a;
pub(super) const PORT: u16 = 7411;
pub(super) const NAME: &str = "trenvx-leak";

fn done_int(result: libc::c_int) -> Result<Value, String> {
    done(libc::c_long::from(result))
}

fn io<T>(result: std::io::Result<T>) -> Result<T, String> {
    result.map_err(|error| super::name_of(error.raw_os_error().unwrap_or(0)))
}

fn file(with: &Value) -> Result<Value, String> {
    io(std::fs::write(text(with, "path")?, b"left"))?;
    Ok(json!("done"))
}

fn attribute(_: &Value) -> Result<Value, String> {
    // SAFETY: strings end with a zero, the value has the stated length.
    done_int(unsafe {
        libc::setxattr(c"/tmp".as_ptr(), c"trusted.leak".as_ptr(), b"left".as_ptr().cast(), 4, 0)
    })
}

pub(super) fn unsafe_shmget(create: bool) -> libc::c_int {
    // SAFETY: numbers only.
    unsafe { libc::shmget(KEY, usize::from(create) * 4096, flags(create)) }
}

pub(super) fn unsafe_semget(create: bool) -> libc::c_int {
    // SAFETY: numbers only.
    unsafe { libc::semget(KEY, libc::c_int::from(create), flags(create)) }
}

pub(super) fn unsafe_msgget(create: bool) -> libc::c_int {
    // SAFETY: numbers only.
    unsafe { libc::msgget(KEY, flags(create)) }
}

fn flags(create: bool) -> libc::c_int {
    if create { libc::IPC_CREAT | 0o666 } else { 0 }
}

pub(super) fn posix_queue(create: bool) -> Result<Value, String> {
    let flags = if create { libc::O_CREAT | libc::O_RDWR } else { libc::O_RDONLY };
    // SAFETY: the name ends with a zero; no attributes are given.
    done(unsafe { libc::syscall(libc::SYS_mq_open, c"leak".as_ptr(), flags, 0o666, std::ptr::null::<u8>()) })
}

fn setting(with: &Value) -> Result<Value, String> {
    let path = format!("/proc/sys/{}", text(with, "name")?);
    io(std::fs::File::options()
        .write(true)
        .open(path)
        .and_then(|mut file| file.write_all(with["value"].as_str().unwrap_or("1").as_bytes())))?;
    Ok(json!("done"))
}

/// A socket for requests about devices.
fn control() -> Result<OwnedFd, String> {
    // SAFETY: makes a descriptor that nobody else knows.
    let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(last_errno());
    }
    // SAFETY: just made.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn inet(address: [u8; 4]) -> libc::sockaddr {
    // SAFETY: plain numbers, for which zero is valid.
    let mut value: libc::sockaddr_in = unsafe { std::mem::zeroed() };
    value.sin_family = libc::AF_INET as u16;
    value.sin_addr.s_addr = u32::from_ne_bytes(address);
    // SAFETY: both are the same size and plain numbers.
    unsafe { std::mem::transmute::<libc::sockaddr_in, libc::sockaddr>(value) }
}

/// A request about a device.
pub(super) fn device(name: &str) -> libc::ifreq {
    // SAFETY: plain numbers, for which zero is valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    request
}

fn address() -> Result<Value, String> {
    let mut request = device("lo:1");
    request.ifr_ifru.ifru_addr = inet([10, 99, 0, 1]);
    // SAFETY: a valid request for this call.
    done_int(unsafe { libc::ioctl(control()?.as_raw_fd(), libc::SIOCSIFADDR, &raw mut request) })
}

fn mtu() -> Result<Value, String> {
    let mut request = device("eth0");
    request.ifr_ifru.ifru_mtu = 1300;
    // SAFETY: a valid request for this call.
    done_int(unsafe { libc::ioctl(control()?.as_raw_fd(), libc::SIOCSIFMTU, &raw mut request) })
}

fn route() -> Result<Value, String> {
    // SAFETY: plain numbers and null pointers.
    let mut entry: libc::rtentry = unsafe { std::mem::zeroed() };
    entry.rt_dst = inet([10, 98, 0, 0]);
    entry.rt_genmask = inet([255, 255, 0, 0]);
    entry.rt_flags = libc::RTF_UP;
    let name = CString::new("eth0").expect("no zero inside");
    entry.rt_dev = name.as_ptr().cast_mut();
    // SAFETY: a valid entry for this call, whose name lives until it returns.
    done_int(unsafe { libc::ioctl(control()?.as_raw_fd(), libc::SIOCADDRT, &raw mut entry) })
}

fn neighbour() -> Result<Value, String> {
    // SAFETY: plain numbers.
    let mut entry: libc::arpreq = unsafe { std::mem::zeroed() };
    // The network's first address is the bridge; any other of the network will do.
    entry.arp_pa = inet([198, 18, 15, 250]);
    let own = own_network()?;
    if let Some(last) = own {
        entry.arp_pa = inet(last);
    }
    entry.arp_ha.sa_family = libc::ARPHRD_ETHER;
    entry.arp_ha.sa_data = [2, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0];
    entry.arp_flags = libc::ATF_PERM | libc::ATF_COM;
    for (to, from) in entry.arp_dev.iter_mut().zip(b"eth0") {
        *to = *from as libc::c_char;
    }
    // SAFETY: a valid entry for this call.
    done_int(unsafe { libc::ioctl(control()?.as_raw_fd(), libc::SIOCSARP, &raw mut entry) })
}

/// An address beside our own.
fn own_network() -> Result<Option<[u8; 4]>, String> {
    let mut request = device("eth0");
    // SAFETY: a valid request for this call.
    if unsafe { libc::ioctl(control()?.as_raw_fd(), libc::SIOCGIFADDR, &raw mut request) } < 0 {
        return Err(last_errno());
    }
    // SAFETY: the kernel has filled in an address of this family.
    let data = unsafe { request.ifr_ifru.ifru_addr.sa_data };
    Ok(Some([data[2] as u8, data[3] as u8, data[4] as u8, (data[5] as u8).wrapping_add(1)]))
}

/// An nftables table, by a batch of three messages.
fn nft_table() -> Result<Value, String> {
    const BATCH_BEGIN: u16 = 16;
    const BATCH_END: u16 = 17;
    const NEW_TABLE: u16 = 10 << 8;
    let message = |kind: u16, flags: u16, family: u8, subsystem: u16, name: Option<&str>| {
        let mut body = vec![family, 0];
        body.extend_from_slice(&subsystem.to_be_bytes());
        if let Some(name) = name {
            body.extend_from_slice(&((4 + name.len() + 1) as u16).to_ne_bytes());
            body.extend_from_slice(&1_u16.to_ne_bytes());
            body.extend_from_slice(name.as_bytes());
            body.push(0);
            body.resize(body.len().next_multiple_of(4), 0);
        }
        let mut bytes = ((16 + body.len()) as u32).to_ne_bytes().to_vec();
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(&flags.to_ne_bytes());
        bytes.extend_from_slice(&[0; 8]);
        bytes.extend(body);
        bytes
    };
    let create = (libc::NLM_F_REQUEST | libc::NLM_F_CREATE | libc::NLM_F_ACK) as u16;
    let request = libc::NLM_F_REQUEST as u16;
    let bytes = [
        message(BATCH_BEGIN, request, 0, 10, None),
        message(NEW_TABLE, create, 1, 0, Some("leak")),
        message(BATCH_END, request, 0, 10, None),
    ]
    .concat();
    // SAFETY: makes a descriptor; then sends a valid buffer and receives into another.
    unsafe {
        let fd = libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::NETLINK_NETFILTER);
        if fd < 0 || libc::send(fd, bytes.as_ptr().cast(), bytes.len(), 0) < 0 {
            return Err(last_errno());
        }
        let mut answer = [0_u8; 4096];
        let got = libc::recv(fd, answer.as_mut_ptr().cast(), answer.len(), 0);
        libc::close(fd);
        if got < 20 {
            return Err(last_errno());
        }
        let errno = i32::from_ne_bytes(answer[16..20].try_into().expect("four bytes"));
        if errno == 0 { Ok(json!("done")) } else { Err(super::name_of(-errno)) }
    }
}

/// A listener that this process never closes.
fn listener(_: &Value) -> Result<i32, String> {
    let listener = io(TcpListener::bind(("127.0.0.1", PORT)))?;
    Ok(listener.into_raw_fd())
}

/// Connections that were closed from our side first: their ports wait for a minute.
fn time_wait() -> Result<Value, String> {
    let listener = io(TcpListener::bind(("127.0.0.1", PORT)))?;
    for _ in 0..5 {
        let client = io(TcpStream::connect(("127.0.0.1", PORT)))?;
        let (server, _) = io(listener.accept())?;
        drop(client);
        drop(server);
    }
    Ok(json!("done"))
}

fn abstract_listener() -> Result<i32, String> {
    use std::os::linux::net::SocketAddrExt;
    let name = io(std::os::unix::net::SocketAddr::from_abstract_name(NAME))?;
    Ok(io(std::os::unix::net::UnixListener::bind_addr(&name))?.into_raw_fd())
}

/// A listener that this process never closes.
fn abstract_socket() -> Result<Value, String> {
    abstract_listener().map(|_| json!("done"))
}

/// The keyrings of the session, and of the user in the whole machine.
pub(super) const SESSION: libc::c_long = -3;
pub(super) const USER: libc::c_long = -4;

/// What a key is called.
pub(super) fn key_name(with: &Value) -> CString {
    CString::new(with["name"].as_str().unwrap_or(NAME)).unwrap_or_default()
}

/// A key that goes by itself if nobody takes it away.
fn key(keyring: libc::c_long, with: &Value) -> Result<Value, String> {
    const KEYCTL_SET_TIMEOUT: libc::c_long = 15;
    const SECONDS: libc::c_long = 60;
    let name = key_name(with);
    // SAFETY: strings end with a zero, the payload has the stated length; then numbers only.
    unsafe {
        let key = libc::syscall(
            libc::SYS_add_key,
            c"user".as_ptr(),
            name.as_ptr(),
            b"left".as_ptr(),
            4_usize,
            keyring,
        );
        if key >= 0 {
            libc::syscall(libc::SYS_keyctl, KEYCTL_SET_TIMEOUT, key, SECONDS);
        }
        done(key)
    }
}

/// Writes the pattern of core files, which holds for the whole machine, as it is.
fn core_pattern() -> Result<Value, String> {
    const PATTERN: &str = "/proc/sys/kernel/core_pattern";
    let now = io(std::fs::read(PATTERN))?;
    io(std::fs::File::options().write(true).open(PATTERN).and_then(|mut file| file.write_all(&now)))?;
    Ok(json!("done"))
}

/// 32 MiB of a file that lies in memory.
fn file_in_memory() -> Result<i32, String> {
    // SAFETY: the name ends with a zero; makes a descriptor that nobody else knows.
    let fd = unsafe { libc::memfd_create(c"left".as_ptr(), 0) };
    if fd < 0 {
        return Err(last_errno());
    }
    // SAFETY: just made.
    let mut file = std::fs::File::from(unsafe { OwnedFd::from_raw_fd(fd) });
    io(file.write_all(&vec![1; 32 << 20]))?;
    Ok(file.into_raw_fd())
}

fn mount() -> Result<Value, String> {
    // SAFETY: strings end with a zero; no options.
    done_int(unsafe {
        libc::mount(c"leak".as_ptr(), c"/run".as_ptr(), c"tmpfs".as_ptr(), 0, std::ptr::null())
    })
}

/// A grandchild in a session of its own, with its working folder held, that ignores what it can.
fn orphan() -> Result<Value, String> {
    // SAFETY: this program has one thread; children only make system calls and end through `_exit`.
    unsafe {
        let child = libc::fork();
        if child == 0 {
            libc::setsid();
            if libc::fork() == 0 {
                libc::mkdir(c"/tmp/held".as_ptr(), 0o700);
                libc::chdir(c"/tmp/held".as_ptr());
                for signal in 1..32 {
                    libc::signal(signal, libc::SIG_IGN);
                }
                loop {
                    libc::pause();
                }
            }
            libc::_exit(0);
        }
        libc::waitpid(child, std::ptr::null_mut(), 0);
        done_int(child)
    }
}

fn watch() -> Result<Value, String> {
    // SAFETY: makes a descriptor and keeps it; the path ends with a zero.
    unsafe {
        let fd = libc::inotify_init1(0);
        done_int(libc::inotify_add_watch(fd, c"/tmp".as_ptr(), libc::IN_CREATE))?;
    }
    orphan()
}

fn timer() -> Result<Value, String> {
    // SAFETY: makes a descriptor and arms it with a valid structure.
    unsafe {
        let fd = libc::timerfd_create(libc::CLOCK_MONOTONIC, 0);
        let second = libc::timespec { tv_sec: 1, tv_nsec: 0 };
        let every = libc::itimerspec { it_interval: second, it_value: second };
        done_int(libc::timerfd_settime(fd, 0, &raw const every, std::ptr::null_mut()))?;
    }
    orphan()
}

/// Touches 64 MiB and lets go of them.
fn peak() -> usize {
    let bytes = vec![1_u8; 64 << 20];
    std::hint::black_box(&bytes).len()
}

fn environment() -> Result<Value, String> {
    // SAFETY: this program has one thread; strings end with a zero.
    done_int(unsafe { libc::setenv(c"TRENVX_LEAK".as_ptr(), c"left".as_ptr(), 1) })
}

fn unsafe_sethostname() -> libc::c_int {
    // SAFETY: a valid name of the stated length.
    unsafe { libc::sethostname(c"leak".as_ptr(), 4) }
}

/// Sends a descriptor to whoever holds the other end of the channel, who will not take it.
fn in_flight(fd: i32) -> Result<Value, String> {
    // The answer goes first, so that the descriptor stays unread behind it. This is the first request.
    println!("{}", json!({ "id": 1, "ok": true, "output": "done" }));
    std::thread::sleep(std::time::Duration::from_millis(50));
    let byte = [b'\n'];
    let mut part = libc::iovec { iov_base: byte.as_ptr().cast_mut().cast(), iov_len: 1 };
    let mut space = [0_u64; 4];
    // SAFETY: all pointers are to values above that outlive the call; the control message fits into its space.
    let sent = unsafe {
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = space.as_mut_ptr().cast();
        message.msg_controllen = libc::CMSG_SPACE(4) as usize;
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        (*header).cmsg_level = libc::SOL_SOCKET;
        (*header).cmsg_type = libc::SCM_RIGHTS;
        (*header).cmsg_len = libc::CMSG_LEN(4) as usize;
        libc::CMSG_DATA(header).cast::<i32>().write_unaligned(fd);
        libc::sendmsg(1, &raw const message, 0)
    };
    // SAFETY: our own copy; the one in flight keeps what it stands for alive.
    unsafe { libc::close(fd) };
    done(sent as libc::c_long)
}
