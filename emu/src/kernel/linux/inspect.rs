//! Looking at a network namespace from inside: its fingerprint, and the few things that can be put back.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags};

use super::netlink::{Message, Netlink, attributes, i32_at};
use crate::sandbox::fingerprint::{Fingerprint, Hash, Part};

const NFNL_SUBSYS_NFTABLES: u16 = 10;
const NFT_MSG_GETGEN: u16 = 16;
const NFTA_GEN_ID: u16 = 1;
const SOCK_DESTROY: u16 = 21;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
/// `struct inet_diag_sockid` within the request and the answer.
const SOCKET_ID: usize = 48;

/// Groups of announcements: links, neighbours, queues, and addresses, routes and rules of both families, by number.
const NEWS: &[u32] = &[
    libc::RTNLGRP_LINK,
    libc::RTNLGRP_NEIGH,
    libc::RTNLGRP_TC,
    libc::RTNLGRP_IPV4_IFADDR,
    libc::RTNLGRP_IPV4_ROUTE,
    libc::RTNLGRP_IPV4_RULE,
    libc::RTNLGRP_IPV6_IFADDR,
    libc::RTNLGRP_IPV6_ROUTE,
    libc::RTNLGRP_IPV6_RULE,
];

/// Connections of one network namespace, opened once by its init.
#[derive(Debug)]
pub(crate) struct Inspector {
    route: Netlink,
    /// Tells that something has changed.
    news: Netlink,
    /// What the dumps said when they were made last.
    dumped: Option<[(Part, u64); 6]>,
    filter: Option<Netlink>,
    /// A procfs of the host's process numbers.
    proc: OwnedFd,
    /// Files about this namespace, kept open: finding one costs more than reading it.
    socket_counts: Vec<OwnedFd>,
    socket_lists: Vec<OwnedFd>,
    unix_list: OwnedFd,
    iptables: Vec<OwnedFd>,
}

impl Inspector {
    /// For the network namespace that the caller is in.
    pub(crate) fn open(proc: OwnedFd) -> io::Result<Self> {
        let route = Netlink::open(libc::NETLINK_ROUTE)?;
        // A kernel without nftables has no rules of it.
        let filter = Netlink::open(libc::NETLINK_NETFILTER).ok();
        // Some are absent in kernels without what they tell about.
        let files = |names: &[&str]| names.iter().filter_map(|name| open_at(&proc, name).ok()).collect();
        Ok(Self {
            route,
            news: Netlink::subscribe(libc::NETLINK_ROUTE, NEWS)?,
            dumped: None,
            filter,
            socket_counts: files(&["self/net/sockstat", "self/net/sockstat6"]),
            socket_lists: files(&["self/net/packet"]),
            unix_list: open_at(&proc, "self/net/unix")?,
            iptables: files(&["self/net/ip_tables_names", "self/net/ip6_tables_names"]),
            proc,
        })
    }

    /// Its connection for links and routes.
    pub(crate) fn route(&mut self) -> &mut Netlink {
        &mut self.route
    }

    /// Looks at everything; settings only if asked, because they are some hundred files. What the kernel announces changes of
    /// is looked at when it has, or when settings are asked for too: six dumps are most of a look.
    pub(crate) fn look(&mut self, settings: bool) -> io::Result<Fingerprint> {
        let changed = self.news.any()?;
        let dumped = match self.dumped.take() {
            Some(dumped) if !changed && !settings => dumped,
            _ => [
                (Part::Links, self.links()?),
                (Part::Addresses, self.dump(libc::RTM_GETADDR, 8, &[libc::IFA_CACHEINFO])?),
                (Part::Routes, self.dump(libc::RTM_GETROUTE, 12, &[libc::RTA_CACHEINFO])?),
                (Part::Rules, self.dump(libc::RTM_GETRULE, 12, &[])?),
                (Part::Queues, self.queues()?),
                (Part::Neighbours, self.neighbours()?.len() as u64),
            ],
        };
        self.dumped = Some(dumped);
        let mut parts = dumped.to_vec();
        parts.extend([
            (Part::Nftables, self.nftables()?),
            (Part::Iptables, self.iptables()),
            (Part::Sockets, self.sockets()?),
            (Part::UnixSockets, self.unix_sockets()?),
        ]);
        if settings {
            parts.push((Part::Settings, self.settings()?));
        }
        Ok(Fingerprint { parts })
    }

    /// A hash over the answers to a dump, without attributes that change by themselves.
    fn dump(&mut self, kind: u16, fixed: usize, volatile: &[u16]) -> io::Result<u64> {
        let mut hash = Hash::new();
        self.route.dump(Message::new(kind, 0, &vec![0; fixed]), |_, body| {
            if body.len() < fixed {
                return;
            }
            hash.add(&body[..fixed]);
            for (kind, value) in attributes(&body[fixed..]) {
                if !volatile.contains(&kind) {
                    hash.add(&kind.to_ne_bytes());
                    hash.add(value);
                }
            }
        })?;
        Ok(hash.0)
    }

    fn links(&mut self) -> io::Result<u64> {
        const STEADY: [u16; 6] = [
            libc::IFLA_IFNAME,
            libc::IFLA_ADDRESS,
            libc::IFLA_BROADCAST,
            libc::IFLA_MTU,
            libc::IFLA_MASTER,
            libc::IFLA_IFALIAS,
        ];
        let mut hash = Hash::new();
        self.route.dump(Message::new(libc::RTM_GETLINK, 0, &[0; 16]), |_, body| {
            if body.len() < 16 {
                return;
            }
            hash.add(&body[4..8]);
            // Whether the other end is up changes by itself.
            let by_itself = (libc::IFF_RUNNING | 0x1_0000/* IFF_LOWER_UP */) as u32;
            let flags = i32_at(body, 8) as u32 & !by_itself;
            hash.add(&flags.to_ne_bytes());
            for (kind, value) in attributes(&body[16..]).filter(|(kind, _)| STEADY.contains(kind)) {
                hash.add(&kind.to_ne_bytes());
                hash.add(value);
            }
        })?;
        Ok(hash.0)
    }

    fn queues(&mut self) -> io::Result<u64> {
        let mut hash = Hash::new();
        self.route.dump(Message::new(libc::RTM_GETQDISC, 0, &[0; 20]), |_, body| {
            if body.len() < 20 {
                return;
            }
            // Device, handle, parent; the fourth number counts users.
            hash.add(&body[4..16]);
            for (_, value) in attributes(&body[20..]).filter(|(kind, _)| *kind == libc::TCA_KIND) {
                hash.add(value);
            }
        })?;
        Ok(hash.0)
    }

    /// Hardware addresses that were learnt or set: what is needed to forget each.
    fn neighbours(&mut self) -> io::Result<Vec<Message>> {
        const NUD_NOARP: u16 = 0x40;
        let mut found = Vec::new();
        self.route.dump(Message::new(libc::RTM_GETNEIGH, 0, &[0; 12]), |_, body| {
            if body.len() < 12 || u16::from_ne_bytes([body[8], body[9]]) & NUD_NOARP != 0 {
                return;
            }
            let mut fixed = [0; 12];
            fixed.copy_from_slice(&body[..12]);
            let mut message = Message::new(libc::RTM_DELNEIGH, 0, &fixed);
            for (kind, value) in attributes(&body[12..]).filter(|(kind, _)| *kind == libc::NDA_DST) {
                message = message.with(kind, value);
            }
            found.push(message);
        })?;
        Ok(found)
    }

    /// Every change of the rules counts this number on, so an unchanged number is an unchanged set of rules.
    fn nftables(&mut self) -> io::Result<u64> {
        let Some(filter) = &mut self.filter else {
            return Ok(0);
        };
        let kind = (NFNL_SUBSYS_NFTABLES << 8) | NFT_MSG_GETGEN;
        match filter.ask(Message::new(kind, 0, &[libc::AF_UNSPEC as u8, 0, 0, 0])) {
            Ok((_, body)) => {
                let id = attributes(body.get(4..).unwrap_or_default()).find(|(kind, _)| *kind == NFTA_GEN_ID);
                Ok(id.map_or(0, |(_, value)| i32_at(value, 0) as u32 as u64))
            }
            // No such subsystem in this kernel.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(0),
            Err(error) => Err(error),
        }
    }

    fn iptables(&self) -> u64 {
        let mut hash = Hash::new();
        for file in &self.iptables {
            hash.add(&read_again(file).unwrap_or_default());
        }
        hash.0
    }

    /// The number of sockets in use or passing away, over all protocols.
    fn sockets(&self) -> io::Result<u64> {
        let mut sum = 0;
        for file in &self.socket_counts {
            let bytes = read_again(file)?;
            for line in String::from_utf8_lossy(&bytes).lines() {
                let mut words = line.split_whitespace();
                // The first line counts the sockets of the whole namespace, with ours: protocols are enough.
                if words.next() == Some("sockets:") {
                    continue;
                }
                let words: Vec<&str> = words.collect();
                for pair in words.chunks_exact(2) {
                    if matches!(pair[0], "inuse" | "tw") {
                        sum += pair[1].parse::<u64>().unwrap_or(0);
                    }
                }
            }
        }
        for file in &self.socket_lists {
            let bytes = read_again(file)?;
            sum += bytes.iter().filter(|byte| **byte == b'\n').count().saturating_sub(1) as u64;
        }
        Ok(sum)
    }

    fn unix_sockets(&self) -> io::Result<u64> {
        let lines = read_again(&self.unix_list)?;
        Ok(lines.iter().filter(|byte| **byte == b'\n').count().saturating_sub(1) as u64)
    }

    /// A hash over names and contents of every file under `/proc/sys/net`.
    fn settings(&self) -> io::Result<u64> {
        let mut hash = Hash::new();
        let mut folders = vec![String::from("sys/net")];
        while let Some(folder) = folders.pop() {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let opened = rustix::fs::openat(&self.proc, &folder, flags, Mode::empty())?;
            let mut entries: Vec<(String, bool)> = Vec::new();
            for entry in rustix::fs::Dir::read_from(&opened)? {
                let entry = entry?;
                let name = entry.file_name().to_string_lossy().into_owned();
                if name != "." && name != ".." {
                    entries.push((name, entry.file_type() == rustix::fs::FileType::Directory));
                }
            }
            entries.sort();
            for (name, is_folder) in entries {
                let path = format!("{folder}/{name}");
                if is_folder {
                    folders.push(path);
                } else if !BY_THEMSELVES.contains(&name.as_str()) {
                    hash.add(path.as_bytes());
                    // Some can only be written.
                    hash.add(&self.read(&path).unwrap_or_default());
                }
            }
        }
        Ok(hash.0)
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        read_at(self.proc.as_fd(), name)
    }

    /// Whether there is something that [`Self::reset`] can take away.
    pub(crate) fn must_reset(seen: &Fingerprint) -> bool {
        seen.parts.iter().any(|(part, count)| matches!(part, Part::Sockets | Part::Neighbours) && *count != 0)
    }

    /// Ends every socket of the namespace that the function left, and forgets its neighbours.
    pub(crate) fn reset(&mut self) -> io::Result<()> {
        let neighbours = self.neighbours()?;
        if !neighbours.is_empty() {
            // One that goes by itself meanwhile is as good; the fingerprint decides.
            let _ = self.route.send(neighbours);
        }
        if self.sockets()? != 0 {
            for family in [libc::AF_INET, libc::AF_INET6] {
                for protocol in [libc::IPPROTO_TCP, libc::IPPROTO_UDP] {
                    destroy_sockets(family as u8, protocol as u8)?;
                }
            }
        }
        Ok(())
    }
}

/// Settings that the kernel counts on by itself.
const BY_THEMSELVES: [&str; 2] = ["nf_conntrack_count", "random_table_seed"];

/// Destroys the sockets of this network namespace of one family and protocol, whatever their state.
fn destroy_sockets(family: u8, protocol: u8) -> io::Result<()> {
    let mut diagnosis = Netlink::open(libc::NETLINK_SOCK_DIAG)?;
    let request = |id: &[u8]| {
        let mut fixed = vec![family, protocol, 0, 0];
        fixed.extend_from_slice(&u32::MAX.to_ne_bytes());
        fixed.extend_from_slice(id);
        fixed
    };
    let mut found = Vec::new();
    let question = Message::new(SOCK_DIAG_BY_FAMILY, 0, &request(&[0; SOCKET_ID]));
    diagnosis.dump(question, |_, body| {
        if let Some(id) = body.get(4..4 + SOCKET_ID) {
            found.push(Message::new(SOCK_DESTROY, 0, &request(id)));
        }
    })?;
    // A batch must fit into the socket's buffer.
    for batch in found.chunks(256) {
        match diagnosis.send(batch.to_vec()) {
            Err((_, error)) if error.raw_os_error() != Some(libc::ENOENT) => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// The whole of a short file.
pub(crate) fn read_at(folder: impl AsFd, name: &str) -> io::Result<Vec<u8>> {
    read_again(&open_at(folder, name)?)
}

fn open_at(folder: impl AsFd, name: &str) -> io::Result<OwnedFd> {
    Ok(rustix::fs::openat(folder, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
}

/// The whole of a short open file of the kernel's, as it is now.
pub(crate) fn read_again(file: &OwnedFd) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    loop {
        match rustix::io::pread(file, &mut piece, bytes.len() as u64)? {
            0 => return Ok(bytes),
            got => bytes.extend_from_slice(&piece[..got]),
        }
    }
}
