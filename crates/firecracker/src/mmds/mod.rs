//! The metadata service: a JSON document that the host fills and the guest reads. Here is the document,
//! [`answer`] is what the guest gets, [`token`] lets it, and [`guest`] is where it asks.

pub mod answer;
pub mod guest;
pub mod token;

use serde_json::{Map, Value};

use crate::model::MmdsVersion;
use token::Tokens;

/// The deepest that documents are nested: serde_json reads no deeper ones, but patches could add up.
const DEPTH_MAX: usize = 128;

/// The document, and how it may be read.
#[derive(Debug)]
pub struct Mmds {
    document: Value,
    is_filled: bool,
    size_bytes_max: usize,
    version: MmdsVersion,
    form: Form,
    tokens: Tokens,
}

/// How the guest is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// As it accepts: JSON, or EC2's lists of keys.
    Accepted,
    /// Always the latter.
    Ec2,
}

/// Why the document stays as it is. The words are Firecracker's.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum MmdsError {
    #[error("The MMDS patch request doesn't fit.")]
    TooLarge,
    #[error("The MMDS data store is not initialized.")]
    NotInitialized,
    #[error("The MMDS resource does not exist.")]
    NotFound,
    #[error("Cannot retrieve value. The value has an unsupported type.")]
    ValueType,
}

impl Mmds {
    /// An empty one, whose document may have so many bytes as JSON.
    ///
    /// # Errors
    /// That the system has no random numbers.
    pub fn new(size_bytes_max: usize) -> Result<Self, rustix::io::Errno> {
        Ok(Self {
            document: Value::Null,
            is_filled: false,
            size_bytes_max,
            version: MmdsVersion::default(),
            form: Form::Accepted,
            tokens: Tokens::new()?,
        })
    }

    /// How it may be read from now on, by the guest of an instance.
    pub fn configure(&mut self, version: MmdsVersion, form: Form, instance: &str) {
        self.version = version;
        self.form = form;
        self.tokens.bind(instance);
    }

    /// The whole document.
    #[must_use]
    pub fn document(&self) -> &Value {
        &self.document
    }

    /// Replaces it.
    ///
    /// # Errors
    /// That it is too large.
    pub fn put(&mut self, document: Value) -> Result<(), MmdsError> {
        self.check(&document)?;
        self.document = document;
        self.is_filled = true;
        Ok(())
    }

    /// Changes it; RFC 7396.
    ///
    /// # Errors
    /// That nothing is there, or that it becomes too large.
    pub fn patch(&mut self, patch: &Value) -> Result<(), MmdsError> {
        if !self.is_filled {
            return Err(MmdsError::NotInitialized);
        }
        let mut document = self.document.clone();
        merge(&mut document, patch);
        self.check(&document)?;
        self.document = document;
        Ok(())
    }

    fn check(&self, document: &Value) -> Result<(), MmdsError> {
        if document.to_string().len() > self.size_bytes_max || depth(document) > DEPTH_MAX {
            return Err(MmdsError::TooLarge);
        }
        Ok(())
    }

    /// What is at `path`, with the names of its keys in EC2's form or as JSON.
    fn value(&self, path: &str, form: Accept) -> Result<String, MmdsError> {
        let path = path.strip_suffix('/').unwrap_or(path);
        let value = self.document.pointer(path).ok_or(MmdsError::NotFound)?;
        match form {
            Accept::Json if self.form == Form::Accepted => Ok(value.to_string()),
            _ => ec2(value),
        }
    }
}

/// What the guest would like to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Accept {
    Text,
    Json,
}

/// A text as it is, an object as its keys, a line each, with a slash behind those of objects.
fn ec2(value: &Value) -> Result<String, MmdsError> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Object(fields) => {
            let line = |(key, value): (&String, &Value)| match value {
                Value::Object(_) => format!("{key}/"),
                _ => key.clone(),
            };
            Ok(fields.iter().map(line).collect::<Vec<_>>().join("\n"))
        }
        _ => Err(MmdsError::ValueType),
    }
}

/// JSON Merge Patch; RFC 7396, 2. As deep as `patch`, which a parser has bounded.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(changes) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(fields) = target else {
        return;
    };
    for (key, change) in changes {
        if change.is_null() {
            fields.remove(key);
        } else {
            merge(fields.entry(key.as_str()).or_insert(Value::Null), change);
        }
    }
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or(0),
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_patch_merges_and_must_fit() {
        let mut mmds = Mmds::new(40).expect("random numbers");
        assert_eq!(mmds.patch(&json!({})), Err(MmdsError::NotInitialized));
        mmds.put(json!({"a": {"b": 1, "c": 2}})).expect("it fits");
        mmds.patch(&json!({"a": {"b": null, "d": {"e": null, "f": 3}}}))
            .expect("it fits");
        assert_eq!(mmds.document(), &json!({"a": {"c": 2, "d": {"f": 3}}}));
        let long = json!({"a": "x".repeat(40)});
        assert_eq!(mmds.patch(&long), Err(MmdsError::TooLarge));
        assert_eq!(mmds.put(long), Err(MmdsError::TooLarge));
        assert_eq!(mmds.document(), &json!({"a": {"c": 2, "d": {"f": 3}}}));
    }

    #[test]
    fn ec2s_form_lists_keys() {
        let mut mmds = Mmds::new(1000).expect("random numbers");
        mmds.put(json!({"latest": {"ami-id": "ami-1", "meta": {"n": 1}}}))
            .expect("it fits");
        let text = |path| mmds.value(path, Accept::Text);
        assert_eq!(text("/latest"), Ok("ami-id\nmeta/".to_owned()));
        assert_eq!(text("/latest/ami-id"), Ok("ami-1".to_owned()));
        assert_eq!(text("/latest/meta/"), Ok("n".to_owned()));
        assert_eq!(text("/latest/meta/n"), Err(MmdsError::ValueType));
        assert_eq!(text("/none"), Err(MmdsError::NotFound));
        assert_eq!(text("/"), Ok("latest/".to_owned()));
        let json = mmds.value("/latest/meta", Accept::Json);
        assert_eq!(json, Ok(r#"{"n":1}"#.to_owned()));
    }
}
