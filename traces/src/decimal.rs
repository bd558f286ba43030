//! Seconds written in decimal, read exactly as nanoseconds.

/// 73 years: sums and differences of a few such times stay within 64 bits.
const MAX_NANOS: i64 = i64::MAX / 4;
/// Digits of a nanosecond.
const DIGITS: u32 = 9;

/// Seconds in decimal (`57.154`, `-0.002`, `1e-05`) as nanoseconds, rounded to the nearest;
/// `None` for anything else and for more than 73 years.
pub(crate) fn seconds_to_nanos(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    let nanos = match plain(digits) {
        Some(nanos) => nanos,
        None => with_exponent(digits)?,
    };
    (nanos <= MAX_NANOS).then_some(if negative { -nanos } else { nanos })
}

/// Digits with at most one point among them.
fn plain(text: &[u8]) -> Option<i64> {
    let mut whole: u64 = 0;
    let mut at = 0;
    while let Some(digit) = text.get(at).map(|byte| byte.wrapping_sub(b'0')).filter(|digit| *digit < 10) {
        whole = whole.wrapping_mul(10).wrapping_add(u64::from(digit));
        at += 1;
    }
    if at > 10 || text.is_empty() {
        return None;
    }
    let mut nanos = whole * 1_000_000_000;
    if at == text.len() {
        return i64::try_from(nanos).ok();
    }
    let fraction = &text[at + 1..];
    if text[at] != b'.' || (at == 0 && fraction.is_empty()) {
        return None;
    }
    let kept = fraction.len().min(DIGITS as usize);
    let mut part: u64 = 0;
    for byte in &fraction[..kept] {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        part = part * 10 + u64::from(digit);
    }
    nanos += part * 10u64.pow(DIGITS - kept as u32);
    if let [next, rest @ ..] = &fraction[kept..] {
        if !next.is_ascii_digit() || !rest.iter().all(u8::is_ascii_digit) {
            return None;
        }
        nanos += u64::from(*next >= b'5');
    }
    i64::try_from(nanos).ok()
}

/// The rare other spellings, through a floating-point number.
#[cold]
fn with_exponent(text: &[u8]) -> Option<i64> {
    if !text.first().is_some_and(|byte| byte.is_ascii_digit() || *byte == b'.') {
        return None;
    }
    let value: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    let nanos = (value * 1e9).round();
    (nanos.is_finite() && nanos < i64::MAX as f64).then_some(nanos as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_read_exactly_and_nonsense_is_not_read() {
        let read = |text: &str| seconds_to_nanos(text.as_bytes());
        assert_eq!(read("0.07949090003967285"), Some(79_490_900));
        assert_eq!(read("57.154"), Some(57_154_000_000));
        assert_eq!(read("-0.0000000015"), Some(-2));
        assert_eq!(read("1209600"), Some(1_209_600_000_000_000));
        assert_eq!(read("1e-05"), Some(10_000));
        assert_eq!(read("5."), Some(5_000_000_000));
        for text in
            ["", ".", "-", "--1", "1.2.3", "abc", "nan", "inf", "1,2", "99999999999999", "1.1234567891x"]
        {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
