//! The page server: fills faults of attached templates through userfaultfd.
//!
//! A process whose memory is (partly) a template has ranges without pages. What it touches there becomes a fault,
//! which a thread of the [server](server::Server) answers with the template's page: copied into the process
//! ([`Mode::Private`](messages::Mode), as published), or mapped from a cache that all processes of the template
//! share. Managers talk to the server through a [`Client`].
//!
//! * [`uffd`] is the kernel's interface, and the only file that knows it; [`pagemap`] tells what was written;
//!   [`memory`] are mappings.
//! * [`source`]: where pages come from; [`export`] gives them away to other machines.
//! * [`layout`]: which page belongs at which address, while processes change their memory; [`cache`] what has been
//!   fetched for all; [`working_set`] what was touched first.
//! * [`server`], [`client`], [`messages`]: the server, a manager's side of it, and what they say to each other.
//! * [`stats`], [`metrics`]: what is counted, and how it is told.
//! * [`lab`]: processes that fault on purpose, for benches, soaks and tests.
//!
//! Rules that everything here keeps:
//! * A wrong page is never installed. What comes from elsewhere is compared with the template's table first; a
//!   process whose page cannot be had is killed, and its manager hears why.
//! * Nobody waits for ever. Who is killed while it waits leaves nothing; when the server is gone, its processes are
//!   killed by their managers, which hold a reference to every userfaultfd, so that nobody reads zeros meanwhile.
//! * One gap is left: a child that a process forks in the moment when the server is killed, between the kernel's
//!   handing its descriptor over and the manager's getting a copy, reads zeros until its sandbox is ended, too.

pub mod cache;
pub mod client;
pub mod export;
pub mod lab;
pub mod layout;
pub mod memory;
pub mod messages;
pub mod metrics;
pub mod pagemap;
pub mod server;
pub mod source;
pub mod stats;
pub mod uffd;
pub mod working_set;

pub use client::{Attachment, Client, ClientError, Fate};
pub use layout::Region;
pub use messages::{Mode, Options, Prefetch};
pub use server::{ALONE, Config, Placement, Server};
