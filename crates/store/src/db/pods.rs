//! Table `pods`: containers that are kept together. Which containers are in one says their own table; what
//! a pod is doing says what they are doing.

use std::collections::BTreeMap;

use rusqlite::Row;

use super::containers::{is_constraint, labels};
use super::images::{is_prefix, json};
use super::{DbError, Session, Transaction};

/// One pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pod {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Its name; no two pods have the same.
    pub name: String,
    /// When it was made: nanoseconds since the epoch.
    pub created_ns: i64,
    /// What was asked for, as JSON.
    pub request: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

const COLUMNS: &str = "id, name, created_ns, request, labels";

impl Session {
    /// The pod with this whole id.
    pub fn pod_by_id(&self, id: &str) -> Result<Option<Pod>, DbError> {
        let sql = format!("SELECT {COLUMNS} FROM pods WHERE id = ?");
        self.row("look a pod up", &sql, [id], read)
    }

    /// The pod of this name.
    pub fn pod_by_name(&self, name: &str) -> Result<Option<Pod>, DbError> {
        let sql = format!("SELECT {COLUMNS} FROM pods WHERE name = ?");
        self.row("look a pod up", &sql, [name], read)
    }

    /// The pod that a user means: a whole id, else a name, else the beginning of an id.
    pub fn pod(&self, named: &str) -> Result<Pod, DbError> {
        if let Some(found) = self.pod_by_id(named)? {
            return Ok(found);
        }
        if let Some(found) = self.pod_by_name(named)? {
            return Ok(found);
        }
        if !is_prefix(named) {
            return Err(DbError::not_found("pod", named));
        }
        let sql = format!("SELECT {COLUMNS} FROM pods WHERE id >= ? AND id < ? LIMIT 2");
        let bounds = [named.to_owned(), format!("{named}g")];
        let mut found = self.rows("look a pod up", &sql, bounds, read)?;
        match found.len() {
            0 => Err(DbError::not_found("pod", named)),
            1 => Ok(found.remove(0)),
            _ => Err(DbError::Ambiguous {
                what: "pod",
                prefix: named.to_owned(),
            }),
        }
    }

    /// All pods, the latest first.
    pub fn pods(&self) -> Result<Vec<Pod>, DbError> {
        let sql = format!("SELECT {COLUMNS} FROM pods ORDER BY created_ns DESC, id");
        self.rows("list the pods", &sql, [], read)
    }
}

impl Transaction<'_> {
    /// Records a pod. Its row comes before its containers, and goes after them.
    pub fn insert_pod(&self, pod: &Pod) -> Result<(), DbError> {
        let inserted = self.execute(
            "record a pod",
            "INSERT INTO pods VALUES (?, ?, ?, ?, ?)",
            (
                &pod.id,
                &pod.name,
                pod.created_ns,
                &pod.request,
                labels(&pod.labels),
            ),
        );
        match inserted {
            Err(error) if is_constraint(&error) => Err(DbError::Exists {
                what: "pod",
                name: pod.name.clone(),
            }),
            other => other.map(drop),
        }
    }

    /// Forgets a pod without containers; false when it was not there, as when two remove it at once.
    pub fn remove_pod(&self, id: &str) -> Result<bool, DbError> {
        Ok(self.execute("forget a pod", "DELETE FROM pods WHERE id = ?", [id])? > 0)
    }
}

fn read(row: &Row<'_>) -> rusqlite::Result<Pod> {
    Ok(Pod {
        id: row.get(0)?,
        name: row.get(1)?,
        created_ns: row.get(2)?,
        request: row.get(3)?,
        labels: json(row, 4)?,
    })
}
