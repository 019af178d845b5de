//! Table `containers`: what was asked for. What has become of it is not here: the keeper writes
//! that into the container's directory.

use std::collections::{BTreeMap, HashSet};

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
    /// Its place in a pod, if it is in one.
    pub pod: Option<InPod>,
}

/// A container's place in a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InPod {
    /// The pod's id.
    pub id: String,
    /// The pod's name; not looked at when a container is recorded.
    pub name: String,
    /// Whether it is the one whose namespaces the others share.
    pub is_infra: bool,
}

const COLUMNS: &str = "id, name, image_id, image_ref, created_ns, level, request, labels, auto_remove, \
    pod, is_infra, (SELECT pods.name FROM pods WHERE pods.id = pod)";

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

    /// Of these names those that are no container's id now: one look for all.
    pub fn without_container(&self, mut names: Vec<String>) -> Result<Vec<String>, DbError> {
        if !names.is_empty() {
            let known: HashSet<String> = self
                .container_names()?
                .into_iter()
                .map(|row| row.0)
                .collect();
            names.retain(|name| !known.contains(name));
        }
        Ok(names)
    }

    /// The id and the name of each container.
    pub fn container_names(&self) -> Result<Vec<(String, String)>, DbError> {
        self.rows(
            "list the containers' names",
            "SELECT id, name FROM containers",
            [],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
    }

    /// The containers of a pod, in the order in which they were made.
    pub fn containers_of_pod(&self, pod: &str) -> Result<Vec<Container>, DbError> {
        let sql = format!("SELECT {COLUMNS} FROM containers WHERE pod = ? ORDER BY created_ns, id");
        self.rows("list the containers of a pod", &sql, [pod], read)
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
            "INSERT INTO containers VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
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
                container.pod.as_ref().map(|pod| &pod.id),
                container.pod.as_ref().is_some_and(|pod| pod.is_infra),
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
        if let Some(pod) = &container.pod
            && self.pod_by_id(&pod.id)?.is_none()
        {
            return Ok(Some(DbError::not_found("pod", &pod.id)));
        }
        Ok(match &container.image_id {
            Some(id) if self.image(id)?.is_none() => {
                Some(DbError::not_found("image", &id.to_string()))
            }
            _ => None,
        })
    }

    /// Names a container anew.
    pub fn rename_container(&self, id: &str, name: &str) -> Result<(), DbError> {
        let sql = "UPDATE containers SET name = ? WHERE id = ?";
        match self.execute("rename a container", sql, [name, id]) {
            Err(error) if is_constraint(&error) => {
                let holder = self.container_by_name(name)?;
                Err(holder.map_or(error, |holder| DbError::NameTaken {
                    name: name.to_owned(),
                    holder: holder.id,
                }))
            }
            Ok(0) => Err(DbError::not_found("container", id)),
            other => other.map(drop),
        }
    }

    /// What was asked for is something else now; false when the container is not there.
    pub fn change_request(&self, id: &str, request: &str) -> Result<bool, DbError> {
        let sql = "UPDATE containers SET request = ? WHERE id = ?";
        Ok(self.execute("change a container", sql, [request, id])? > 0)
    }

    /// Forgets a container with its leases and published ports; false when it was not there, as
    /// when two remove it at once.
    pub fn remove_container(&self, id: &str) -> Result<bool, DbError> {
        Ok(self.execute("forget a container", REMOVE, [id])? > 0)
    }
}

pub(super) fn labels(labels: &BTreeMap<String, String>) -> String {
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
        pod: match row.get::<_, Option<String>>(9)? {
            None => None,
            Some(id) => Some(InPod {
                id,
                name: row.get::<_, Option<String>>(11)?.unwrap_or_default(),
                is_infra: row.get(10)?,
            }),
        },
    })
}

pub(super) fn is_constraint(error: &DbError) -> bool {
    matches!(error, DbError::Sqlite { error, .. }
        if error.sqlite_error_code() == Some(rusqlite::ErrorCode::ConstraintViolation))
}
