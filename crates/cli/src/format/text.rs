//! How Go sees and prints values.

use std::fmt::Write as _;

use serde_json::Value;

use super::number::print_number;

/// Go's truth: not false, zero, empty or nothing.
pub(super) fn truth(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => !map.is_empty(),
    }
}

/// As `fmt.Print`: `[a b]`, `map[k:v]`, `<no value>`.
pub(super) fn print(output: &mut String, value: &Value) {
    match value {
        Value::Null => output.push_str("<no value>"),
        Value::Bool(value) => {
            // Writing to a `String` cannot fail.
            let _ = write!(output, "{value}");
        }
        Value::Number(number) => output.push_str(&print_number(number)),
        Value::String(text) => output.push_str(text),
        Value::Array(list) => {
            output.push('[');
            for (index, item) in list.iter().enumerate() {
                if index > 0 {
                    output.push(' ');
                }
                print(output, item);
            }
            output.push(']');
        }
        Value::Object(map) => {
            output.push_str("map[");
            for (index, (key, item)) in map.iter().enumerate() {
                if index > 0 {
                    output.push(' ');
                }
                output.push_str(key);
                output.push(':');
                print(output, item);
            }
            output.push(']');
        }
    }
}

/// The value's text, as [`print`] makes it.
pub(super) fn text_of(value: &Value) -> String {
    let mut text = String::new();
    print(&mut text, value);
    text
}

/// What a value is, for a message.
pub(super) fn kind_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "missing value",
        Value::Bool(_) => "truth value",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "list",
        Value::Object(_) => "map",
    }
}
