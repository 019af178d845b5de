//! Table `containers`: what was asked for. What has become of it is not here: the keeper writes
//! that into the container's directory.

use std::collections::BTreeMap;

use gamut_spec::digest::Digest;
use rusqlite::Row;

use super::images::{digest, is_prefix, json};
use super::{DbError, Session, Transaction};

/// One container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Its name, without a slash; no two containers have the same.
    pub name: String,
    /// The image that it relies on.
    pub image_id: Option<Digest>,
    /// The image as the user named it.
    pub image_ref: String,
    /// When it was made: nanoseconds since the epoch.
    pub created_ns: i64,
    /// Its isolation level.
    pub level: String,
    /// The request, as JSON.
    pub request: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// To be removed when it ends (`--rm`).
    pub auto_remove: bool,
}

const COLUMNS: &str =
    "id, name, image_id, image_ref, created_ns, level, request, labels, auto_remove";

const REMOVE: &str = "DELETE FROM containers WHERE id = ?";

impl Session {
    /// The container with this whole id.
    pub fn container_by_id(&self, id: &str) -> Result<Option<Container>, DbError> {
        let sql = format!("SELECT {COLUMNS} FROM containers WHERE id = ?");
        self.row("look a container up", &sql, [id], read)
    }

    /// The container of this name.
    pub fn container_by_name(&self, name: &str) -> Result<Option<Container>, DbError> {
        let sql = format!("SELECT {COLUMNS} FROM containers WHERE name = ?");
        self.row("look a container up", &sql, [name], read)
    }

    /// The one container whose id begins like this.
    pub fn container_by_prefix(&self, prefix: &str) -> Result<Option<Container>, DbError> {
        if !is_prefix(prefix) {
            return Ok(None);
        }
        let sql = format!("SELECT {COLUMNS} FROM containers WHERE id >= ? AND id < ? LIMIT 2");
        let bounds = [prefix.to_owned(), format!("{prefix}g")];
        let mut found = self.rows("look a container up", &sql, bounds, read)?;
        match found.len() {
            0 | 1 => Ok(found.pop()),
            _ => Err(DbError::Ambiguous {
                what: "container",
                prefix: prefix.to_owned(),
            }),
        }
    }

    /// The container that a user means: a whole id, else a name, else the beginning of an id.
    pub fn container(&self, named: &str) -> Result<Container, DbError> {
        let name = named.strip_prefix('/').unwrap_or(named);
        if let Some(found) = self.container_by_id(named)? {
            return Ok(found);
        }
        if let Some(found) = self.container_by_name(name)? {
            return Ok(found);
        }
        self.container_by_prefix(named)?
            .ok_or_else(|| DbError::not_found("container", named))
    }

    /// Makes ready what [`Transaction::remove_container`] takes, while there is time. What fails here
    /// fails there, and is told then.
    pub fn prepare_removal(&self) {
        let _ = self.connection.prepare_cached(REMOVE);
    }

    /// All containers, the latest first.
    pub fn containers(&self) -> Result<Vec<Container>, DbError> {
        let sql = format!("SELECT {COLUMNS} FROM containers ORDER BY created_ns DESC, id");
        self.rows("list the containers", &sql, [], read)
    }
}

impl Transaction<'_> {
    /// Records a container. Its row comes before its directory: a directory without a row is a
    /// leftover.
    pub fn insert_container(&self, container: &Container) -> Result<(), DbError> {
        let inserted = self.execute(
            "record a container",
            "INSERT INTO containers VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                &container.id,
                &container.name,
                container.image_id.as_ref().map(Digest::to_string),
                &container.image_ref,
                container.created_ns,
                &container.level,
                &container.request,
                labels(&container.labels),
                container.auto_remove,
            ),
        );
        match inserted {
            Err(error) if is_constraint(&error) => Err(self.conflict(container)?.unwrap_or(error)),
            other => other.map(drop),
        }
    }

    /// Why a container cannot be recorded.
    fn conflict(&self, container: &Container) -> Result<Option<DbError>, DbError> {
        if let Some(holder) = self.container_by_name(&container.name)? {
            return Ok(Some(DbError::NameTaken {
                name: container.name.clone(),
                holder: holder.id,
            }));
        }
        if self.container_by_id(&container.id)?.is_some() {
            return Ok(Some(DbError::Exists {
                what: "container",
                name: container.id.clone(),
            }));
        }
        Ok(match &container.image_id {
            Some(id) if self.image(id)?.is_none() => {
                Some(DbError::not_found("image", &id.to_string()))
            }
            _ => None,
        })
    }

    /// Forgets a container with its leases and published ports; false when it was not there, as
    /// when two remove it at once.
    pub fn remove_container(&self, id: &str) -> Result<bool, DbError> {
        Ok(self.execute("forget a container", REMOVE, [id])? > 0)
    }
}

fn labels(labels: &BTreeMap<String, String>) -> String {
    let pairs = labels
        .iter()
        .map(|(name, value)| (name.clone(), value.as_str().into()));
    serde_json::Value::Object(pairs.collect()).to_string()
}

fn read(row: &Row<'_>) -> rusqlite::Result<Container> {
    let image_id = match row.get_ref(2)? {
        rusqlite::types::ValueRef::Null => None,
        _ => Some(digest(row, 2)?),
    };
    Ok(Container {
        id: row.get(0)?,
        name: row.get(1)?,
        image_id,
        image_ref: row.get(3)?,
        created_ns: row.get(4)?,
        level: row.get(5)?,
        request: row.get(6)?,
        labels: json(row, 7)?,
        auto_remove: row.get(8)?,
    })
}

fn is_constraint(error: &DbError) -> bool {
    matches!(error, DbError::Sqlite { error, .. }
        if error.sqlite_error_code() == Some(rusqlite::ErrorCode::ConstraintViolation))
}
