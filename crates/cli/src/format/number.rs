//! Go's number literals, and how Go prints numbers.

use serde_json::Number;

use super::token::TokenKind;

/// `10`, `-3`, `0x1f`, `0b11`, `0o17`, `1_000`, `1.5`, `2e3`.
pub(super) fn parse_number(text: &str) -> Option<TokenKind> {
    let plain = text.replace('_', "");
    let (negative, digits) = match plain.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, plain.strip_prefix('+').unwrap_or(&plain)),
    };
    let radix = match digits.get(..2) {
        Some("0x" | "0X") => 16,
        Some("0b" | "0B") => 2,
        Some("0o" | "0O") => 8,
        _ => 10,
    };
    let body = if radix == 10 { digits } else { &digits[2..] };
    if body.starts_with(['+', '-']) {
        return None;
    }
    if let Ok(magnitude) = i128::from_str_radix(body, radix) {
        let value = if negative { -magnitude } else { magnitude };
        return i64::try_from(value).ok().map(TokenKind::Integer);
    }
    let well_formed = digits
        .bytes()
        .all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'+' | b'-'));
    let value: f64 = plain.parse().ok().filter(|_| well_formed)?;
    value.is_finite().then_some(TokenKind::Float(value))
}

/// As Go's `%v`: integers in full; floats shortest, with an exponent below 1e-4 and from 1e21.
pub(super) fn print_number(number: &Number) -> String {
    if !number.is_f64() {
        return number.to_string();
    }
    let value = number.as_f64().unwrap_or_default();
    let magnitude = value.abs();
    if magnitude != 0.0 && !(1e-4..1e21).contains(&magnitude) {
        let text = format!("{value:e}");
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let exponent: i32 = exponent.parse().unwrap_or_default();
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{mantissa}e{sign}{:02}", exponent.abs());
    }
    format!("{value}")
}
