//! A latency distribution in a fraction of its memory: a sweep keeps those of all its runs.

use platform::records::Distribution;

/// The buckets of a [`Distribution`], each value as its distance from the one before, in bytes of seven bits (LEB128):
/// two or three bytes a bucket where the distribution itself takes sixteen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Packed {
    bytes: Box<[u8]>,
    sum_us: u64,
}

impl Packed {
    pub fn of(distribution: &Distribution) -> Self {
        let mut bytes = Vec::with_capacity(distribution.buckets.len() * 3);
        let mut before = 0;
        for &(value, n) in &distribution.buckets {
            push(&mut bytes, value - before);
            push(&mut bytes, n);
            before = value;
        }
        Self { bytes: bytes.into_boxed_slice(), sum_us: distribution.sum_us }
    }

    pub fn unpacked(&self) -> Distribution {
        let mut bytes = self.bytes.iter().copied();
        let mut value = 0;
        let buckets = std::iter::from_fn(|| {
            value += next(&mut bytes)?;
            Some((value, next(&mut bytes)?))
        });
        Distribution { buckets: buckets.collect(), sum_us: self.sum_us }
    }
}

fn push(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn next(bytes: &mut impl Iterator<Item = u8>) -> Option<u64> {
    let mut number = 0;
    for shift in (0..u64::BITS).step_by(7) {
        let byte = bytes.next()?;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            break;
        }
    }
    Some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_lost() {
        let buckets = vec![(0, 1), (127, 128), (128, u64::MAX), (1 << 40, 3), (u64::MAX, 1)];
        for buckets in [vec![], vec![(0, 7)], buckets] {
            let distribution = Distribution { buckets, sum_us: 12_345 };
            assert_eq!(Packed::of(&distribution).unpacked(), distribution);
        }
    }

    #[test]
    fn a_bucket_takes_a_few_bytes() {
        // 1 part in 128, as histograms keep them.
        let values = std::iter::successors(Some(256u64), |v| Some(v + v.div_ceil(128)));
        let buckets: Vec<_> = values.take(2000).map(|v| (v, 100)).collect();
        let packed = Packed::of(&Distribution { buckets, sum_us: 0 });
        assert!(packed.bytes.len() < 2000 * 5, "{} bytes", packed.bytes.len());
    }
}
