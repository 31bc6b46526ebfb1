//! Quantities of scenario lines: times, rates, percentages.

use std::time::Duration;

use crate::clock::DRIFT_PPM_MAX;

/// `10ms`, `5s`, `1.5s`, `2m`, `300us`.
pub fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = number_and_unit(text)?;
    let us = match unit {
        "us" => number,
        "ms" => number * 1e3,
        "s" => number * 1e6,
        "m" => number * 60e6,
        _ => return None,
    };
    (us <= 86_400e6).then(|| Duration::from_micros(us.round() as u64))
}

/// `10ms` or `0ms..50ms`.
pub fn duration_range(text: &str) -> Option<(Duration, Duration)> {
    let (low, high) = match text.split_once("..") {
        Some((low, high)) => (duration(low)?, duration(high)?),
        None => (duration(text)?, duration(text)?),
    };
    (low <= high).then_some((low, high))
}

/// `4096` or `2047..2049`.
pub fn number_range(text: &str) -> Option<(u64, u64)> {
    let (low, high) = text.split_once("..").unwrap_or((text, text));
    let (low, high) = (low.parse().ok()?, high.parse().ok()?);
    (low <= high).then_some((low, high))
}

/// `+2s` or `-500ms`, in nanoseconds.
pub fn clock_step(text: &str) -> Option<i64> {
    let (sign, rest) = signed(text)?;
    Some(sign * i64::try_from(duration(rest)?.as_nanos()).ok()?)
}

/// `+200ppm` or `-1000ppm`.
pub fn drift(text: &str) -> Option<i32> {
    let (sign, rest) = signed(text)?;
    let ppm: i32 = rest.strip_suffix("ppm")?.parse().ok()?;
    (0..=DRIFT_PPM_MAX).contains(&ppm).then(|| ppm * sign as i32)
}

/// `64kb`, `1mb`, `1500b`.
pub fn bytes(text: &str) -> Option<u64> {
    let (number, unit) = number_and_unit(text)?;
    let bytes = match unit {
        "b" => number,
        "kb" => number * 1024.0,
        "mb" => number * 1024.0 * 1024.0,
        "gb" => number * 1024.0 * 1024.0 * 1024.0,
        _ => return None,
    };
    (1.0..=1e15).contains(&bytes).then_some(bytes as u64)
}

/// `1%`, as a share.
pub fn percent(text: &str) -> Option<f64> {
    let (number, unit) = number_and_unit(text)?;
    (unit == "%" && number <= 100.0).then_some(number / 100.0)
}

/// `200/s`.
pub fn rate(text: &str) -> Option<u32> {
    let rate = text.strip_suffix("/s")?.parse().ok()?;
    (1..=100_000).contains(&rate).then_some(rate)
}

/// `64kbit`, `10mbit`, `1gbit`, in bits per second.
pub fn bandwidth(text: &str) -> Option<u64> {
    let (number, unit) = number_and_unit(text)?;
    let bits = match unit {
        "kbit" => number * 1e3,
        "mbit" => number * 1e6,
        "gbit" => number * 1e9,
        _ => return None,
    };
    (1.0..=1e12).contains(&bits).then_some(bits as u64)
}

/// 1 or -1, and what follows the sign.
fn signed(text: &str) -> Option<(i64, &str)> {
    match text.split_at_checked(1)? {
        ("+", rest) => Some((1, rest)),
        ("-", rest) => Some((-1, rest)),
        (_, _) => None,
    }
}

/// Splits at the first character that cannot be part of a plain decimal number.
fn number_and_unit(text: &str) -> Option<(f64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    Some((number.parse().ok()?, unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        assert_eq!(duration("10ms"), Some(Duration::from_millis(10)));
        assert_eq!(duration("1.5s"), Some(Duration::from_millis(1500)));
        assert_eq!(duration("2m"), Some(Duration::from_secs(120)));
        for bad in ["10", "s", "-1s", "1h", "1e3s", "", ".", "100000m"] {
            assert_eq!(duration(bad), None, "{bad}");
        }
        let range = (Duration::ZERO, Duration::from_millis(50));
        assert_eq!(duration_range("0ms..50ms"), Some(range));
        assert_eq!(duration_range("50ms..0ms"), None);
        assert_eq!(number_range("4096"), Some((4096, 4096)));
        assert_eq!(number_range("2047..2049"), Some((2047, 2049)));
        for bad in ["2..1", "..1", "1..", "-1", "x"] {
            assert_eq!(number_range(bad), None, "{bad}");
        }
    }

    #[test]
    fn steps_shares_rates_and_bandwidths_have_units() {
        assert_eq!(clock_step("+2s"), Some(2_000_000_000));
        assert_eq!(clock_step("-500ms"), Some(-500_000_000));
        assert_eq!(clock_step("2s"), None);
        assert_eq!(drift("+200ppm"), Some(200));
        assert_eq!(drift("-1ppm"), Some(-1));
        for bad in ["200ppm", "+200", "+-1ppm", "+500001ppm", "+1.5ppm"] {
            assert_eq!(drift(bad), None, "{bad}");
        }
        assert_eq!(bytes("64kb"), Some(65_536));
        assert_eq!(bytes("1500b"), Some(1500));
        assert_eq!(bytes("64"), None);
        assert_eq!(percent("1%"), Some(0.01));
        assert_eq!(percent("101%"), None);
        assert_eq!(rate("200/s"), Some(200));
        assert_eq!(rate("0/s"), None);
        assert_eq!(bandwidth("10mbit"), Some(10_000_000));
    }
}
