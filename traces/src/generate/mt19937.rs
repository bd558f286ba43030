//! The Mersenne Twister as CPython's `random` module uses it: needed to redraw the burst sizes of
//! workload W1 exactly as its authors' generator does, and for nothing else.
//!
//! Source: Matsumoto and Nishimura, "Mersenne Twister", ACM TOMACS 8(1), 1998; seeding by array
//! from their 2002 revision; normal variates by Kinderman and Monahan, ACM TOMS 3(3), 1977.

const N: usize = 624;
const M: usize = 397;

/// MT19937 with CPython's seeding and derived draws.
#[derive(Clone)]
pub struct Mt19937 {
    state: [u32; N],
    next: usize,
}

impl Mt19937 {
    /// Seeded by a non-negative integer, as `random.seed(n)` is: by the array of its 32-bit words,
    /// lowest first.
    pub fn from_integer(n: u64) -> Self {
        let words = [n as u32, (n >> 32) as u32];
        let key = if words[1] == 0 { &words[..1] } else { &words[..] };
        let mut twister = Self::from_word(19_650_218);
        let state = &mut twister.state;
        let (mut i, mut j) = (1, 0);
        for _ in 0..N.max(key.len()) {
            let mixed = (state[i - 1] ^ (state[i - 1] >> 30)).wrapping_mul(1_664_525);
            state[i] = (state[i] ^ mixed).wrapping_add(key[j]).wrapping_add(j as u32);
            (i, j) = (next_place(state, i), (j + 1) % key.len());
        }
        for _ in 0..N - 1 {
            let mixed = (state[i - 1] ^ (state[i - 1] >> 30)).wrapping_mul(1_566_083_941);
            state[i] = (state[i] ^ mixed).wrapping_sub(i as u32);
            i = next_place(state, i);
        }
        state[0] = 0x8000_0000;
        twister
    }

    fn from_word(seed: u32) -> Self {
        let mut state = [seed; N];
        for i in 1..N {
            state[i] =
                (state[i - 1] ^ (state[i - 1] >> 30)).wrapping_mul(1_812_433_253).wrapping_add(i as u32);
        }
        Self { state, next: N }
    }

    /// 32 random bits.
    pub fn word(&mut self) -> u32 {
        if self.next == N {
            self.regenerate();
        }
        let mut y = self.state[self.next];
        self.next += 1;
        y ^= y >> 11;
        y ^= (y << 7) & 0x9d2c_5680;
        y ^= (y << 15) & 0xefc6_0000;
        y ^ (y >> 18)
    }

    fn regenerate(&mut self) {
        for i in 0..N {
            let y = (self.state[i] & 0x8000_0000) | (self.state[(i + 1) % N] & 0x7fff_ffff);
            let twist = if y & 1 == 1 { 0x9908_b0df } else { 0 };
            self.state[i] = self.state[(i + M) % N] ^ (y >> 1) ^ twist;
        }
        self.next = 0;
    }

    /// `random.random()`: uniform in `[0, 1)` with 53 bits from two words.
    pub fn random(&mut self) -> f64 {
        let (high, low) = (self.word() >> 5, self.word() >> 6);
        (f64::from(high) * 67_108_864.0 + f64::from(low)) / 9_007_199_254_740_992.0
    }

    /// A whole number in `0..n`, by rejection, as `random.shuffle` draws it.
    pub fn below(&mut self, n: u32) -> u32 {
        let bits = u32::BITS - n.leading_zeros();
        loop {
            let drawn = self.word() >> (u32::BITS - bits);
            if drawn < n {
                return drawn;
            }
        }
    }

    /// `random.shuffle`: from the last place to the second, swap with a random earlier one.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            let j = self.below(i as u32 + 1) as usize;
            items.swap(i, j);
        }
    }

    /// `random.normalvariate`: ratio of uniforms.
    pub fn normal(&mut self, mean: f64, sigma: f64) -> f64 {
        let magic = 4.0 * (-0.5f64).exp() / 2.0f64.sqrt();
        loop {
            let u = self.random();
            let v = 1.0 - self.random();
            let z = magic * (u - 0.5) / v;
            if z * z / 4.0 <= -v.ln() {
                return mean + z * sigma;
            }
        }
    }
}

/// The place after `i`; going round, the last word is copied to the front.
fn next_place(state: &mut [u32; N], i: usize) -> usize {
    if i + 1 < N {
        return i + 1;
    }
    state[0] = state[N - 1];
    1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_equal_those_of_cpython() {
        let mut twister = Mt19937::from_integer(2_022_310_806);
        let mut items: Vec<u32> = (0..11).collect();
        twister.shuffle(&mut items);
        let draws =
            (items, twister.random(), twister.normal(25.0, 3.0), Mt19937::from_integer(1 << 40).random());
        assert_eq!(
            draws,
            (
                vec![7, 8, 9, 3, 6, 4, 10, 2, 1, 5, 0],
                0.14452981602362192,
                28.765413058883073,
                0.1036394562812375
            )
        );
    }
}
