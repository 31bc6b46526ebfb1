//! Decimal numbers with up to 17 digits behind the point, as INCRBYFLOAT and its like print them. What does not fit goes
//! on as a binary float.

use std::fmt;

const DIGITS: u32 = 17;
const SCALE: i128 = 10i128.pow(DIGITS);
/// More digits than any number has that is written with some sense.
const TEXT_BYTES_MAX: usize = 5 << 10;

/// A finite number.
#[derive(Copy, Clone, PartialEq, Debug)]
pub enum Decimal {
    /// In units of the last digit.
    Exact(i128),
    Binary(f64),
}

/// A number as a client may write it.
#[derive(Copy, Clone, PartialEq, Debug)]
pub enum Float {
    Finite(Decimal),
    Infinite,
}

impl Float {
    /// As `strtold` reads it, all of it and without blanks in front; `None` if it is no number.
    pub fn parse(text: &[u8]) -> Option<Float> {
        let text = std::str::from_utf8(text).ok().filter(|text| text.len() < TEXT_BYTES_MAX)?;
        if let Some(exact) = exact(text) {
            return Some(Float::Finite(Decimal::Exact(exact)));
        }
        let value: f64 = text.parse().ok().filter(|value: &f64| !value.is_nan())?;
        Some(if value.is_infinite() {
            Float::Infinite
        } else {
            Float::Finite(Decimal::Binary(value))
        })
    }
}

impl Decimal {
    pub const ZERO: Decimal = Decimal::Exact(0);

    /// `None` if the sum is not finite.
    pub fn add(self, other: Decimal) -> Option<Decimal> {
        if let (Decimal::Exact(one), Decimal::Exact(two)) = (self, other)
            && let Some(sum) = one.checked_add(two)
        {
            return Some(Decimal::Exact(sum));
        }
        let sum = self.to_f64() + other.to_f64();
        sum.is_finite().then_some(Decimal::Binary(sum))
    }

    fn to_f64(self) -> f64 {
        match self {
            Decimal::Exact(units) => units as f64 / SCALE as f64,
            Decimal::Binary(value) => value,
        }
    }
}

impl From<i64> for Decimal {
    fn from(number: i64) -> Decimal {
        Decimal::Exact(i128::from(number) * SCALE)
    }
}

impl fmt::Display for Decimal {
    /// Without an exponent, and without zeros at the end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Decimal::Exact(units) => {
                let sign = if *units < 0 { "-" } else { "" };
                let (whole, part) =
                    (units.unsigned_abs() / SCALE as u128, units.unsigned_abs() % SCALE as u128);
                format!("{sign}{whole}.{part:017}")
            }
            Decimal::Binary(value) => format!("{value:.17}"),
        };
        let trimmed = text.trim_end_matches('0').trim_end_matches('.');
        f.write_str(if trimmed == "-0" { "0" } else { trimmed })
    }
}

/// A plain decimal number, with an exponent perhaps, whose digits all fit.
fn exact(text: &str) -> Option<i128> {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (negative, digits) = match mantissa.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, mantissa.strip_prefix('+').unwrap_or(mantissa)),
    };
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() && part.is_empty() {
        return None;
    }
    let part = if exponent >= 0 { part.trim_end_matches('0') } else { part };
    let mut units: i128 = 0;
    for byte in whole.bytes().chain(part.bytes()) {
        if !byte.is_ascii_digit() {
            return None;
        }
        units = units.checked_mul(10)?.checked_add(i128::from(byte - b'0'))?;
    }
    let digits = i32::try_from(DIGITS).ok()?.checked_sub(i32::try_from(part.len()).ok()?)?;
    let shift = digits.checked_add(exponent)?;
    let power = 10i128.checked_pow(shift.unsigned_abs())?;
    let units = if shift >= 0 {
        units.checked_mul(power)?
    } else if units % power == 0 {
        units / power
    } else {
        return None;
    };
    Some(if negative { -units } else { units })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(one: &str, two: &str) -> String {
        let finite = |text: &str| match Float::parse(text.as_bytes()) {
            Some(Float::Finite(number)) => number,
            other => panic!("{text} is read as {other:?}"),
        };
        finite(one).add(finite(two)).expect("a finite sum").to_string()
    }

    #[test]
    fn sums_are_exact_in_decimal() {
        for (one, two, wanted) in [
            ("10.5", "0.1", "10.6"),
            ("5.0e3", "2.0e2", "5200"),
            ("0.1", "0.2", "0.3"),
            ("3", "-3.0", "0"),
            ("17179869184", "1.5", "17179869185.5"),
            ("-1", "0.25", "-0.75"),
            ("1e20", "0", "100000000000000000000"),
            ("1e-2147483647", "1", "1"),
            (".5", "5.", "5.5"),
        ] {
            assert_eq!(sum(one, two), wanted, "{one} + {two}");
        }
        assert_eq!(sum("1e30", "1e30"), "2000000000000000039769249677312");
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for text in ["", "abc", "1 ", " 1", "1.2.3", "1e", "--1", "0x10", "1\0", "nan"] {
            assert_eq!(Float::parse(text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(Float::parse(b"inf"), Some(Float::Infinite));
        assert_eq!(Float::parse(b"1e2147483647"), Some(Float::Infinite));
        assert_eq!(Float::parse(b"-Infinity"), Some(Float::Infinite));
    }
}
