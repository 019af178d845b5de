//! `--security-opt`.

use std::path::PathBuf;

use super::ArgumentError;

/// One option, the profile not yet read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecurityOption {
    /// `no-new-privileges[=BOOL]`.
    NoNewPrivileges(bool),
    SeccompDefault,
    SeccompUnconfined,
    SeccompProfile(PathBuf),
    SystemPathsUnconfined,
    /// Podman's: paths that are hidden besides, and paths that are not.
    Mask(Vec<String>),
    Unmask(Vec<String>),
    /// `apparmor=unconfined`, `label=disable`: gamut confines by neither.
    NothingToDo,
}

/// Docker's options that mean something here; others are refused rather than ignored.
pub fn parse_security_option(text: &str) -> Result<SecurityOption, ArgumentError> {
    let invalid = || ArgumentError::SecurityOption {
        text: text.to_owned(),
    };
    // Docker once wrote `:` for `=`, and scripts still do.
    let (name, value) = match text.split_once(['=', ':']) {
        Some((name, value)) => (name, Some(value)),
        None => (text, None),
    };
    Ok(match (name, value) {
        ("no-new-privileges", None | Some("true")) => SecurityOption::NoNewPrivileges(true),
        ("no-new-privileges", Some("false")) => SecurityOption::NoNewPrivileges(false),
        ("seccomp", Some("unconfined")) => SecurityOption::SeccompUnconfined,
        ("seccomp", Some("builtin")) => SecurityOption::SeccompDefault,
        ("seccomp", Some(path)) if !path.is_empty() => {
            SecurityOption::SeccompProfile(PathBuf::from(path))
        }
        ("systempaths", Some("unconfined")) => SecurityOption::SystemPathsUnconfined,
        ("mask", Some(paths)) => SecurityOption::Mask(list(paths).ok_or_else(invalid)?),
        ("unmask", Some("ALL")) => SecurityOption::Unmask(vec!["ALL".to_owned()]),
        ("unmask", Some(paths)) => SecurityOption::Unmask(list(paths).ok_or_else(invalid)?),
        ("apparmor", Some("unconfined")) | ("label", Some("disable")) => {
            SecurityOption::NothingToDo
        }
        _ => return Err(invalid()),
    })
}

/// Absolute paths with colons between.
fn list(paths: &str) -> Option<Vec<String>> {
    let is_absolute = |path: &&str| path.starts_with('/');
    let paths: Vec<&str> = paths.split(':').collect();
    let is_good = paths.iter().all(is_absolute);
    is_good.then(|| paths.into_iter().map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options() {
        for (text, option) in [
            ("no-new-privileges", SecurityOption::NoNewPrivileges(true)),
            (
                "no-new-privileges:false",
                SecurityOption::NoNewPrivileges(false),
            ),
            ("seccomp=unconfined", SecurityOption::SeccompUnconfined),
            (
                "seccomp=a=b.json",
                SecurityOption::SeccompProfile("a=b.json".into()),
            ),
            (
                "systempaths=unconfined",
                SecurityOption::SystemPathsUnconfined,
            ),
            ("apparmor=unconfined", SecurityOption::NothingToDo),
            (
                "mask=/a:/b",
                SecurityOption::Mask(vec!["/a".to_owned(), "/b".to_owned()]),
            ),
            (
                "unmask=/proc/*",
                SecurityOption::Unmask(vec!["/proc/*".to_owned()]),
            ),
        ] {
            assert_eq!(parse_security_option(text), Ok(option), "{text}");
        }
        for text in [
            "",
            "seccomp",
            "seccomp=",
            "no-new-privileges=maybe",
            "apparmor=mine",
            "mask=proc",
        ] {
            assert!(parse_security_option(text).is_err(), "{text}");
        }
    }
}
