//! Numbers that may only fall, kept in `xtask/ratchet.json` with the reason for each.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{self, Error};

const FILE: &str = "xtask/ratchet.json";

/// The content of the file.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ratchet {
    /// By room: uses of the keyword `unsafe`.
    pub(crate) unsafe_uses: Notches,
    /// By path: lines of a file that is past the limit.
    pub(crate) long_files: Notches,
}

#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Notches(pub(crate) BTreeMap<String, Notch>);

/// Where one ratchet stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Notch {
    pub(crate) limit: usize,
    /// Why it is as high as it is.
    pub(crate) reason: String,
}

/// What may be raised in this blessing, and why.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Raise {
    pub(crate) what: Vec<String>,
    pub(crate) reason: Option<String>,
}

impl Ratchet {
    /// A missing file is one that grants nothing.
    pub(crate) fn load(root: &Path) -> Result<Self, Error> {
        let path = root.join(FILE);
        if !path.exists() {
            return Ok(Ratchet::default());
        }
        serde_json::from_str(&error::read(&path)?)
            .map_err(|error| Error::Json(format!("`{FILE}`"), error))
    }

    pub(crate) fn save(&self, root: &Path) -> Result<(), Error> {
        let text = serde_json::to_string_pretty(self)
            .map_err(|error| Error::Json(format!("`{FILE}`"), error))?;
        error::write(&root.join(FILE), &format!("{text}\n"))
    }
}

impl Notches {
    pub(crate) fn limit(&self, what: &str) -> usize {
        self.0.get(what).map_or(0, |notch| notch.limit)
    }

    /// Turns every notch to what is there now. One that would rise stays, unless `raise` names
    /// it; those are given back as what, limit, count.
    pub(crate) fn turn(
        &mut self,
        now: &BTreeMap<String, usize>,
        raise: &Raise,
    ) -> Vec<(String, usize, usize)> {
        self.0.retain(|what, _| now.contains_key(what));
        let mut refused = Vec::new();
        for (what, &count) in now {
            let limit = self.limit(what);
            if count <= limit {
                if let Some(notch) = self.0.get_mut(what) {
                    notch.limit = count;
                }
                continue;
            }
            match &raise.reason {
                Some(reason) if raise.what.contains(what) => {
                    let reason = reason.clone();
                    self.0.insert(
                        what.clone(),
                        Notch {
                            limit: count,
                            reason,
                        },
                    );
                }
                _ => refused.push((what.clone(), limit, count)),
            }
        }
        refused
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notches(limit: usize) -> Notches {
        let reason = "old".to_owned();
        Notches(BTreeMap::from([(
            "sys".to_owned(),
            Notch { limit, reason },
        )]))
    }

    fn now(count: usize) -> BTreeMap<String, usize> {
        BTreeMap::from([("sys".to_owned(), count)])
    }

    #[test]
    fn it_falls_by_itself_and_keeps_its_reason() {
        let mut notches = notches(5);
        assert_eq!(notches.turn(&now(3), &Raise::default()), []);
        assert_eq!(notches.limit("sys"), 3);
        assert_eq!(notches.0["sys"].reason, "old");
        assert_eq!(notches.turn(&BTreeMap::new(), &Raise::default()), []);
        assert!(notches.0.is_empty());
    }

    #[test]
    fn it_rises_only_by_name_and_with_the_reason_written() {
        let mut notches = notches(5);
        assert_eq!(
            notches.turn(&now(6), &Raise::default()),
            [("sys".to_owned(), 5, 6)]
        );
        assert_eq!(notches.limit("sys"), 5);
        let mut raise = Raise {
            what: vec!["net".to_owned()],
            reason: Some("new".to_owned()),
        };
        assert_eq!(notches.turn(&now(6), &raise).len(), 1);
        raise.what.push("sys".to_owned());
        assert_eq!(notches.turn(&now(6), &raise), []);
        assert_eq!(
            notches.0["sys"],
            Notch {
                limit: 6,
                reason: "new".to_owned()
            }
        );
    }
}
