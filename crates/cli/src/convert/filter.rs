//! `--filter key=value`, several of them combined as Docker does: different keys must all hold,
//! of one key any.

use std::collections::BTreeMap;

use super::ArgumentError;

/// One `--filter`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    pub key: String,
    pub value: String,
}

/// `status=exited`; keys are lower case.
pub fn parse_filter(text: &str) -> Result<Filter, ArgumentError> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok(Filter {
            key: key.trim().to_ascii_lowercase(),
            value: value.trim().to_owned(),
        }),
        _ => Err(ArgumentError::Filter {
            text: text.to_owned(),
        }),
    }
}

/// All filters of one command, grouped by key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filters(BTreeMap<String, Vec<String>>);

impl Filters {
    /// Groups `filters`; a key that is not among `allowed` is an error that lists them.
    pub fn new(filters: &[Filter], allowed: &[&str]) -> Result<Self, ArgumentError> {
        let mut grouped: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for Filter { key, value } in filters {
            if !allowed.contains(&key.as_str()) {
                return Err(ArgumentError::FilterKey {
                    key: key.clone(),
                    allowed: allowed.join(", "),
                });
            }
            grouped.entry(key.clone()).or_default().push(value.clone());
        }
        Ok(Self(grouped))
    }

    /// The values given for `key`; empty: the key does not filter.
    pub fn values(&self, key: &str) -> &[String] {
        self.0.get(key).map_or(&[], Vec::as_slice)
    }

    /// Whether `key` is not given, or `test` holds for one of its values.
    pub fn any(&self, key: &str, test: impl FnMut(&str) -> bool) -> bool {
        let values = self.values(key);
        values.is_empty() || values.iter().map(String::as_str).any(test)
    }

    /// Whether `test` holds for every value of `key`: Docker's rule for `label`.
    pub fn all(&self, key: &str, test: impl FnMut(&str) -> bool) -> bool {
        self.values(key).iter().map(String::as_str).all(test)
    }

    /// Whether `labels` has none of the `label!=KEY` and `label!=KEY=VALUE` that were named.
    pub fn unlabelled(&self, labels: &BTreeMap<String, String>) -> bool {
        self.all("label!", |unwanted| match unwanted.split_once('=') {
            Some((key, value)) => labels.get(key).is_none_or(|actual| actual != value),
            None => !labels.contains_key(unwanted),
        })
    }

    /// Whether `labels` has every `label=KEY` and `label=KEY=VALUE` asked for.
    pub fn labels(&self, labels: &BTreeMap<String, String>) -> bool {
        self.all("label", |wanted| match wanted.split_once('=') {
            Some((key, value)) => labels.get(key).is_some_and(|actual| actual == value),
            None => labels.contains_key(wanted),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_one_key_any_must_hold() {
        let given = [parse_filter("status=exited"), parse_filter("STATUS=dead")];
        let given: Vec<_> = given.into_iter().map(Result::unwrap).collect();
        let filters = Filters::new(&given, &["status", "name"]).unwrap();
        assert!(filters.any("status", |status| status == "dead"));
        assert!(!filters.any("status", |status| status == "running"));
        assert!(filters.any("name", |_| false));
    }

    #[test]
    fn of_labels_all_must_hold() {
        let given = [parse_filter("label=a"), parse_filter("label=b=1=2")];
        let given: Vec<_> = given.into_iter().map(Result::unwrap).collect();
        let filters = Filters::new(&given, &["label"]).unwrap();
        let labels = |pairs: &[(&str, &str)]| {
            pairs
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect()
        };
        assert!(filters.labels(&labels(&[("a", "x"), ("b", "1=2")])));
        assert!(!filters.labels(&labels(&[("a", "x"), ("b", "1")])));
        assert!(!filters.labels(&labels(&[("b", "1=2")])));
    }

    #[test]
    fn unknown_keys_are_named() {
        assert!(parse_filter("status").is_err());
        assert!(parse_filter("=x").is_err());
        let filter = parse_filter("colour=red").unwrap();
        let error = Filters::new(&[filter], &["name", "status"]).unwrap_err();
        assert_eq!(error.to_string(), "unknown filter `colour`");
    }
}
