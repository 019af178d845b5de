//! `pod create --share`.

use std::collections::BTreeSet;

use gamut_plan::request::PodNamespace;

use super::ArgumentError;

/// Namespaces that the containers of a pod share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share(pub BTreeSet<PodNamespace>);

impl Default for Share {
    fn default() -> Self {
        Self(PodNamespace::DEFAULT.into())
    }
}

/// `net,pid`; `+pid`: besides those that are shared anyway; `none` or nothing at all.
pub fn parse_share(text: &str) -> Result<Share, ArgumentError> {
    let (mut set, names) = match text.strip_prefix('+') {
        Some(more) => (Share::default().0, more),
        None => (BTreeSet::new(), text),
    };
    for name in names.split(',').filter(|name| !name.is_empty()) {
        if name == "none" && names == "none" {
            continue;
        }
        let known = PodNamespace::ALL.into_iter().find(|one| one.name() == name);
        set.insert(known.ok_or_else(|| ArgumentError::Share {
            name: name.to_owned(),
        })?);
    }
    Ok(Share(set))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespaces_are_added_or_listed() {
        let names = |text| -> Vec<_> {
            let share = parse_share(text).unwrap().0;
            share.into_iter().map(PodNamespace::name).collect()
        };
        assert_eq!(names("net,pid"), ["net", "pid"]);
        assert_eq!(names("+pid"), ["ipc", "net", "pid", "uts"]);
        assert!(names("none").is_empty() && names("").is_empty());
        assert!(parse_share("mnt").is_err() && parse_share("net,none").is_err());
    }
}
