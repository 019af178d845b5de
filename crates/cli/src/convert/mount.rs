//! `--mount type=…,source=…,target=…` and `--tmpfs TARGET[:OPTIONS]`.

use std::path::{Component, Path, PathBuf};

use super::error::MountProblem;
use super::mounted::{MountArg, SourceArg, parse_propagation, parse_target};
use super::{ArgumentError, parse_size};
use gamut_plan::request::{Propagation, TmpfsOptions, is_name};

/// Docker's long form: comma-separated `key=value`, a field in double quotes may hold commas.
pub fn parse_mount(text: &str) -> Result<MountArg, ArgumentError> {
    long_form(text).map_err(|problem| ArgumentError::Mount {
        text: text.to_owned(),
        problem,
    })
}

/// `/run` or `/run:size=64m,mode=1777,exec`.
pub fn parse_tmpfs(text: &str) -> Result<MountArg, ArgumentError> {
    short_tmpfs(text).map_err(|problem| ArgumentError::Mount {
        text: text.to_owned(),
        problem,
    })
}

#[derive(Default)]
struct Fields {
    kind: Option<String>,
    source: Option<String>,
    target: Option<String>,
    read_only: bool,
    propagation: Option<Propagation>,
    non_recursive: bool,
    below_writable: bool,
    /// `bind-recursive=readonly`: an error without `readonly`.
    wants_read_only: bool,
    create_source: bool,
    no_copy: bool,
    subpath: Option<PathBuf>,
    tmpfs: TmpfsOptions,
    /// Keys that fit one type only, with the type's name.
    typed_keys: Vec<(String, &'static str)>,
}

fn long_form(text: &str) -> Result<MountArg, MountProblem> {
    let mut fields = Fields::default();
    for field in split_quoted(text)? {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key.to_ascii_lowercase(), Some(value)),
            None => (field.to_ascii_lowercase(), None),
        };
        fields.take(key, value)?;
    }
    let target = parse_target(fields.target.as_deref().unwrap_or_default())?;
    let kind = match fields.kind.as_deref() {
        Some("bind") => "bind",
        None | Some("volume") => "volume",
        Some("tmpfs") => "tmpfs",
        Some(other) => return Err(MountProblem::Type(other.to_owned())),
    };
    if let Some((option, _)) = fields.typed_keys.iter().find(|(_, of)| *of != kind) {
        return Err(MountProblem::WrongType {
            option: option.clone(),
            kind,
        });
    }
    Ok(MountArg {
        target,
        read_only: fields.read_only,
        source: fields.source_of(kind)?,
    })
}

impl Fields {
    fn take(&mut self, key: String, value: Option<&str>) -> Result<(), MountProblem> {
        let needed = || value.ok_or_else(|| MountProblem::OptionValue(key.clone()));
        let bad = || MountProblem::BadValue {
            option: key.clone(),
            value: value.unwrap_or_default().to_owned(),
        };
        let switch = || match value {
            None | Some("true" | "1") => Ok(true),
            Some("false" | "0") => Ok(false),
            Some(_) => Err(bad()),
        };
        let of = match key.split_once('-') {
            Some(("bind", _)) => Some("bind"),
            Some(("volume", _)) => Some("volume"),
            // Podman's shorter name.
            None if key == "subpath" => Some("volume"),
            Some(("tmpfs", _)) => Some("tmpfs"),
            _ => None,
        };
        match key.as_str() {
            "type" => self.kind = Some(needed()?.to_ascii_lowercase()),
            "source" | "src" => self.source = Some(needed()?.to_owned()),
            "target" | "dst" | "destination" => self.target = Some(needed()?.to_owned()),
            "readonly" | "ro" => self.read_only = switch()?,
            "rw" => self.read_only = !switch()?,
            "consistency" => {}
            "bind-propagation" => {
                self.propagation = Some(parse_propagation(needed()?).ok_or_else(bad)?);
            }
            "bind-nonrecursive" => self.non_recursive = switch()?,
            "bind-recursive" => match needed()? {
                "enabled" | "true" | "1" => self.non_recursive = false,
                "disabled" | "false" | "0" => self.non_recursive = true,
                "writable" => self.below_writable = true,
                "readonly" => self.wants_read_only = true,
                _ => return Err(bad()),
            },
            "bind-create-src" => self.create_source = switch()?,
            "volume-subpath" | "subpath" => {
                self.subpath = Some(parse_subpath(needed()?).ok_or_else(bad)?);
            }
            "volume-nocopy" => self.no_copy = switch()?,
            "tmpfs-size" => self.tmpfs.size_bytes = Some(parse_size(needed()?).map_err(|_| bad())?),
            "tmpfs-mode" => self.tmpfs.mode = Some(parse_mode(needed()?).ok_or_else(bad)?),
            _ => return Err(MountProblem::Option(key)),
        }
        if let Some(of) = of {
            self.typed_keys.push((key, of));
        }
        Ok(())
    }

    fn source_of(self, kind: &'static str) -> Result<SourceArg, MountProblem> {
        if self.wants_read_only && !self.read_only {
            return Err(MountProblem::Needs {
                option: "bind-recursive=readonly",
                other: "readonly",
            });
        }
        let source = self.source.filter(|source| !source.is_empty());
        if self.subpath.is_some() && source.is_none() {
            return Err(MountProblem::Needs {
                option: "volume-subpath",
                other: "source",
            });
        }
        match kind {
            "bind" => Ok(SourceArg::Bind {
                path: source.ok_or(MountProblem::NoSource)?.into(),
                create: self.create_source,
                recursive: !self.non_recursive,
                below_writable: self.below_writable,
                propagation: self.propagation.unwrap_or_default(),
                relabel: None,
            }),
            "tmpfs" if source.is_some() => Err(MountProblem::WrongType {
                option: "source".to_owned(),
                kind,
            }),
            "tmpfs" => Ok(SourceArg::Tmpfs(self.tmpfs)),
            _ => match source {
                Some(name) if !is_name(&name) => Err(MountProblem::VolumeName(name)),
                name => Ok(SourceArg::Volume {
                    name,
                    copy_image_content: !self.no_copy,
                    subpath: self.subpath,
                }),
            },
        }
    }
}

/// The fields of one CSV record (RFC 4180): `a,"b,c","d""e"`.
fn split_quoted(text: &str) -> Result<Vec<String>, MountProblem> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        // `fields` starts with one and only grows.
        let Some(field) = fields.last_mut() else {
            break;
        };
        match character {
            '"' if quoted && characters.peek() == Some(&'"') => {
                field.push('"');
                characters.next();
            }
            '"' if quoted || field.is_empty() => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            other => field.push(other),
        }
    }
    if quoted {
        return Err(MountProblem::Quotation);
    }
    Ok(fields)
}

fn short_tmpfs(text: &str) -> Result<MountArg, MountProblem> {
    let (target, words) = text.split_once(':').unwrap_or((text, ""));
    let mut options = TmpfsOptions::default();
    let mut read_only = false;
    for word in words.split(',').filter(|word| !word.is_empty()) {
        match word.split_once('=') {
            Some((option, value)) => tmpfs_value(&mut options, option, value)?,
            None => match word {
                "ro" => read_only = true,
                "rw" => read_only = false,
                "exec" => options.exec = Some(true),
                "noexec" => options.exec = Some(false),
                "suid" => options.suid = Some(true),
                "nosuid" => options.suid = Some(false),
                "dev" => options.dev = Some(true),
                "nodev" => options.dev = Some(false),
                "noatime" => options.noatime = true,
                _ => return Err(MountProblem::Option(word.to_owned())),
            },
        }
    }
    Ok(MountArg {
        target: parse_target(target)?,
        read_only,
        source: SourceArg::Tmpfs(options),
    })
}

fn tmpfs_value(options: &mut TmpfsOptions, option: &str, value: &str) -> Result<(), MountProblem> {
    let bad = || MountProblem::BadValue {
        option: option.to_owned(),
        value: value.to_owned(),
    };
    match option {
        "size" => options.size_bytes = Some(parse_size(value).map_err(|_| bad())?),
        "nr_inodes" => options.max_inodes = Some(parse_size(value).map_err(|_| bad())?),
        "mode" => options.mode = Some(parse_mode(value).ok_or_else(bad)?),
        "uid" => options.uid = Some(value.parse().map_err(|_| bad())?),
        "gid" => options.gid = Some(value.parse().map_err(|_| bad())?),
        _ => return Err(MountProblem::Option(option.to_owned())),
    }
    Ok(())
}

/// Of a volume: relative, and without `..`.
fn parse_subpath(text: &str) -> Option<PathBuf> {
    let path = Path::new(text);
    let stays = |part| matches!(part, Component::Normal(_) | Component::CurDir);
    let is_whole = !text.is_empty() && !text.contains('\0');
    (is_whole && path.components().all(stays)).then(|| path.to_owned())
}

/// Octal permission bits.
fn parse_mode(text: &str) -> Option<u32> {
    u32::from_str_radix(text, 8)
        .ok()
        .filter(|mode| *mode <= 0o7777 && !text.starts_with('+'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_form_of_each_type() {
        let bind = parse_mount(
            "type=bind,src=./x,dst=/x,readonly,bind-propagation=rslave,bind-recursive=disabled",
        )
        .unwrap();
        assert!(bind.read_only);
        assert_eq!(
            bind.source,
            SourceArg::Bind {
                path: "./x".into(),
                create: false,
                recursive: false,
                below_writable: false,
                propagation: Propagation::Rslave,
                relabel: None,
            }
        );
        let volume = parse_mount("source=data,target=/data,volume-nocopy=true").unwrap();
        assert_eq!(
            volume.source,
            SourceArg::Volume {
                name: Some("data".to_owned()),
                copy_image_content: false,
                subpath: None,
            }
        );
        let tmpfs = parse_mount("type=tmpfs,target=/t,tmpfs-size=1m,tmpfs-mode=1770").unwrap();
        let SourceArg::Tmpfs(options) = tmpfs.source else {
            panic!("not a tmpfs")
        };
        assert_eq!(
            (options.size_bytes, options.mode),
            (Some(1 << 20), Some(0o1770))
        );
    }

    #[test]
    fn quotes_protect_commas() {
        let bind = parse_mount(r#"type=bind,"source=/a,b ""c""",target=/x"#).unwrap();
        let SourceArg::Bind { path, .. } = bind.source else {
            panic!("not a bind")
        };
        assert_eq!(path, std::path::Path::new(r#"/a,b "c""#));
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "",
            "type=bind",
            "type=bind,target=/x",
            "type=x,target=/x",
            "type=bind,source=/a,target=x",
            "type=tmpfs,source=a,target=/x",
            "type=volume,target=/x,tmpfs-size=1",
            "type=bind,src=/a,dst=/b,readonly=perhaps",
            "type=tmpfs,target=/x,tmpfs-mode=9",
            "\"type=bind",
            "src,target=/x",
            "type=volume,src=/abs,target=/x",
            "type=bind,src=/a,dst=/b,bind-recursive=readonly",
            "type=bind,src=/a,dst=/b,bind-recursive=perhaps",
            "what=1,target=/x",
            "src=data,dst=/x,volume-subpath=/a",
            "src=data,dst=/x,volume-subpath=a/../..",
            "src=data,dst=/x,volume-subpath=",
            "dst=/x,volume-subpath=a",
            "type=bind,src=/a,dst=/x,volume-subpath=a",
        ] {
            assert!(parse_mount(text).is_err(), "{text}");
        }
    }

    #[test]
    fn tmpfs_short_form() {
        let mount = parse_tmpfs("/run:size=64m,mode=0700,exec,uid=5,ro").unwrap();
        assert!(mount.read_only);
        let SourceArg::Tmpfs(options) = mount.source else {
            panic!("not a tmpfs")
        };
        assert_eq!(options.size_bytes, Some(64 << 20));
        assert_eq!(options.exec, Some(true));
        assert_eq!(options.uid, Some(5));
        for text in [
            "",
            "run",
            "/",
            "/x:size=",
            "/x:what",
            "/x:mode=77777",
            "/x:huge=always",
        ] {
            assert!(parse_tmpfs(text).is_err(), "{text}");
        }
    }
}
