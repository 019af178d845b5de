//! The functions: Go's own (text/template, "Functions") and Docker's (docs.docker.com,
//! "Format command and log output").

use std::borrow::Cow;
use std::cmp::Ordering;

use serde_json::Value;

use super::error::TemplateProblem as Problem;
use super::printf::sprintf;
use super::text::{kind_name, text_of, truth};
use super::value::{OUTPUT_MAXIMUM_BYTES, Val, WIDTH_MAXIMUM};

const GO: [&str; 15] = [
    "and", "or", "not", "eq", "ne", "lt", "le", "gt", "ge", "len", "index", "slice", "print",
    "printf", "println",
];
const DOCKERS: [&str; 8] = [
    "json", "split", "join", "title", "lower", "upper", "pad", "truncate",
];

pub(super) fn exists(name: &str) -> bool {
    GO.contains(&name) || is_dockers(name)
}

/// Whether it is one of those that leave a column's title alone.
pub(super) fn is_dockers(name: &str) -> bool {
    DOCKERS.contains(&name)
}

/// Calls `name`; `and` and `or` are the evaluation's own.
pub(super) fn call<'a>(name: &str, arguments: Vec<Val<'a>>) -> Result<Val<'a>, Problem> {
    let call = Call { name, arguments };
    match name {
        "index" => return call.index(),
        "slice" => return call.slice().map(Cow::Owned),
        _ => {}
    }
    let value = match name {
        "not" => Value::Bool(!truth(call.exactly::<1>("one argument")?[0])),
        "eq" => Value::Bool(call.equal()?),
        "ne" => {
            let [left, right] = call.exactly::<2>("two arguments")?;
            Value::Bool(compare(name, left, right)? != Ordering::Equal)
        }
        "lt" | "le" | "gt" | "ge" => Value::Bool(call.ordered()?),
        "len" => Value::from(call.length()?),
        "print" => Value::from(call.print()),
        "println" => Value::from(call.words().join(" ") + "\n"),
        "printf" => Value::from(call.printf()?),
        "json" => Value::from(call.exactly::<1>("one argument")?[0].to_string()),
        "split" => {
            let [text, separator] = call.exactly::<2>("a text and a separator")?;
            split(call.string(text)?, call.string(separator)?)
        }
        "join" => {
            let [list, separator] = call.exactly::<2>("a list and a separator")?;
            let Value::Array(list) = list else {
                return Err(call.unfit(list));
            };
            let words: Vec<String> = list.iter().map(text_of).collect();
            Value::from(words.join(call.string(separator)?))
        }
        "title" => Value::from(title(call.one_string()?)),
        "lower" => Value::from(call.one_string()?.to_lowercase()),
        "upper" => Value::from(call.one_string()?.to_uppercase()),
        "pad" => {
            let [text, left, right] = call.exactly::<3>("a text and two widths")?;
            let text = call.string(text)?;
            let (left, right) = (call.width(left)?, call.width(right)?);
            match text {
                "" => Value::from(""),
                text => Value::from(format!("{:left$}{text}{:right$}", "", "")),
            }
        }
        "truncate" => {
            let [text, length] = call.exactly::<2>("a text and a length")?;
            let length = call.width(length)?;
            Value::from(call.string(text)?.chars().take(length).collect::<String>())
        }
        _ => return Err(Problem::UnknownFunction(name.to_owned())),
    };
    match &value {
        Value::String(text) if text.len() > OUTPUT_MAXIMUM_BYTES => Err(Problem::TooMuch),
        _ => Ok(Cow::Owned(value)),
    }
}

struct Call<'n, 'a> {
    name: &'n str,
    arguments: Vec<Val<'a>>,
}

impl<'a> Call<'_, 'a> {
    fn exactly<const N: usize>(&self, wanted: &'static str) -> Result<[&Value; N], Problem> {
        let values: Vec<&Value> = self.arguments.iter().map(|value| &**value).collect();
        <[&Value; N]>::try_from(values).map_err(|_| self.count(wanted))
    }

    fn count(&self, wanted: &'static str) -> Problem {
        Problem::Arguments {
            function: self.name.to_owned(),
            wanted,
            given: self.arguments.len(),
        }
    }

    fn unfit(&self, value: &Value) -> Problem {
        Problem::Type {
            function: self.name.to_owned(),
            given: kind_name(value),
        }
    }

    fn string<'v>(&self, value: &'v Value) -> Result<&'v str, Problem> {
        value.as_str().ok_or_else(|| self.unfit(value))
    }

    fn one_string(&self) -> Result<&str, Problem> {
        let [value] = self.exactly::<1>("one text")?;
        self.string(value)
    }

    fn width(&self, value: &Value) -> Result<usize, Problem> {
        let width = value.as_u64().ok_or_else(|| self.unfit(value))?;
        Ok(usize::try_from(width).map_or(WIDTH_MAXIMUM, |width| width.min(WIDTH_MAXIMUM)))
    }

    fn words(&self) -> Vec<String> {
        self.arguments.iter().map(|value| text_of(value)).collect()
    }

    /// `fmt.Sprint`: a space between two operands when neither is a string.
    fn print(&self) -> String {
        let mut text = String::new();
        for (index, value) in self.arguments.iter().enumerate() {
            if index > 0 && !value.is_string() && !self.arguments[index - 1].is_string() {
                text.push(' ');
            }
            text.push_str(&text_of(value));
        }
        text
    }

    fn printf(&self) -> Result<String, Problem> {
        let (format, rest) = self
            .arguments
            .split_first()
            .ok_or_else(|| self.count("a format"))?;
        Ok(sprintf(self.string(format)?, rest))
    }

    fn length(&self) -> Result<usize, Problem> {
        let [value] = self.exactly::<1>("one argument")?;
        match value {
            Value::String(text) => Ok(text.len()),
            Value::Array(list) => Ok(list.len()),
            Value::Object(map) => Ok(map.len()),
            Value::Null => Ok(0),
            other => Err(self.unfit(other)),
        }
    }

    /// Whether the first argument equals any of the others.
    fn equal(&self) -> Result<bool, Problem> {
        let Some((first, rest)) = self
            .arguments
            .split_first()
            .filter(|(_, rest)| !rest.is_empty())
        else {
            return Err(self.count("at least two arguments"));
        };
        for other in rest {
            if compare(self.name, first, other)? == Ordering::Equal {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// `lt` and its kin: numbers and strings only.
    fn ordered(&self) -> Result<bool, Problem> {
        let [left, right] = self.exactly::<2>("two arguments")?;
        let order = compare(self.name, left, right)?;
        if !matches!((left, right), (Value::Number(_) | Value::String(_), _)) {
            return Err(Problem::Incomparable(self.name.to_owned()));
        }
        Ok(match self.name {
            "lt" => order.is_lt(),
            "le" => order.is_le(),
            "gt" => order.is_gt(),
            _ => order.is_ge(),
        })
    }

    fn index(mut self) -> Result<Val<'a>, Problem> {
        if self.arguments.is_empty() {
            return Err(self.count("a list or a map, and its keys"));
        }
        let keys = self.arguments.split_off(1);
        let mut value = self.arguments.swap_remove(0);
        for key in keys {
            value = index_one(value, &key)?;
        }
        Ok(value)
    }

    fn slice(&self) -> Result<Value, Problem> {
        let Some((first, rest)) = self
            .arguments
            .split_first()
            .filter(|(_, rest)| rest.len() <= 2)
        else {
            return Err(self.count("a text or a list, and up to two places"));
        };
        let length = match &**first {
            Value::String(text) => text.len(),
            Value::Array(list) => list.len(),
            other => return Err(self.unfit(other)),
        };
        let place = |at: usize, default: usize| match rest.get(at) {
            None => Ok(default),
            Some(value) => value
                .as_u64()
                .and_then(|place| usize::try_from(place).ok())
                .filter(|place| *place <= length)
                .ok_or_else(|| Problem::Index(text_of(value))),
        };
        let (from, to) = (place(0, 0)?, place(1, length)?);
        let outside = || Problem::Index(format!("{from}:{to}"));
        match &**first {
            Value::Array(list) => Ok(Value::from(
                list.get(from..to).ok_or_else(outside)?.to_vec(),
            )),
            // Go cuts strings at bytes; inside a character there is nothing sensible to give.
            other => Ok(Value::from(
                other
                    .as_str()
                    .unwrap_or_default()
                    .get(from..to)
                    .ok_or_else(outside)?,
            )),
        }
    }
}

/// A missing key of a map of texts is an empty text, as in a Go map.
fn index_one<'a>(value: Val<'a>, key: &Value) -> Result<Val<'a>, Problem> {
    let missing = match (&*value, key) {
        (Value::Object(map), Value::String(key)) if !map.contains_key(key) => {
            match map.values().all(Value::is_string) {
                true => Value::from(""),
                false => Value::Null,
            }
        }
        (Value::Null, _) => Value::from(""),
        (Value::Object(_), Value::String(_)) => Value::Null,
        (Value::Array(list), Value::Number(number)) => {
            let inside = number.as_u64().is_some_and(|at| at < list.len() as u64);
            if !inside {
                return Err(Problem::Index(text_of(key)));
            }
            Value::Null
        }
        (Value::Object(_) | Value::Array(_), _) => return Err(Problem::Index(text_of(key))),
        (other, _) => {
            return Err(Problem::Type {
                function: "index".to_owned(),
                given: kind_name(other),
            });
        }
    };
    let found = match value {
        Cow::Borrowed(value) => get(value, key).map(Cow::Borrowed),
        Cow::Owned(value) => get(&value, key).cloned().map(Cow::Owned),
    };
    Ok(found.unwrap_or(Cow::Owned(missing)))
}

fn get<'v>(value: &'v Value, key: &Value) -> Option<&'v Value> {
    match key {
        Value::String(key) => value.get(key),
        other => value.get(usize::try_from(other.as_u64()?).ok()?),
    }
}

/// Orders two simple values of one kind; equality alone is told for truth values and nothing.
fn compare(function: &str, left: &Value, right: &Value) -> Result<Ordering, Problem> {
    let incomparable = || Problem::Incomparable(function.to_owned());
    match (left, right) {
        (Value::String(left), Value::String(right)) => Ok(left.cmp(right)),
        (Value::Bool(left), Value::Bool(right)) => Ok(left.cmp(right)),
        (Value::Null, Value::Null) => Ok(Ordering::Equal),
        (Value::Null, _) | (_, Value::Null) => Ok(Ordering::Less),
        (Value::Number(left), Value::Number(right)) => {
            let integers = |number: &serde_json::Number| {
                number
                    .as_i64()
                    .map(i128::from)
                    .or_else(|| number.as_u64().map(i128::from))
            };
            match (integers(left), integers(right)) {
                (Some(left), Some(right)) => Ok(left.cmp(&right)),
                _ => left
                    .as_f64()
                    .partial_cmp(&right.as_f64())
                    .ok_or_else(incomparable),
            }
        }
        _ => Err(incomparable()),
    }
}

fn split(text: &str, separator: &str) -> Value {
    match separator {
        "" => text.chars().map(String::from).collect::<Vec<_>>().into(),
        separator => text.split(separator).collect::<Vec<_>>().into(),
    }
}

/// Every word's first letter as a capital.
fn title(text: &str) -> String {
    let mut inside = false;
    text.chars()
        .flat_map(|character| {
            let first = !std::mem::replace(
                &mut inside,
                character.is_alphanumeric() || character == '_' || character == '\'',
            );
            match first {
                true => character.to_uppercase().collect::<Vec<_>>(),
                false => vec![character],
            }
        })
        .collect()
}
