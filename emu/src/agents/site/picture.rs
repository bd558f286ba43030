//! Pictures: PNG files that are drawn from a number, for a browser to decode and keep.

use std::io::Write;

use flate2::{Compression, Crc, write::ZlibEncoder};

/// The largest side, pixels.
const SIDE: u32 = 2048;

/// The picture called `NUMBER-WIDTHxHEIGHT.png`.
pub(super) fn named(name: &str) -> Option<Vec<u8>> {
    let (number, size) = name.strip_suffix(".png")?.split_once('-')?;
    let (width, height) = size.split_once('x')?;
    let (number, width, height): (u32, u32, u32) =
        (number.parse().ok()?, width.parse().ok()?, height.parse().ok()?);
    let fits = |side| (1..=SIDE).contains(&side);
    (fits(width) && fits(height)).then(|| png(width, height, |x, y| colour(number, x, y)))
}

/// Rings and stripes whose distances follow from the number.
fn colour(number: u32, x: u32, y: u32) -> [u8; 3] {
    let mix = number.wrapping_mul(2_654_435_761);
    let (a, b, c) = (mix % 13 + 3, mix / 13 % 17 + 5, mix / 221 % 200);
    let ring = x.abs_diff(c).wrapping_pow(2).wrapping_add(y.abs_diff(c).wrapping_pow(2)) / (64 * a);
    [(x * a / 4 + ring) as u8, (y * b / 4 + ring) as u8, (ring * 3 + mix % 97) as u8]
}

fn png(width: u32, height: u32, colour: impl Fn(u32, u32) -> [u8; 3]) -> Vec<u8> {
    let mut rows = Vec::with_capacity((height * (1 + 3 * width)) as usize);
    for y in 0..height {
        rows.push(0); // no filter
        for x in 0..width {
            rows.extend_from_slice(&colour(x, y));
        }
    }
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    // Writing to memory does not fail.
    let pixels = encoder.write_all(&rows).and_then(|()| encoder.finish()).unwrap_or_default();
    let mut header = Vec::new();
    header.extend_from_slice(&width.to_be_bytes());
    header.extend_from_slice(&height.to_be_bytes());
    header.extend_from_slice(&[8, 2, 0, 0, 0]); // eight bits, red green blue, not interlaced
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    for (kind, data) in [(b"IHDR", header), (b"IDAT", pixels), (b"IEND", Vec::new())] {
        let mut crc = Crc::new();
        crc.update(kind);
        crc.update(&data);
        file.extend_from_slice(&(data.len() as u32).to_be_bytes());
        file.extend_from_slice(kind);
        file.extend_from_slice(&data);
        file.extend_from_slice(&crc.sum().to_be_bytes());
    }
    file
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn a_picture_has_its_size_and_unpacks_to_all_its_pixels() {
        let file = named("7-40x30.png").unwrap();
        assert_eq!(&file[16..24], [0, 0, 0, 40, 0, 0, 0, 30]);
        let length = u32::from_be_bytes(file[33..37].try_into().unwrap()) as usize;
        let mut rows = Vec::new();
        flate2::read::ZlibDecoder::new(&file[41..41 + length]).read_to_end(&mut rows).unwrap();
        assert_eq!(rows.len(), 30 * (1 + 3 * 40));
        assert_ne!(file, named("8-40x30.png").unwrap());
    }

    #[test]
    fn what_is_no_picture_has_none() {
        for name in ["7.png", "7-40x30.jpg", "7-0x30.png", "7-40x99999.png", "x-1x1.png"] {
            assert_eq!(named(name), None, "{name}");
        }
    }
}
