//! What a client has: `tests/parity/CLIENT.tsv`, of `lab/parity collect`.

use std::collections::{BTreeMap, BTreeSet};

use super::canonical;

/// A client's verbs with their flags.
#[derive(Debug, Default)]
pub(super) struct Client {
    /// As it says it itself.
    pub(super) version: String,
    pub(super) verbs: BTreeMap<String, BTreeSet<String>>,
}

/// Verbs that are there under several names count once.
pub(super) fn parse(text: &str) -> Client {
    let mut client = Client::default();
    for line in text.lines() {
        if let Some(version) = line.strip_prefix("# ") {
            client.version = version.to_owned();
            continue;
        }
        let mut fields = line.split('\t');
        let verb = canonical(fields.next().unwrap_or_default());
        let flags = client.verbs.entry(verb).or_default();
        if let Some(flag) = fields.next() {
            flags.insert(flag.to_owned());
        }
    }
    client
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verbs_and_their_flags() {
        let client =
            parse("# docker 28\nrun\nrun\t--name\t\tstring\ncontainer run\t--rm\t\t\nps\n");
        assert_eq!(client.version, "docker 28");
        assert_eq!(client.verbs["run"].len(), 2);
        assert!(client.verbs["ps"].is_empty());
    }
}
