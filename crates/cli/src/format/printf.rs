//! `printf`, with Go's verbs and flags (pkg.go.dev/fmt) over JSON values.

use serde_json::Value;

use super::text::text_of;
use super::value::{Val, WIDTH_MAXIMUM};

/// Formats as `fmt.Sprintf`; what does not fit is shown as Go shows it (`%!d(string=x)`).
pub(super) fn sprintf(format: &str, arguments: &[Val<'_>]) -> String {
    let mut output = String::new();
    let mut arguments = arguments.iter();
    let mut rest = format;
    while let Some(percent) = rest.find('%') {
        output.push_str(&rest[..percent]);
        let (directive, tail) = Directive::parse(&rest[percent + 1..], &mut arguments);
        rest = tail;
        match directive.verb {
            None => output.push_str("%!(NOVERB)"),
            Some('%') => output.push('%'),
            Some(verb) => match arguments.next() {
                Some(value) => output.push_str(&directive.apply(verb, value)),
                None => output.push_str(&format!("%!{verb}(MISSING)")),
            },
        }
    }
    output.push_str(rest);
    let extra: Vec<String> = arguments
        .map(|value| format!("{}={}", go_type(value), text_of(value)))
        .collect();
    if !extra.is_empty() {
        output.push_str(&format!("%!(EXTRA {})", extra.join(", ")));
    }
    output
}

#[derive(Default)]
struct Directive {
    left: bool,
    plus: bool,
    space: bool,
    zero: bool,
    sharp: bool,
    width: Option<usize>,
    precision: Option<usize>,
    verb: Option<char>,
}

impl Directive {
    fn parse<'f, 'v>(
        text: &'f str,
        arguments: &mut impl Iterator<Item = &'v Val<'v>>,
    ) -> (Self, &'f str) {
        let mut directive = Self::default();
        let mut rest = text;
        while let Some(flag) = rest.chars().next() {
            match flag {
                '-' => directive.left = true,
                '+' => directive.plus = true,
                ' ' => directive.space = true,
                '0' => directive.zero = true,
                '#' => directive.sharp = true,
                _ => break,
            }
            rest = &rest[1..];
        }
        directive.width = number(&mut rest, arguments);
        if let Some(tail) = rest.strip_prefix('.') {
            rest = tail;
            directive.precision = Some(number(&mut rest, arguments).unwrap_or(0));
        }
        directive.verb = rest.chars().next();
        let verb_length = directive.verb.map_or(0, char::len_utf8);
        (directive, &rest[verb_length..])
    }

    fn apply(&self, verb: char, value: &Value) -> String {
        let body = match (verb, value) {
            ('v', Value::Number(_)) if self.plus => Some(self.signed(text_of(value))),
            ('v', Value::String(text)) if self.sharp => Some(format!("{text:?}")),
            ('s' | 'v', _) => Some(self.cut(text_of(value))),
            ('q', Value::Number(number)) => number
                .as_u64()
                .and_then(|code| char::from_u32(u32::try_from(code).ok()?))
                .map(|character| format!("{character:?}")),
            ('q', Value::String(text)) => Some(format!("{:?}", self.cut(text.clone()))),
            ('t', Value::Bool(value)) => Some(value.to_string()),
            ('T', _) => Some(go_type(value).to_owned()),
            ('x' | 'X', Value::String(text)) => {
                let hex: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
                Some(if verb == 'X' { hex.to_uppercase() } else { hex })
            }
            ('d' | 'b' | 'o' | 'x' | 'X' | 'c' | 'U', Value::Number(number)) => number
                .as_i64()
                .map(i128::from)
                .or_else(|| number.as_u64().map(i128::from))
                .map(|integer| self.integer(verb, integer)),
            ('f' | 'F' | 'e' | 'E' | 'g' | 'G', Value::Number(number)) if number.is_f64() => {
                number.as_f64().map(|float| self.float(verb, float))
            }
            _ => None,
        };
        match body {
            Some(body) => self.pad(body, value.is_number()),
            None => format!("%!{verb}({}={})", go_type(value), text_of(value)),
        }
    }

    fn cut(&self, text: String) -> String {
        match self.precision {
            Some(precision) => text.chars().take(precision).collect(),
            None => text,
        }
    }

    fn signed(&self, number: String) -> String {
        match (number.starts_with('-'), self.plus, self.space) {
            (false, true, _) => format!("+{number}"),
            (false, false, true) => format!(" {number}"),
            _ => number,
        }
    }

    fn integer(&self, verb: char, integer: i128) -> String {
        let magnitude = integer.unsigned_abs();
        let digits = match verb {
            'b' => format!("{magnitude:b}"),
            'o' if self.sharp => format!("0{magnitude:o}"),
            'o' => format!("{magnitude:o}"),
            'x' if self.sharp => format!("{magnitude:#x}"),
            'x' => format!("{magnitude:x}"),
            'X' if self.sharp => format!("0X{magnitude:X}"),
            'X' => format!("{magnitude:X}"),
            'U' => return format!("U+{magnitude:04X}"),
            'c' => {
                let code = u32::try_from(magnitude).ok().and_then(char::from_u32);
                return code.unwrap_or(char::REPLACEMENT_CHARACTER).to_string();
            }
            _ => magnitude.to_string(),
        };
        let digits = match self.precision {
            Some(precision) => format!("{digits:0>precision$}"),
            None => digits,
        };
        self.signed(if integer < 0 {
            format!("-{digits}")
        } else {
            digits
        })
    }

    fn float(&self, verb: char, float: f64) -> String {
        let text = match verb {
            'f' | 'F' => format!("{float:.*}", self.precision.unwrap_or(6)),
            'e' | 'E' => exponent_form(&format!("{float:.*e}", self.precision.unwrap_or(6))),
            _ => match self.precision {
                Some(precision) => crate::human::significant(float, precision.max(1)),
                None => text_of(&Value::from(float)),
            },
        };
        let text = match verb {
            'E' | 'G' => text.to_uppercase(),
            _ => text,
        };
        self.signed(text)
    }

    fn pad(&self, body: String, number: bool) -> String {
        let width = self.width.unwrap_or(0);
        let missing = width.saturating_sub(body.chars().count());
        if self.left {
            return format!("{body}{:missing$}", "");
        }
        if self.zero && number {
            let sign = body.len() - body.trim_start_matches(['-', '+', ' ']).len();
            let (sign, digits) = body.split_at(sign);
            return format!("{sign}{:0<missing$}{digits}", "");
        }
        format!("{:missing$}{body}", "")
    }
}

/// A width or precision: digits, or `*` for the next argument; bounded.
fn number<'v>(rest: &mut &str, arguments: &mut impl Iterator<Item = &'v Val<'v>>) -> Option<usize> {
    if let Some(tail) = rest.strip_prefix('*') {
        *rest = tail;
        let width = usize::try_from(arguments.next()?.as_u64()?).ok()?;
        return Some(width.min(WIDTH_MAXIMUM));
    }
    let end = rest
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(rest.len());
    let (digits, tail) = rest.split_at(end);
    *rest = tail;
    match digits {
        "" => None,
        digits => Some(digits.parse().unwrap_or(WIDTH_MAXIMUM).min(WIDTH_MAXIMUM)),
    }
}

/// Rust's `1.5e3` as C's and Go's `1.5e+03`.
fn exponent_form(text: &str) -> String {
    let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
    match exponent.strip_prefix('-') {
        Some(digits) => format!("{mantissa}e-{digits:0>2}"),
        None => format!("{mantissa}e+{exponent:0>2}"),
    }
}

fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}
