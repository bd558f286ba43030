//! What client and pool say to each other when they connect, in the private data of the connection manager.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

const MAGIC: &[u8; 8] = b"trenvxRP";
const VERSION: u32 = 1;

/// A pool's secret: who knows it may read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Key([u8; 16]);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

impl Key {
    /// From its bytes.
    #[must_use]
    pub fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The key in a file of 32 hexadecimal digits.
    ///
    /// # Errors
    /// If it cannot be read or holds something else.
    pub fn read(path: &Path) -> io::Result<Self> {
        let text = fs::read_to_string(path)?;
        let text = text.trim().as_bytes();
        let wrong = || io::Error::new(io::ErrorKind::InvalidData, "a key is 32 hexadecimal digits");
        let mut bytes = [0; 16];
        if text.len() != 32 {
            return Err(wrong());
        }
        for (byte, digits) in bytes.iter_mut().zip(text.chunks(2)) {
            let digits = std::str::from_utf8(digits).map_err(|_| wrong())?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| wrong())?;
        }
        Ok(Self(bytes))
    }

    /// The key in a file; if there is no such file, a new key is written to it, for its owner's eyes only.
    ///
    /// # Errors
    /// If it cannot be read or written.
    pub fn read_or_make(path: &Path) -> io::Result<Self> {
        let mut file = match File::options().write(true).create_new(true).mode(0o600).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Self::read(path),
            Err(error) => return Err(error),
        };
        let mut bytes = [0; 16];
        File::open("/dev/urandom")?.read_exact(&mut bytes)?;
        let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        writeln!(file, "{digits}")?;
        Ok(Self(bytes))
    }

    /// Compares in a time that does not depend on where they differ.
    fn is(&self, other: &[u8]) -> bool {
        let differences = self.0.iter().zip(other).map(|(a, b)| a ^ b);
        other.len() == 16 && differences.fold(0, |all, one| all | one) == 0
    }
}

/// Why a pool lets somebody not in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It did not say hello as we do.
    Stranger,
    /// Wrong secret.
    Key,
    /// Its address is not on the list.
    Peer,
    /// No such template.
    Template,
    /// Too many clients.
    Full,
}

impl Refusal {
    const ALL: [Self; 5] = [Self::Stranger, Self::Key, Self::Peer, Self::Template, Self::Full];

    /// The byte that says so.
    pub(super) fn code(self) -> u8 {
        Self::ALL.iter().position(|one| *one == self).unwrap_or_default() as u8 + 1
    }

    /// What a byte says.
    pub(super) fn of(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code).checked_sub(1)?).copied()
    }

    /// For people.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::Stranger => "the pool does not know this protocol or version",
            Self::Key => "the pool has another key",
            Self::Peer => "the pool does not serve this address",
            Self::Template => "the pool has no such template",
            Self::Full => "the pool has as many clients as it takes",
        }
    }
}

/// A client's first words: magic, version, key, first half of the template's root hash.
pub(super) fn request(key: Key, root: &[u8; 32]) -> [u8; 44] {
    let mut bytes = [0; 44];
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
    bytes[12..28].copy_from_slice(&key.0);
    bytes[28..].copy_from_slice(&root[..16]);
    bytes
}

/// The half of a root hash that a client asks for, if it may ask. The connection manager may add zeros behind.
pub(super) fn check_request(bytes: &[u8], key: Key) -> Result<[u8; 16], Refusal> {
    let bytes = bytes.get(..44).ok_or(Refusal::Stranger)?;
    if &bytes[..8] != MAGIC || bytes[8..12] != VERSION.to_le_bytes() {
        return Err(Refusal::Stranger);
    }
    if !key.is(&bytes[12..28]) {
        return Err(Refusal::Key);
    }
    Ok(bytes[28..].try_into().expect("16 bytes"))
}

/// Where a template lies in the pool's memory, and the keys for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Address of the first page.
    pub pages_at: u64,
    /// Key for the pages.
    pub pages_key: u32,
    /// How many there are.
    pub pages: u64,
    /// Address of the table of hashes.
    pub table_at: u64,
    /// Key for the table.
    pub table_key: u32,
    /// The root hash of the table.
    pub root: [u8; 32],
}

impl Offer {
    pub(super) fn bytes(&self) -> [u8; 76] {
        let mut bytes = [0; 76];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..20].copy_from_slice(&self.pages_at.to_le_bytes());
        bytes[20..24].copy_from_slice(&self.pages_key.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.pages.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.table_at.to_le_bytes());
        bytes[40..44].copy_from_slice(&self.table_key.to_le_bytes());
        bytes[44..].copy_from_slice(&self.root);
        bytes
    }

    pub(super) fn of(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..76)?;
        if &bytes[..8] != MAGIC || bytes[8..12] != VERSION.to_le_bytes() {
            return None;
        }
        let long = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        let short = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        Some(Self {
            pages_at: long(12),
            pages_key: short(20),
            pages: long(24),
            table_at: long(32),
            table_key: short(40),
            root: bytes[44..].try_into().expect("32 bytes"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_knows_the_key_may_ask() {
        let key = Key::new(*b"0123456789abcdef");
        let request = request(key, &[7; 32]);
        assert_eq!(check_request(&request, key), Ok([7; 16]));
        assert_eq!(check_request(&request, Key::new([0; 16])), Err(Refusal::Key));
        assert_eq!(check_request(&request[..43], key), Err(Refusal::Stranger));
        assert_eq!(
            check_request(b"GET / HTTP/1.0\r\n\r\n..........................", key),
            Err(Refusal::Stranger)
        );
        let padded = [&request[..], &[0; 12]].concat();
        assert_eq!(check_request(&padded, key), Ok([7; 16]));
    }

    #[test]
    fn an_offer_comes_back_as_it_was() {
        let offer =
            Offer { pages_at: 1 << 40, pages_key: 2, pages: 3, table_at: 4, table_key: 5, root: [6; 32] };
        assert_eq!(Offer::of(&offer.bytes()), Some(offer));
        assert_eq!(Offer::of(&offer.bytes()[..75]), None);
        assert_eq!(Offer::of(&[0; 196]), None);
    }

    #[test]
    fn refusals_have_codes_of_their_own() {
        for refusal in Refusal::ALL {
            assert_eq!(Refusal::of(refusal.code()), Some(refusal));
        }
        assert_eq!((Refusal::of(0), Refusal::of(99)), (None, None));
    }

    #[test]
    fn a_key_is_made_once_and_for_its_owner() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let key = Key::read_or_make(&path).unwrap();
        assert_eq!(Key::read_or_make(&path).unwrap(), key);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::write(&path, "short").unwrap();
        assert_eq!(Key::read(&path).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
