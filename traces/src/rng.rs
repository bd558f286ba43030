//! Randomness with an address: every consumer draws from its own named stream of one seed.
//!
//! A stream depends on the seed, its name and its index only, so a consumer that draws more, or a
//! new consumer, never changes what another one draws (common random numbers).

use rand::{Rng, SeedableRng};
pub use rand_xoshiro::Xoshiro256PlusPlus;

/// All random streams of one seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Streams {
    seed: u64,
}

impl Streams {
    /// The streams of `seed`.
    pub const fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// The seed.
    pub const fn seed(&self) -> u64 {
        self.seed
    }

    /// Streams of their own for part `index` of what is called `name`: as unrelated to these as those
    /// of another seed.
    pub fn within(&self, name: &str, index: u64) -> Self {
        use rand::Rng as _;
        Self::new(self.stream(name, index).next_u64())
    }

    /// The stream called `name`, number `index`: a xoshiro256++ generator whose 32 bytes of state
    /// are the BLAKE3 hash of seed, name and index.
    pub fn stream(&self, name: &str, index: u64) -> Xoshiro256PlusPlus {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"trenvx stream\0");
        hasher.update(&self.seed.to_le_bytes());
        hasher.update(&(name.len() as u64).to_le_bytes());
        hasher.update(name.as_bytes());
        hasher.update(&index.to_le_bytes());
        Xoshiro256PlusPlus::from_seed(*hasher.finalize().as_bytes())
    }
}

/// A whole number uniform in `0..n`, by one multiplication (its bias, n / 2^64, is far below what
/// any experiment here can see).
pub fn below(rng: &mut impl Rng, n: u64) -> u64 {
    ((u128::from(rng.next_u64()) * u128::from(n)) >> 64) as u64
}

/// Finaliser of SplitMix64: spreads a small integer over 64 bits.
pub const fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A number uniform in `[0, 1)`, with 53 random bits.
pub fn unit(rng: &mut impl Rng) -> f64 {
    (rng.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
}

/// A Poisson number with a small mean (by inversion: expected time proportional to the mean).
pub(crate) fn small_poisson(rng: &mut impl Rng, mean: f64) -> u32 {
    let mut term = (-mean).exp();
    let mut rest = unit(rng) - term;
    let mut k = 0;
    while rest >= 0.0 && k < 1000 {
        k += 1;
        term *= mean / f64::from(k);
        rest -= term;
    }
    k
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_depends_on_seed_name_and_index_and_on_nothing_else() {
        let first = |seed, name, index| Streams::new(seed).stream(name, index).next_u64();
        let here = first(1, "arrivals/f", 0);
        assert_eq!(here, first(1, "arrivals/f", 0));
        for other in [first(2, "arrivals/f", 0), first(1, "arrivals/g", 0), first(1, "arrivals/f", 1)] {
            assert_ne!(here, other);
        }
    }

    #[test]
    fn the_first_draw_of_a_known_stream_never_changes() {
        assert_eq!(Streams::new(7).stream("example", 3).next_u64(), 13_127_192_537_232_849_267);
    }

    #[test]
    fn small_poisson_numbers_have_their_mean_and_variance() {
        let mut rng = Streams::new(3).stream("poisson", 0);
        let draws: Vec<f64> = (0..100_000).map(|_| f64::from(small_poisson(&mut rng, 2.5))).collect();
        let mean = draws.iter().sum::<f64>() / draws.len() as f64;
        let variance = draws.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / draws.len() as f64;
        assert!((mean - 2.5).abs() < 0.03 && (variance - 2.5).abs() < 0.06, "{mean} {variance}");
    }
}
