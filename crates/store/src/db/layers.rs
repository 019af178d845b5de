//! Table `layers`: what is known of each unpacked layer. Whether one is still needed is never
//! stored: it follows from the images.

use gamut_spec::digest::Digest;
use rusqlite::Row;

use super::{DbError, Session, Transaction};
use crate::layer::{Form, LayerRecord};
use crate::unpack::RootAttributes;

const COLUMNS: &str = "diff_id, directory, size_bytes, entries, root_mode, root_uid, root_gid, \
                       opaque_root, form";

/// Layers that no image has.
const UNUSED: &str = "diff_id NOT IN (SELECT value FROM images, json_each(images.layers))";

impl Session {
    /// A layer by its diff id.
    pub fn layer(&self, diff_id: &Digest) -> Result<Option<LayerRecord>, DbError> {
        let sql = format!("SELECT {COLUMNS} FROM layers WHERE diff_id = ?");
        self.row("look a layer up", &sql, [diff_id.to_string()], read)
    }

    /// The layers of these diff ids in their order; those that are not known are left out.
    pub fn layers_of(&self, diff_ids: &[Digest]) -> Result<Vec<LayerRecord>, DbError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM json_each(?) CROSS JOIN layers ON diff_id = value ORDER BY key"
        );
        let ids: Vec<_> = diff_ids.iter().map(Digest::to_string).collect();
        let ids = serde_json::Value::from(ids).to_string();
        self.rows("look layers up", &sql, [ids], read)
    }

    /// All layers.
    pub fn layers(&self) -> Result<Vec<LayerRecord>, DbError> {
        let sql = format!("SELECT {COLUMNS} FROM layers ORDER BY diff_id");
        self.rows("list the layers", &sql, [], read)
    }
}

impl Transaction<'_> {
    /// Records a layer; what was known of it before is replaced.
    pub fn put_layer(&self, layer: &LayerRecord) -> Result<(), DbError> {
        let root = layer.root;
        self.execute(
            "record a layer",
            "INSERT OR REPLACE INTO layers VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                layer.diff_id.to_string(),
                &layer.directory,
                super::images::to_i64(layer.size_bytes),
                super::images::to_i64(layer.entries),
                root.map(|root| root.mode),
                root.map(|root| root.uid),
                root.map(|root| root.gid),
                layer.opaque_root,
                layer.form.name(),
            ),
        )?;
        Ok(())
    }

    /// Forgets a layer, whoever needs it: its directory is gone.
    pub fn forget_layer(&self, diff_id: &Digest) -> Result<(), DbError> {
        let sql = "DELETE FROM layers WHERE diff_id = ?";
        self.execute("forget a layer", sql, [diff_id.to_string()])?;
        self.forget_known_blobs()
    }

    /// Forgets the layers that no image has, and gives them back.
    pub fn forget_unused_layers(&self) -> Result<Vec<LayerRecord>, DbError> {
        let sql = format!("DELETE FROM layers WHERE {UNUSED} RETURNING {COLUMNS}");
        let forgotten = self.rows("forget unused layers", &sql, [], read)?;
        if !forgotten.is_empty() {
            self.forget_known_blobs()?;
        }
        Ok(forgotten)
    }
}

fn read(row: &Row<'_>) -> rusqlite::Result<LayerRecord> {
    let root = match row.get(4)? {
        Some(mode) => Some(RootAttributes {
            mode,
            uid: row.get(5)?,
            gid: row.get(6)?,
        }),
        None => None,
    };
    Ok(LayerRecord {
        diff_id: super::images::digest(row, 0)?,
        directory: row.get(1)?,
        size_bytes: super::images::from_i64(row, 2)?,
        entries: super::images::from_i64(row, 3)?,
        root,
        opaque_root: row.get(7)?,
        form: Form::named(row.get_ref(8)?.as_str()?),
    })
}
