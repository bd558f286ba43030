//! Template pages of another host, read by RDMA.
//!
//! * [`server`] is the pool daemon: it registers memory and lets clients in. It takes no part in a read: the
//!   network card (or, with an emulated one, the kernel) answers.
//! * [`client`] connects and reads pages, several at a time, and waits for them.
//! * [`line`](mod@line) does the same for who must not wait: the page server.
//! * `verbs` is the seam to the two system libraries; [`hello`] what both sides say when they connect.
//!
//! A client may read what the registrations of its template cover and nothing else; the card checks that, by bounds
//! and by protection domains, of which each template has its own. A registration is known by
//! a key that is made anew by every start of the daemon and whenever it is told to (`SIGUSR1`): who has an old key
//! is cut off and has to connect again, which takes the pool's own key, a secret of 16 bytes.

pub mod client;
mod events;
pub mod hello;
pub mod line;
pub mod server;
mod session;
mod verbs;

pub use client::{Attempt, Client, Remote};
pub use hello::Key;
pub use server::{Server, ServerError};

/// Whether the libraries for RDMA can be loaded. That says nothing of a device.
///
/// # Errors
/// If one of them, or a function in it, is missing.
pub fn libraries() -> std::io::Result<()> {
    verbs::verbs().map(|_| ())
}
