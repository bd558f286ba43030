//! Signals as orders for the pool daemon: `SIGTERM` and `SIGINT` end it, `SIGUSR1` makes it take back its keys.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use super::rdma::server::Order;

/// Watches for signals. They are blocked for this thread and those that it starts later.
#[derive(Debug)]
pub struct Orders {
    fd: OwnedFd,
}

impl Orders {
    /// Begins to watch.
    ///
    /// # Errors
    /// If the signals cannot be blocked or watched.
    pub fn new() -> io::Result<Self> {
        let mut set = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: the set is filled by `sigemptyset` before anything reads it; the descriptor is new and ours.
        unsafe {
            libc::sigemptyset(set.as_mut_ptr());
            for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGUSR1] {
                libc::sigaddset(set.as_mut_ptr(), signal);
            }
            let blocked = libc::pthread_sigmask(libc::SIG_BLOCK, set.as_ptr(), std::ptr::null_mut());
            if blocked != 0 {
                return Err(io::Error::from_raw_os_error(blocked));
            }
            let fd = libc::signalfd(-1, set.as_ptr(), libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(Self { fd: OwnedFd::from_raw_fd(fd) })
        }
    }

    /// Can be read when there is an order.
    #[must_use]
    pub fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    /// The next order, if there is one.
    #[must_use]
    pub fn next(&self) -> Option<Order> {
        let mut info = MaybeUninit::<libc::signalfd_siginfo>::zeroed();
        let size = size_of::<libc::signalfd_siginfo>();
        // SAFETY: the place has so many bytes, and every pattern of them is a value.
        let (got, info) = unsafe {
            let got = libc::read(self.fd.as_raw_fd(), info.as_mut_ptr().cast(), size);
            (got, info.assume_init())
        };
        if usize::try_from(got) != Ok(size) {
            return None;
        }
        Some(if info.ssi_signo == libc::SIGUSR1 as u32 { Order::Rekey } else { Order::End })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_become_orders() {
        let orders = Orders::new().unwrap();
        assert_eq!(orders.next(), None);
        for (signal, order) in [(libc::SIGUSR1, Order::Rekey), (libc::SIGTERM, Order::End)] {
            // SAFETY: the signal is blocked for this thread, so it only becomes readable.
            assert_eq!(unsafe { libc::pthread_kill(libc::pthread_self(), signal) }, 0);
            assert_eq!(orders.next(), Some(order));
        }
    }
}
