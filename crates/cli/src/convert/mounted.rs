//! What `--mount`, `-v` and `--tmpfs` have in common: what is mounted where, and how its parts are written.

use std::path::{Component, Path, PathBuf};

use gamut_plan::request::{Propagation, Relabel, TmpfsOptions};

use super::error::MountProblem;

/// A mount whose host path may still be relative.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountArg {
    pub target: PathBuf,
    pub read_only: bool,
    pub source: SourceArg,
}

/// [`gamut_plan::request::MountSource`] before the host path is made absolute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceArg {
    Bind {
        path: PathBuf,
        create: bool,
        recursive: bool,
        below_writable: bool,
        propagation: Propagation,
        relabel: Option<Relabel>,
    },
    Volume {
        name: Option<String>,
        copy_image_content: bool,
        subpath: Option<PathBuf>,
    },
    Tmpfs(TmpfsOptions),
}

/// The path inside: absolute, not `/`, cleaned of `.` and `..`. The engine resolves it inside
/// the root again, against links.
pub(super) fn parse_target(text: &str) -> Result<PathBuf, MountProblem> {
    if text.is_empty() {
        return Err(MountProblem::NoTarget);
    }
    let target = clean_absolute(text).ok_or(MountProblem::TargetRelative)?;
    if target == Path::new("/") {
        return Err(MountProblem::TargetRoot);
    }
    Ok(target)
}

/// An absolute path without `.`, `..` and doubled `/`; `None` for any other.
pub(super) fn clean_absolute(text: &str) -> Option<PathBuf> {
    if !text.starts_with('/') || text.contains('\0') {
        return None;
    }
    let mut clean = PathBuf::from("/");
    for component in Path::new(text).components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => {
                clean.pop();
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    Some(clean)
}

pub(super) fn parse_propagation(text: &str) -> Option<Propagation> {
    Some(match text {
        "private" => Propagation::Private,
        "rprivate" => Propagation::Rprivate,
        "slave" => Propagation::Slave,
        "rslave" => Propagation::Rslave,
        "shared" => Propagation::Shared,
        "rshared" => Propagation::Rshared,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cleaning_never_climbs_above_the_root() {
        assert_eq!(clean_absolute("/../../a/./b//c/.."), Some("/a/b".into()));
        assert_eq!(clean_absolute("a"), None);
        assert_eq!(clean_absolute("/a\0"), None);
    }
}
