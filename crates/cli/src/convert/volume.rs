//! `-v [SOURCE:]TARGET[:OPTIONS]`.

use std::path::PathBuf;

use super::ArgumentError;
use super::error::MountProblem;
use super::mounted::{MountArg, SourceArg, parse_propagation, parse_target};
use gamut_plan::request::{Propagation, Relabel, VolumesFrom, is_name};

/// A host path (absolute, or starting with `.`), a volume's name, or nothing for an anonymous
/// volume; then the absolute path inside and options with commas between.
pub fn parse_volume(text: &str) -> Result<MountArg, ArgumentError> {
    parse(text).map_err(|problem| ArgumentError::Volume {
        text: text.to_owned(),
        problem,
    })
}

/// `CONTAINER[:ro]`, of `--volumes-from`.
pub fn parse_volumes_from(text: &str) -> Result<VolumesFrom, ArgumentError> {
    let (container, options) = text.split_once(':').unwrap_or((text, ""));
    let read_only = match options {
        "ro" => Some(true),
        "" | "rw" | "z" | "Z" => Some(false),
        _ => None,
    };
    match (container, read_only) {
        ("", _) | (_, None) => Err(ArgumentError::VolumesFrom {
            text: text.to_owned(),
        }),
        (_, Some(read_only)) => Ok(VolumesFrom {
            container: container.to_owned(),
            read_only,
        }),
    }
}

fn parse(text: &str) -> Result<MountArg, MountProblem> {
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, options) = match parts[..] {
        [target] => (None, target, ""),
        [source, target] => (Some(source), target, ""),
        [source, target, options] => (Some(source), target, options),
        _ => return Err(MountProblem::Parts),
    };
    let target = parse_target(target)?;
    let options = Options::parse(options)?;
    let source = match source {
        Some("") => return Err(MountProblem::NoSource),
        Some(path) if path.starts_with(['/', '.']) => SourceArg::Bind {
            path: match options.no_copy {
                false => PathBuf::from(path),
                true => return Err(wrong_type("nocopy", "bind")),
            },
            create: true,
            recursive: true,
            below_writable: false,
            propagation: options.propagation.unwrap_or_default(),
            relabel: options.relabel,
        },
        name => {
            if let Some(name) = name.filter(|name| !is_name(name)) {
                return Err(MountProblem::VolumeName(name.to_owned()));
            }
            if options.propagation.is_some() {
                return Err(wrong_type("a propagation", "volume"));
            }
            SourceArg::Volume {
                name: name.map(str::to_owned),
                copy_image_content: !options.no_copy,
                subpath: None,
            }
        }
    };
    Ok(MountArg {
        target,
        read_only: options.read_only,
        source,
    })
}

fn wrong_type(option: &str, kind: &'static str) -> MountProblem {
    MountProblem::WrongType {
        option: option.to_owned(),
        kind,
    }
}

#[derive(Default)]
struct Options {
    read_only: bool,
    no_copy: bool,
    propagation: Option<Propagation>,
    relabel: Option<Relabel>,
}

impl Options {
    fn parse(text: &str) -> Result<Self, MountProblem> {
        let mut options = Self::default();
        let mut access = None;
        for word in text.split(',').filter(|word| !word.is_empty()) {
            match word {
                "ro" | "rw" => {
                    if let Some(other) = access.replace(word).filter(|other| *other != word) {
                        return Err(MountProblem::Exclusive(other.to_owned(), word.to_owned()));
                    }
                    options.read_only = word == "ro";
                }
                "nocopy" => options.no_copy = true,
                "z" => options.relabel = Some(Relabel::Shared),
                "Z" => options.relabel = Some(Relabel::Private),
                // Hints to Docker Desktop's file sharing.
                "cached" | "delegated" | "consistent" | "default" => {}
                word => {
                    let propagation = parse_propagation(word)
                        .ok_or_else(|| MountProblem::Option(word.to_owned()))?;
                    options.propagation = Some(propagation);
                }
            }
        }
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_paths_names_and_nothing() {
        let bind = parse_volume("/srv/www:/var//www/../www/:ro,rslave,z").unwrap();
        assert_eq!(bind.target, PathBuf::from("/var/www"));
        assert!(bind.read_only);
        assert_eq!(
            bind.source,
            SourceArg::Bind {
                path: "/srv/www".into(),
                create: true,
                recursive: true,
                below_writable: false,
                propagation: Propagation::Rslave,
                relabel: Some(Relabel::Shared),
            }
        );
        let named = parse_volume("data:/data:nocopy").unwrap();
        assert_eq!(
            named.source,
            SourceArg::Volume {
                name: Some("data".to_owned()),
                copy_image_content: false,
                subpath: None,
            }
        );
        let anonymous = parse_volume("/data").unwrap();
        assert_eq!(
            anonymous.source,
            SourceArg::Volume {
                name: None,
                copy_image_content: true,
                subpath: None,
            }
        );
        assert!(matches!(
            parse_volume(".:/x").unwrap().source,
            SourceArg::Bind { .. }
        ));
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "",
            ":",
            ":/x",
            "/a:",
            "/a:b",
            "/a:/",
            "/a:/..",
            "a/b:/x",
            "/a:/b:xx",
            "/a:/b:ro,rw",
            "/a:/b:ro:x",
            "/a:/b:nocopy",
            "name:/b:rslave",
            "rel",
            "-x:/y",
        ] {
            assert!(parse_volume(text).is_err(), "{text}");
        }
    }
}
