//! Links, addresses and routes of sandboxes.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::netlink::{Message, Netlink, attributes, i32_at};

const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_INFO_SLAVE_KIND: u16 = 4;
const IFLA_INFO_SLAVE_DATA: u16 = 5;
const IFLA_BRPORT_ISOLATED: u16 = 33;
const VETH_INFO_PEER: u16 = 1;
/// How a link gets an IPv6 address of its own; this: not at all.
const IFLA_INET6_ADDR_GEN_MODE: u16 = 8;
const IN6_ADDR_GEN_MODE_NONE: u8 = 1;
/// There where the kernel has IPv6, which refuses the attribute otherwise.
const IPV6: &str = "/proc/net/if_inet6";
/// Name of the inside end.
pub(crate) const INSIDE: &str = "eth0";

/// `struct ifinfomsg`.
fn link_part(index: i32, up: bool) -> [u8; 16] {
    let mut part = [0; 16];
    part[4..8].copy_from_slice(&index.to_ne_bytes());
    if up {
        part[8..12].copy_from_slice(&(libc::IFF_UP as u32).to_ne_bytes());
        part[12..16].copy_from_slice(&(libc::IFF_UP as u32).to_ne_bytes());
    }
    part
}

/// `struct ifaddrmsg` for an address of the machine or the subnet.
fn address_part(index: i32, prefix: u8) -> [u8; 8] {
    let mut part = [0; 8];
    part[0] = libc::AF_INET as u8;
    part[1] = prefix;
    part[4..8].copy_from_slice(&index.to_ne_bytes());
    part
}

fn named(name: &str) -> Vec<u8> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.push(0);
    bytes
}

fn add_address(index: i32, address: Ipv4Addr, prefix: u8) -> Message {
    let flags = libc::NLM_F_CREATE | libc::NLM_F_EXCL;
    Message::new(libc::RTM_NEWADDR, flags, &address_part(index, prefix))
        .with(libc::IFA_LOCAL, &address.octets())
        .with(libc::IFA_ADDRESS, &address.octets())
}

/// Makes a bridge that is up and has this address; its index.
///
/// It has a link address of its own: else it would have the lowest of its ports', another one whenever ports come and
/// go, and what neighbours know of it would be wrong.
pub(crate) fn make_bridge(route: &mut Netlink, name: &str, address: Ipv4Addr, prefix: u8) -> io::Result<i32> {
    let [_, second, third, fourth] = address.octets();
    // Locally administered, unicast.
    let own = [0x02, b't', b'x', second, third, fourth];
    let make = bridge(name, 0).with(libc::IFLA_ADDRESS, &own);
    route.send(vec![make]).map_err(|(_, error)| error)?;
    let index = index(route, name)?.ok_or_else(|| io::Error::from_raw_os_error(libc::ENODEV))?;
    route.send(vec![add_address(index, address, prefix)]).map_err(|(_, error)| error)?;
    Ok(index)
}

/// Makes a veth pair: `name` here, on the bridge, and [`INSIDE`] in the network namespace; both ends are up. The port is
/// isolated: it reaches the bridge's own address, and no other isolated port. It gets no IPv6 address, which a port has no use
/// for: programs that watch the machine's addresses, such as browsers, break off what they do when these change.
pub(crate) fn make_pair(
    route: &mut Netlink,
    name: &str,
    bridge: i32,
    namespace: BorrowedFd<'_>,
) -> io::Result<()> {
    let namespace = (namespace.as_raw_fd() as u32).to_ne_bytes();
    let inside = [(libc::IFLA_IFNAME, named(INSIDE)), (libc::IFLA_NET_NS_FD, namespace.to_vec())];
    route.send(pair(name, bridge, &inside).into()).map_err(|(_, error)| error)
}

/// A pair on the bridge, then what its port is like, then the port up. `inside`: what is known about the other end.
fn pair(name: &str, bridge: i32, inside: &[(u16, Vec<u8>)]) -> [Message; 3] {
    let flags = libc::NLM_F_CREATE | libc::NLM_F_EXCL;
    let make = Message::new(libc::RTM_NEWLINK, flags, &link_part(0, false))
        .with(libc::IFLA_IFNAME, &named(name))
        .with(libc::IFLA_MASTER, &bridge.to_ne_bytes())
        .with_nested(libc::IFLA_LINKINFO, &[], |info| {
            info.with(IFLA_INFO_KIND, b"veth").with_nested(IFLA_INFO_DATA, &[], |data| {
                data.with_nested(VETH_INFO_PEER, &link_part(0, false), |peer| {
                    inside.iter().fold(peer, |peer, (kind, value)| peer.with(*kind, value))
                })
            })
        });
    // What a port is like can only be said of one that is there, and its addresses come when it goes up.
    let port =
        |up| Message::new(libc::RTM_NEWLINK, 0, &link_part(0, up)).with(libc::IFLA_IFNAME, &named(name));
    let isolate = port(false).with_nested(libc::IFLA_LINKINFO, &[], |info| {
        info.with(IFLA_INFO_SLAVE_KIND, b"bridge")
            .with_nested(IFLA_INFO_SLAVE_DATA, &[], |data| data.with(IFLA_BRPORT_ISOLATED, &[1]))
    });
    let isolate = if std::path::Path::new(IPV6).exists() {
        isolate.with_nested(libc::IFLA_AF_SPEC, &[], |families| {
            families.with_nested(libc::AF_INET6 as u16, &[], |family| {
                family.with(IFLA_INET6_ADDR_GEN_MODE, &[IN6_ADDR_GEN_MODE_NONE])
            })
        })
    } else {
        isolate
    };
    [make, isolate, port(true)]
}

fn bridge(name: &str, index: i32) -> Message {
    let flags = libc::NLM_F_CREATE | libc::NLM_F_EXCL;
    Message::new(libc::RTM_NEWLINK, flags, &link_part(index, true))
        .with(libc::IFLA_IFNAME, &named(name))
        .with_nested(libc::IFLA_LINKINFO, &[], |inside| inside.with(IFLA_INFO_KIND, b"bridge"))
}

/// What the doctor tries in a network namespace of its own: a bridge, a pair on it, the isolation of its port; and the
/// request for it, each part of which is answered in this order.
pub(crate) fn probe() -> ([&'static str; 4], Vec<u8>) {
    const INDEX: i32 = 4242;
    let [make, isolate, up] = pair("trenvx0", INDEX, &[(libc::IFLA_IFNAME, named("trenvx1"))]);
    let mut batch = [bridge("trenvx", INDEX), make, isolate, up];
    let parts = ["make a bridge", "make a veth pair on it", "isolate its port", "bring its port up"];
    (parts, super::netlink::encode(&mut batch, 1))
}

/// Removes a link; one that is not there is as good.
pub(crate) fn remove(route: &mut Netlink, name: &str) -> io::Result<()> {
    let message =
        Message::new(libc::RTM_DELLINK, 0, &link_part(0, false)).with(libc::IFLA_IFNAME, &named(name));
    match route.send(vec![message]) {
        Err((_, error)) if error.raw_os_error() != Some(libc::ENODEV) => Err(error),
        _ => Ok(()),
    }
}

/// Names of all links here.
pub(crate) fn names(route: &mut Netlink) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    route.dump(Message::new(libc::RTM_GETLINK, 0, &link_part(0, false)), |_, body| {
        names.extend(name_of(body));
    })?;
    Ok(names)
}

/// The index of a link, if it is there.
pub(crate) fn index(route: &mut Netlink, name: &str) -> io::Result<Option<i32>> {
    let question =
        Message::new(libc::RTM_GETLINK, 0, &link_part(0, false)).with(libc::IFLA_IFNAME, &named(name));
    match route.ask(question) {
        Ok((_, body)) => Ok(Some(i32_at(&body, 4))),
        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(None),
        Err(error) => Err(error),
    }
}

fn name_of(body: &[u8]) -> Option<String> {
    let (_, name) = attributes(body.get(16..)?).find(|(kind, _)| *kind == libc::IFLA_IFNAME)?;
    Some(String::from_utf8_lossy(name).trim_end_matches('\0').to_owned())
}

/// Inside a new network namespace with its end of the pair: links up, address, way out.
pub(crate) fn set_up(
    route: &mut Netlink,
    address: Ipv4Addr,
    prefix: u8,
    gateway: Ipv4Addr,
) -> io::Result<()> {
    let inside = index(route, INSIDE)?.ok_or_else(|| io::Error::from_raw_os_error(libc::ENODEV))?;
    let mut way_out = [0; 12];
    way_out[0] = libc::AF_INET as u8;
    way_out[4] = libc::RT_TABLE_MAIN;
    way_out[5] = libc::RTPROT_STATIC;
    way_out[6] = libc::RT_SCOPE_UNIVERSE;
    way_out[7] = libc::RTN_UNICAST;
    let flags = libc::NLM_F_CREATE | libc::NLM_F_EXCL;
    route
        .send(vec![
            Message::new(libc::RTM_NEWLINK, 0, &link_part(1, true)),
            add_address(inside, address, prefix),
            Message::new(libc::RTM_NEWLINK, 0, &link_part(inside, true)),
            Message::new(libc::RTM_NEWROUTE, flags, &way_out)
                .with(libc::RTA_GATEWAY, &gateway.octets())
                .with(libc::RTA_OIF, &inside.to_ne_bytes()),
        ])
        .map_err(|(_, error)| error)
}
