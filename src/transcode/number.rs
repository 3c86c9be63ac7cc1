//! Integers from whatever a caller wrote for one: `5`, `5.0`, `"5"`, `"0x1f"`, `1e3`. No digit is lost
//! on the way: what only arrived rounded is refused, not guessed.

use std::{fmt::Display, ops::RangeInclusive};

use super::scalar::Scalar;

/// Below this every integer has a floating-point number that no other one is rounded to.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// Beyond 64 bits either way; a number here is out of every range, exact or not.
const BEYOND: f64 = 18_446_744_073_709_551_616.0;

/// The scalar as an integer within `range`, which is that of the type.
pub(super) fn integer<T>(given: &Scalar, range: RangeInclusive<T>) -> Result<T, String>
where
    T: TryFrom<i128> + Display,
{
    let number = match given {
        Scalar::Signed(number) => Some(i128::from(*number)),
        Scalar::Unsigned(number) => Some(i128::from(*number)),
        Scalar::Float(number) => whole(*number, &range)?,
        Scalar::Text(text) => exact(text.trim()),
        Scalar::Bool(_) => None,
    };
    let number = number.ok_or_else(|| format!("expected an integer, got {given}"))?;
    T::try_from(number).map_err(|_| format!("{given} is out of range, {} to {}", range.start(), range.end()))
}

/// The integer a floating-point number stands for; `None` if it has a fraction.
fn whole<T: Display>(number: f64, range: &RangeInclusive<T>) -> Result<Option<i128>, String> {
    if number.fract() != 0.0 {
        return Ok(None);
    }
    if number.abs() >= EXACT && number.abs() < BEYOND {
        return Err(format!(
            "`{number}` has lost digits, write all of them, {} to {}",
            range.start(),
            range.end()
        ));
    }
    Ok(Some(number as i128))
}

/// An integer in digits: a sign, a base prefix, a fraction and an exponent are allowed, if it is whole. More
/// digits than fit stand for the largest number, which is out of every range.
fn exact(text: &str) -> Option<i128> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let prefix = digits.get(..2).map(str::to_ascii_lowercase);
    let (radix, digits) = match prefix.as_deref() {
        Some("0x") => (16, &digits[2..]),
        Some("0o") => (8, &digits[2..]),
        Some("0b") => (2, &digits[2..]),
        Some(_) | None => {
            let number = decimal(digits)?;
            return Some(if negative { -number } else { number });
        }
    };
    if digits.is_empty() || !digits.chars().all(|digit| digit.is_digit(radix)) {
        return None;
    }
    let number = i128::from_str_radix(digits, radix).unwrap_or(i128::MAX);
    Some(if negative { -number } else { number })
}

/// A whole number such as `5`, `5.0`, `1.5e3` or `50e-1`.
fn decimal(text: &str) -> Option<i128> {
    let (digits, exponent) = match text.split_once(['e', 'E']) {
        Some((digits, exponent)) => (digits, exponent.parse::<i64>().ok()?),
        None => (text, 0),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let mut digits = [whole, fraction].concat();
    if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    // The zeros at the end count as part of the exponent, so that what is left of one has to be digits.
    let significant = digits.trim_end_matches('0').len();
    let zeros = exponent.saturating_add_unsigned((digits.len() - significant) as u64);
    let zeros = zeros.saturating_sub_unsigned(fraction.len() as u64);
    digits.truncate(significant);
    if digits.is_empty() {
        return Some(0);
    }
    if zeros < 0 {
        return None;
    }
    let zeros = u32::try_from(zeros).unwrap_or(u32::MAX);
    let scaled = |number: i128| number.checked_mul(10_i128.checked_pow(zeros)?);
    Some(digits.parse().ok().and_then(scaled).unwrap_or(i128::MAX))
}

/// The scalar as a 64-bit floating-point number; `"NaN"` and `"Infinity"` are written as text.
pub(super) fn double(given: &Scalar) -> Result<f64, String> {
    let number = match given {
        Scalar::Signed(number) => {
            #[expect(clippy::cast_precision_loss, reason = "a floating-point field was asked for")]
            let number = *number as f64;
            Some(number)
        }
        Scalar::Unsigned(number) => {
            #[expect(clippy::cast_precision_loss, reason = "a floating-point field was asked for")]
            let number = *number as f64;
            Some(number)
        }
        Scalar::Float(number) => Some(*number),
        Scalar::Text(text) => text.trim().parse().ok(),
        Scalar::Bool(_) => None,
    };
    let number = number.ok_or_else(|| format!("expected a number, got {given}"))?;
    if number.is_infinite() && is_digits(given) {
        return Err(format!("{given} is out of range, {:e} to {:e}", f64::MIN, f64::MAX));
    }
    Ok(number)
}

/// The name that protobuf gives to a number JSON cannot write.
pub(super) fn not_finite(number: f64) -> &'static str {
    match number {
        f64::INFINITY => "Infinity",
        f64::NEG_INFINITY => "-Infinity",
        _ => "NaN",
    }
}

/// The scalar as a 32-bit floating-point number.
pub(super) fn float(given: &Scalar) -> Result<f32, String> {
    let number = match given {
        // Straight from the digits: by way of 64 bits it would be rounded twice.
        Scalar::Text(text) => text.trim().parse().map_err(|_| format!("expected a number, got {given}"))?,
        Scalar::Bool(_) | Scalar::Signed(_) | Scalar::Unsigned(_) | Scalar::Float(_) => double(given)? as f32,
    };
    if number.is_infinite() && is_digits(given) {
        return Err(format!("{given} is out of range, {:e} to {:e}", f32::MIN, f32::MAX));
    }
    Ok(number)
}

/// Whether the scalar is written with digits, as opposed to `Infinity`.
fn is_digits(given: &Scalar) -> bool {
    match given {
        Scalar::Text(text) => text.contains(|character: char| character.is_ascii_digit()),
        Scalar::Bool(_) | Scalar::Signed(_) | Scalar::Unsigned(_) | Scalar::Float(_) => true,
    }
}
