//! Names of what we make in the kernel, so that each thing can be told to be ours, and whose.
//!
//! A manager has an id: its process number in hexadecimal digits and a letter from `g` to `z`, because a
//! process may hold several managers. Everything that outlives a killed manager carries the id in its name:
//!
//! | thing | name |
//! |---|---|
//! | lock, held as long as the manager lives | `/run/trenvx/ID.lock` |
//! | socket of the one whose sandboxes outlive a command | `/run/trenvx/sandboxes.sock` |
//! | folder with the layer that belongs to the manager | `/run/trenvx/ID/` |
//! | cgroup of all its processes, in every hierarchy | `trenvx-ID/`, inside `inits/` and `sN/` |
//! | bridge | `tvIDb` |
//! | host end of the veth pair of network N | `tvIDsN`, N in hexadecimal digits |
//!
//! Network namespaces, mounts and roots have no names: they are held by descriptors and go with the last
//! process that holds one.

use std::path::PathBuf;

/// Where locks and folders of managers lie.
pub const RUN: &str = "/run/trenvx";
/// Where the manager of the sandboxes that stay is asked (`trenvx emu sandbox`); its label is as every other's.
pub const SOCKET: &str = "/run/trenvx/sandboxes.sock";
/// How the cgroup of a manager begins.
const CGROUP: &str = "trenvx-";
/// How links begin.
const LINK: &str = "tv";

/// The label of one manager.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label(String);

impl Label {
    /// Of manager number `nth` of process `pid`; `None` beyond the letters that there are.
    #[must_use]
    pub fn new(pid: u32, nth: u32) -> Option<Self> {
        let letter = char::from(b'g'.checked_add(u8::try_from(nth).ok()?)?);
        (letter <= 'z').then(|| Self(format!("{pid:x}{letter}")))
    }

    /// From an id, if it is one.
    #[must_use]
    pub fn parse(id: &str) -> Option<Self> {
        let (digits, letter) = id.split_at_checked(id.len().checked_sub(1)?)?;
        let hexadecimal = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
        let one = matches!(letter.as_bytes(), [b'g'..=b'z']);
        (one && !digits.is_empty() && digits.len() <= 6 && digits.chars().all(hexadecimal))
            .then(|| Self(id.to_owned()))
    }

    /// Whether a manager of that process has it.
    #[must_use]
    pub fn is_of(&self, pid: u32) -> bool {
        self.0[..self.0.len() - 1] == format!("{pid:x}")
    }

    /// The id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.0
    }

    /// The lock.
    #[must_use]
    pub fn lock(&self) -> PathBuf {
        PathBuf::from(RUN).join(format!("{}.lock", self.0))
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        PathBuf::from(RUN).join(&self.0)
    }

    /// The cgroup of everything.
    #[must_use]
    pub fn cgroup(&self) -> String {
        format!("{CGROUP}{}", self.0)
    }

    /// The bridge.
    #[must_use]
    pub fn bridge(&self) -> String {
        format!("{LINK}{}b", self.0)
    }

    /// The host end of network `number`.
    #[must_use]
    pub fn link(&self, number: u32) -> String {
        format!("{LINK}{}s{number:x}", self.0)
    }

    /// Whose a cgroup is, by its name.
    #[must_use]
    pub fn of_cgroup(name: &str) -> Option<Self> {
        Self::parse(name.strip_prefix(CGROUP)?)
    }

    /// Whose a link is, by its name.
    #[must_use]
    pub fn of_link(name: &str) -> Option<Self> {
        let rest = name.strip_prefix(LINK)?;
        let end = rest.find(|c: char| ('g'..='z').contains(&c))? + 1;
        let (id, kind) = rest.split_at(end);
        let number = kind.strip_prefix('s').map(|digits| u32::from_str_radix(digits, 16).is_ok());
        (kind == "b" || number == Some(true)).then(|| Self::parse(id))?
    }

    /// Whose a file in [`RUN`] is, by its name.
    #[must_use]
    pub fn of_file(name: &str) -> Option<Self> {
        Self::parse(name.strip_suffix(".lock").unwrap_or(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_to_their_label() {
        let label = Label::new(0x3f_ffff, 19).unwrap();
        assert_eq!(label.id(), "3fffffz");
        assert_eq!(Label::of_cgroup(&label.cgroup()), Some(label.clone()));
        assert_eq!(Label::of_link(&label.bridge()), Some(label.clone()));
        assert_eq!(Label::of_link(&label.link(0xffff)), Some(label.clone()));
        assert_eq!(Label::of_file("3fffffz.lock"), Some(label.clone()));
        // The kernel takes 15 characters.
        assert!(label.link(0xfffff).len() <= 15, "{}", label.link(0xfffff));
    }

    #[test]
    fn names_of_others_are_nobodys() {
        for name in ["tv", "tvb", "tunl0", "tv12b", "tv12gs", "tv12gsx", "tv12gb0", "eth0", "tvGgb"] {
            assert_eq!(Label::of_link(name), None, "{name}");
        }
        assert_eq!(Label::of_cgroup("trenvx-doctor-12"), None);
        assert_eq!(Label::of_cgroup("system.slice"), None);
        assert_eq!(Label::new(1, 20), None);
    }
}
