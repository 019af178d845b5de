//! Annotations `org.systemd.property.NAME`: further properties of a container's unit, in GVariant's
//! text form, as runc and crun take them.
//! <https://docs.gtk.org/glib/gvariant-text-format.html>

use std::collections::HashMap;

use super::error::SystemdError;
use super::message::Value;
use super::properties::Property;

const PREFIX: &str = "org.systemd.property.";

/// The properties that the annotations of a bundle ask for.
///
/// # Errors
/// [`SystemdError::Annotation`].
pub(crate) fn properties(
    annotations: Option<&HashMap<String, String>>,
) -> Result<Vec<Property>, SystemdError> {
    let mut properties = Vec::new();
    for (annotation, text) in annotations.into_iter().flatten() {
        let Some(name) = annotation.strip_prefix(PREFIX) else {
            continue;
        };
        let wrong = |problem| SystemdError::Annotation {
            name: annotation.clone(),
            value: text.clone(),
            problem,
        };
        if name.len() < 3 || !name.chars().all(|c| c.is_ascii_alphabetic()) {
            return Err(wrong("a property's name is made of letters"));
        }
        let value = parse(text).map_err(wrong)?;
        properties.push(in_microseconds(name, value).map_err(wrong)?);
    }
    // A map has no order, and what is asked for should not change by chance.
    properties.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(properties)
}

/// On the bus, times are microseconds: `TimeoutStopSec` in seconds is `TimeoutStopUSec`.
fn in_microseconds(name: &str, value: Value) -> Result<Property, &'static str> {
    let stem = name.strip_suffix("Sec");
    let Some(stem) = stem.filter(|stem| stem.ends_with(|c: char| c.is_ascii_lowercase())) else {
        return Ok((name.to_owned(), value));
    };
    const MICROSECONDS: u64 = 1_000_000;
    let whole = |number: Option<u64>| number.and_then(|n| n.checked_mul(MICROSECONDS));
    let time = match value {
        Value::I32(seconds) => whole(seconds.try_into().ok()),
        Value::I64(seconds) => whole(seconds.try_into().ok()),
        Value::U32(seconds) => whole(Some(seconds.into())),
        Value::U64(seconds) => whole(Some(seconds)),
        Value::Double(seconds) if seconds >= 0.0 => Some((seconds * MICROSECONDS as f64) as u64),
        _ => None,
    };
    let time = time.ok_or("it is no number of seconds")?;
    Ok((format!("{stem}USec"), Value::U64(time)))
}

/// A value with the types that properties of units have: truths, numbers, texts, lists of these.
fn parse(text: &str) -> Result<Value, &'static str> {
    let mut parser = Parser { rest: text };
    let value = parser.value()?;
    parser.skip_blanks();
    match parser.rest {
        "" => Ok(value),
        _ => Err("something follows the value"),
    }
}

struct Parser<'a> {
    rest: &'a str,
}

impl<'a> Parser<'a> {
    fn skip_blanks(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn takes(&mut self, word: char) -> bool {
        self.skip_blanks();
        let after = self.rest.strip_prefix(word);
        self.rest = after.unwrap_or(self.rest);
        after.is_some()
    }

    fn value(&mut self) -> Result<Value, &'static str> {
        if self.takes('[') {
            return self.list();
        }
        self.single()
    }

    /// After its bracket. The items have the first one's type.
    fn list(&mut self) -> Result<Value, &'static str> {
        let mut items = Vec::new();
        while !self.takes(']') {
            if !items.is_empty() && !self.takes(',') {
                return Err("a list's items are parted by commas");
            }
            items.push(self.single()?);
        }
        let of = match items.first() {
            Some(first) => first.signature(),
            // Nothing else that systemd takes may well be empty.
            None => "s".to_owned(),
        };
        match items.iter().all(|item| item.signature() == of) {
            true => Ok(Value::Array { of, items }),
            false => Err("a list's items are of one type"),
        }
    }

    fn single(&mut self) -> Result<Value, &'static str> {
        self.skip_blanks();
        if let Some(quote) = self.rest.chars().next().filter(|c| matches!(c, '\'' | '"')) {
            self.rest = &self.rest[1..];
            return self.quoted(quote);
        }
        let word = self.word();
        match word {
            "true" => Ok(Value::Bool(true)),
            "false" => Ok(Value::Bool(false)),
            "boolean" | "string" => self.single(),
            "byte" | "int32" | "uint32" | "int64" | "uint64" | "double" => {
                self.skip_blanks();
                let number = self.word();
                number_of(word, number).ok_or("it is no number of its type")
            }
            _ => number_of("int32", word)
                .or_else(|| number_of("double", word).filter(|_| word.contains(['.', 'e'])))
                .ok_or("it is neither true, false, a number, a 'text' nor a list of these"),
        }
    }

    fn word(&mut self) -> &'a str {
        let end = self
            .rest
            .find(|c: char| c.is_whitespace() || ",]['\"".contains(c));
        let (word, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        word
    }

    /// After its first quote.
    fn quoted(&mut self, quote: char) -> Result<Value, &'static str> {
        let mut text = String::new();
        let mut letters = self.rest.char_indices();
        while let Some((at, letter)) = letters.next() {
            match letter {
                '\\' => text.push(match letters.next() {
                    Some((_, 'n')) => '\n',
                    Some((_, 't')) => '\t',
                    Some((_, plain @ ('\\' | '\'' | '"'))) => plain,
                    _ => return Err("only \\n, \\t, \\\\, \\' and \\\" are known in a text"),
                }),
                '\0' => return Err("a text holds no NUL"),
                letter if letter == quote => {
                    self.rest = &self.rest[at + 1..];
                    return Ok(Value::Text(text));
                }
                letter => text.push(letter),
            }
        }
        Err("a text has no end")
    }
}

fn number_of(kind: &str, word: &str) -> Option<Value> {
    let (negative, digits) = match word.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, word),
    };
    if kind == "double" {
        let plain = digits.starts_with(|c: char| c.is_ascii_digit());
        return word.parse().ok().filter(|_| plain).map(Value::Double);
    }
    let number = match digits.strip_prefix("0x") {
        Some(digits) => i128::from(u64::from_str_radix(digits, 16).ok()?),
        None => i128::from(digits.parse::<u64>().ok()?),
    };
    let number = if negative { -number } else { number };
    Some(match kind {
        "byte" => Value::Byte(number.try_into().ok()?),
        "int32" => Value::I32(number.try_into().ok()?),
        "uint32" => Value::U32(number.try_into().ok()?),
        "int64" => Value::I64(number.try_into().ok()?),
        _ => Value::U64(number.try_into().ok()?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(name: &str, text: &str) -> Result<Property, SystemdError> {
        let annotations = HashMap::from([
            (format!("{PREFIX}{name}"), text.to_owned()),
            ("org.example.other".to_owned(), "[".to_owned()),
        ]);
        properties(Some(&annotations)).map(|mut all| all.remove(0))
    }

    #[test]
    fn values_have_the_types_that_they_say() {
        let texts =
            |items: &[&str]| Value::array("s", items.iter().map(|s| Value::text(s)).collect());
        for (text, value) in [
            ("true", Value::Bool(true)),
            ("37", Value::I32(37)),
            ("-5", Value::I32(-5)),
            ("0.5", Value::Double(0.5)),
            ("uint64 123456789", Value::U64(123_456_789)),
            (" uint32  0x10 ", Value::U32(16)),
            ("byte 255", Value::Byte(255)),
            ("'inactive-or-failed'", Value::text("inactive-or-failed")),
            (r#""it's \"so\"""#, Value::text("it's \"so\"")),
            (
                "['a.service', 'b.service']",
                texts(&["a.service", "b.service"]),
            ),
            ("[]", texts(&[])),
        ] {
            assert_eq!(
                one("After", text).ok(),
                Some(("After".to_owned(), value)),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_no_value_is_refused() {
        for text in [
            "",
            "'",
            "'a",
            "[1",
            "[1 2]",
            "[1,'a']",
            "1 2",
            "yes",
            "uint32 -1",
            "byte 256",
            "nan",
            "99999999999",
            "uint64",
            "'a'b",
            "[[1]]",
            "'\\x'",
            "true]",
        ] {
            assert!(one("After", text).is_err(), "{text}");
        }
        for name in ["", "A", "A-B", "Ab c", "A.B"] {
            assert!(one(name, "1").is_err(), "{name}");
        }
    }

    #[test]
    fn seconds_are_sent_as_microseconds() {
        let sent = |name: &str, text: &str| one(name, text).ok();
        let time = |us| Some(("TimeoutStopUSec".to_owned(), Value::U64(us)));
        assert_eq!(sent("TimeoutStopSec", "uint64 2"), time(2_000_000));
        assert_eq!(sent("TimeoutStopSec", "1.5"), time(1_500_000));
        assert_eq!(sent("TimeoutStopUSec", "uint64 2"), time(2));
        assert_eq!(sent("TimeoutStopSec", "'2'"), None);
        assert_eq!(sent("TimeoutStopSec", "-2"), None);
    }
}
