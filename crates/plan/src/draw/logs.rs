//! Where output goes: the file that `logs` reads, and who is told besides. Docker's drivers
//! (docs.docker.com/engine/logging/configure).

use std::collections::BTreeMap;

use super::{DrawError, Drawing};
use crate::launch::{Herald, LogPlan};
use crate::request::{EnvChange, LogConfig, LogMore};

/// What is told elsewhere is kept here too, so that `logs` works: Docker's "dual logging", with its size.
const COPY_BYTES: u64 = 20 << 20;
const COPY_FILES: u32 = 5;

pub(super) fn draw(drawing: &Drawing<'_>) -> Result<LogPlan, DrawError> {
    let path = drawing.log_path.clone();
    Ok(match &drawing.request.logs {
        LogConfig::None => LogPlan::None,
        LogConfig::JsonFile {
            max_size_bytes,
            max_files,
            more,
        }
        | LogConfig::Local {
            max_size_bytes,
            max_files,
            more,
        } => LogPlan::JsonFile {
            path,
            max_bytes: *max_size_bytes,
            max_files: (*max_files).max(1),
            attributes: attributes(drawing, more, true)?,
        },
        LogConfig::Syslog { .. } | LogConfig::Journald { .. } => LogPlan::JsonFile {
            path,
            max_bytes: Some(COPY_BYTES),
            max_files: COPY_FILES,
            attributes: BTreeMap::new(),
        },
    })
}

pub(super) fn herald(drawing: &Drawing<'_>) -> Result<Option<Herald>, DrawError> {
    Ok(match &drawing.request.logs {
        LogConfig::Syslog {
            address,
            facility,
            format,
            more,
        } => Some(Herald::Syslog {
            address: address.clone(),
            facility: *facility,
            format: *format,
            tag: tag(drawing, more)?,
        }),
        LogConfig::Journald { more } => Some(Herald::Journald {
            fields: fields(drawing, more)?,
        }),
        _ => None,
    })
}

/// Docker's fields (docs.docker.com/engine/logging/drivers/journald).
fn fields(drawing: &Drawing<'_>, more: &LogMore) -> Result<BTreeMap<String, String>, DrawError> {
    let tag = tag(drawing, more)?;
    let fields = [
        ("CONTAINER_ID", short(drawing.id)),
        ("CONTAINER_ID_FULL", drawing.id),
        ("CONTAINER_NAME", drawing.name),
        ("CONTAINER_TAG", &tag),
        ("IMAGE_NAME", &drawing.request.image),
        ("SYSLOG_IDENTIFIER", &tag),
    ];
    let named = attributes(drawing, more, false)?
        .into_iter()
        .map(|(name, value)| {
            // A field's name has capitals, digits and underscores.
            let plain = |c: char| {
                if c.is_ascii_alphanumeric() {
                    c.to_ascii_uppercase()
                } else {
                    '_'
                }
            };
            (name.chars().map(plain).collect::<String>(), value)
        });
    let own = fields.map(|(name, value)| (name.to_owned(), value.to_owned()));
    Ok(named.chain(own).collect())
}

/// The labels and variables that are told with each line; the tag too, where a file asks for one.
fn attributes(
    drawing: &Drawing<'_>,
    more: &LogMore,
    with_tag: bool,
) -> Result<BTreeMap<String, String>, DrawError> {
    let request = drawing.request;
    let config = &drawing.image.config;
    let mut found = BTreeMap::new();
    for name in &more.labels {
        let value = request.labels.get(name).or_else(|| config.labels.get(name));
        found.extend(value.map(|value| (name.clone(), value.clone())));
    }
    for wanted in &more.env {
        for pair in &config.env {
            if let Some((name, value)) = pair.split_once('=').filter(|(name, _)| name == wanted) {
                found.insert(name.to_owned(), value.to_owned());
            }
        }
        for change in &request.process.env {
            match change {
                EnvChange::Set { name, value } if name == wanted => {
                    found.insert(name.clone(), value.clone());
                }
                EnvChange::Unset { name } if name == wanted => {
                    found.remove(name);
                }
                _ => {}
            }
        }
    }
    if with_tag && more.tag.is_some() {
        found.insert("tag".to_owned(), tag(drawing, more)?);
    }
    Ok(found)
}

fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

/// The tag with its names put in.
fn tag(drawing: &Drawing<'_>, more: &LogMore) -> Result<String, DrawError> {
    let mut rest = more.tag.as_deref().unwrap_or("{{.ID}}");
    let mut tag = String::new();
    while let Some((before, after)) = rest.split_once("{{") {
        let (name, behind) = after
            .split_once("}}")
            .ok_or_else(|| DrawError::LogTag(after.to_owned()))?;
        tag.push_str(before);
        tag.push_str(match name.trim() {
            ".ID" => short(drawing.id),
            ".FullID" => drawing.id,
            ".Name" => drawing.name,
            ".ImageName" => &drawing.request.image,
            ".DaemonName" => "gamut",
            other => return Err(DrawError::LogTag(other.to_owned())),
        });
        rest = behind;
    }
    tag.push_str(rest);
    Ok(tag)
}
