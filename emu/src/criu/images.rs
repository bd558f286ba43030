//! The format of CRIU's image files: two magic numbers of 32 bits, then messages (protocol buffers), each behind its
//! length. What is not known of a message is kept as it is.

use std::fs;
use std::path::Path;

use super::Error;

/// One image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Image {
    /// Both magic numbers.
    magic: [u8; 8],
    pub(super) messages: Vec<Message>,
}

/// Kinds of images, by their second magic number.
pub(super) const MM: u32 = 0x5749_2820;
pub(super) const PAGEMAP: u32 = 0x5608_4025;
pub(super) const FILES: u32 = 0x5630_3138;
/// The first of most images since CRIU 2.
const COMMON: u32 = 0x5456_4319;

impl Image {
    /// Reads an image of this kind.
    pub(super) fn read(path: &Path, kind: u32) -> Result<Self, Error> {
        let bytes = fs::read(path).map_err(|why| wrong(path, &why.to_string()))?;
        let image = Self::parse(&bytes).ok_or_else(|| wrong(path, "it ends within a message"))?;
        let number = |at: usize| u32::from_le_bytes(image.magic[at..at + 4].try_into().expect("four bytes"));
        if (number(0), number(4)) == (COMMON, kind) {
            Ok(image)
        } else {
            Err(wrong(path, &format!("its numbers are {:x} and {:x}", number(0), number(4))))
        }
    }

    fn parse(mut bytes: &[u8]) -> Option<Self> {
        let magic = bytes.split_off(..8)?.try_into().ok()?;
        let mut messages = Vec::new();
        while !bytes.is_empty() {
            let length = u32::from_le_bytes(bytes.split_off(..4)?.try_into().ok()?);
            messages.push(Message::parse(bytes.split_off(..length as usize)?)?);
        }
        Some(Self { magic, messages })
    }

    /// Writes it.
    pub(super) fn write(&self, path: &Path) -> Result<(), Error> {
        fs::write(path, self.bytes()).map_err(|why| wrong(path, &why.to_string()))
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.magic.to_vec();
        for message in &self.messages {
            let message = message.bytes();
            bytes.extend((message.len() as u32).to_le_bytes());
            bytes.extend(message);
        }
        bytes
    }
}

/// An error about an image.
pub(super) fn wrong(path: &Path, what: &str) -> Error {
    let image = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    Error::Image { image, what: what.to_owned() }
}

/// The fields of a message, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Message {
    fields: Vec<(u32, Value)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Value {
    Number(u64),
    Eight([u8; 8]),
    Bytes(Vec<u8>),
    Four([u8; 4]),
}

impl Message {
    pub(super) fn parse(mut bytes: &[u8]) -> Option<Self> {
        let mut fields = Vec::new();
        while !bytes.is_empty() {
            let key = number(&mut bytes)?;
            let value = match key & 7 {
                0 => Value::Number(number(&mut bytes)?),
                1 => Value::Eight(bytes.split_off(..8)?.try_into().ok()?),
                2 => {
                    let length = usize::try_from(number(&mut bytes)?).ok()?;
                    Value::Bytes(bytes.split_off(..length)?.to_vec())
                }
                5 => Value::Four(bytes.split_off(..4)?.try_into().ok()?),
                _ => return None,
            };
            fields.push((u32::try_from(key >> 3).ok()?, value));
        }
        Some(Self { fields })
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let put = |bytes: &mut Vec<u8>, mut value: u64| {
            while value > 0x7f {
                bytes.push(value as u8 | 0x80);
                value >>= 7;
            }
            bytes.push(value as u8);
        };
        for (field, value) in &self.fields {
            let key = u64::from(*field) << 3;
            match value {
                Value::Number(value) => {
                    put(&mut bytes, key);
                    put(&mut bytes, *value);
                }
                Value::Eight(eight) => {
                    put(&mut bytes, key | 1);
                    bytes.extend(eight);
                }
                Value::Bytes(inner) => {
                    put(&mut bytes, key | 2);
                    put(&mut bytes, inner.len() as u64);
                    bytes.extend(inner);
                }
                Value::Four(four) => {
                    put(&mut bytes, key | 5);
                    bytes.extend(four);
                }
            }
        }
        bytes
    }

    /// The number of a field, if it is there.
    pub(super) fn number(&self, field: u32) -> Option<u64> {
        self.fields.iter().find_map(|(name, value)| match value {
            Value::Number(number) if *name == field => Some(*number),
            _ => None,
        })
    }

    /// The bytes of all fields of this number: strings, or messages in the message.
    pub(super) fn inner(&self, field: u32) -> impl Iterator<Item = &[u8]> {
        self.fields.iter().filter_map(move |(name, value)| match value {
            Value::Bytes(bytes) if *name == field => Some(bytes.as_slice()),
            _ => None,
        })
    }

    /// Sets a number, where the field is or at the end.
    pub(super) fn set(&mut self, field: u32, number: u64) {
        self.put(field, Value::Number(number));
    }

    /// Sets bytes, where the field is or at the end.
    pub(super) fn set_inner(&mut self, field: u32, bytes: Vec<u8>) {
        self.put(field, Value::Bytes(bytes));
    }

    fn put(&mut self, field: u32, value: Value) {
        match self.fields.iter_mut().find(|(name, _)| *name == field) {
            Some((_, there)) => *there = value,
            None => self.fields.push((field, value)),
        }
    }

    /// Takes a field away, however often it is there.
    pub(super) fn remove(&mut self, field: u32) {
        self.fields.retain(|(name, _)| *name != field);
    }

    /// Changes each message in a field of this number; `false` if one of them is none.
    pub(super) fn change_inner(&mut self, field: u32, mut change: impl FnMut(&mut Self)) -> bool {
        self.fields.iter_mut().all(|(name, value)| {
            let Value::Bytes(bytes) = value else { return true };
            if *name != field {
                return true;
            }
            let Some(mut inner) = Self::parse(bytes) else { return false };
            change(&mut inner);
            *bytes = inner.bytes();
            true
        })
    }
}

/// A number of seven bits a byte, the lowest first.
fn number(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = bytes.split_off_first()?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Field 1: 300; field 2: "ab"; field 3: four bytes; field 4: eight.
    const MESSAGE: &[u8] = &[8, 0xac, 2, 0x12, 2, b'a', b'b', 0x1d, 1, 2, 3, 4, 0x21, 1, 2, 3, 4, 5, 6, 7, 8];

    #[test]
    fn messages_come_back_as_they_were() {
        let message = Message::parse(MESSAGE).unwrap();
        assert_eq!(message.number(1), Some(300));
        assert_eq!(message.inner(2).collect::<Vec<_>>(), [b"ab"]);
        assert_eq!(message.bytes(), MESSAGE);
        for cut in [1, 4, 6, 9, 15] {
            assert_eq!(Message::parse(&MESSAGE[..cut]), None, "{cut}");
        }
    }

    #[test]
    fn fields_change_in_their_place_and_new_ones_come_last() {
        let mut message = Message::parse(MESSAGE).unwrap();
        message.set(1, 1);
        message.set(9, u64::MAX);
        message.remove(3);
        message.remove(4);
        message.set_inner(2, vec![8, 5]);
        assert!(message.change_inner(2, |inner| inner.set(1, 6)));
        let bytes = [8, 1, 0x12, 2, 8, 6, 0x48, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1];
        assert_eq!(message.bytes(), bytes);
    }

    #[test]
    fn an_image_is_read_as_what_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mm-1.img");
        let mut bytes = [COMMON.to_le_bytes(), MM.to_le_bytes()].concat();
        bytes.extend((MESSAGE.len() as u32).to_le_bytes());
        bytes.extend(MESSAGE);
        fs::write(&path, &bytes).unwrap();
        let image = Image::read(&path, MM).unwrap();
        assert_eq!((image.messages.len(), image.bytes()), (1, bytes.clone()));
        assert!(
            Image::read(&path, FILES)
                .unwrap_err()
                .to_string()
                .starts_with("mm-1.img: its numbers are 54564319")
        );
        fs::write(&path, &bytes[..20]).unwrap();
        assert!(Image::read(&path, MM).unwrap_err().to_string().ends_with("within a message"));
    }
}
