//! Table `layer_blobs`: in which repositories which packed form of a layer has been seen. A push
//! asks there before it packs anything, so a row is a hint: a registry may have forgotten.

use gamut_spec::digest::Digest;
use gamut_spec::image::{Compression, MediaType};
use rusqlite::Row;

use super::{DbError, Session, Transaction};

/// A packed layer in a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownBlob {
    /// The layer.
    pub diff_id: Digest,
    /// The blob.
    pub digest: Digest,
    /// Of the blob.
    pub size_bytes: u64,
    /// A layer's.
    pub media_type: MediaType,
    /// The registry and the path there: `docker.io/library/debian`.
    pub repository: String,
}

impl KnownBlob {
    /// How it is packed.
    pub fn compression(&self) -> Option<Compression> {
        self.media_type.layer_compression()
    }
}

impl Session {
    /// All places where a layer was seen, the latest first.
    pub fn known_blobs(&self, diff_id: &Digest) -> Result<Vec<KnownBlob>, DbError> {
        let sql = "SELECT diff_id, digest, size_bytes, media_type, repository FROM layer_blobs
                   WHERE diff_id = ? ORDER BY rowid DESC";
        self.rows("look for a layer's blobs", sql, [diff_id.to_string()], read)
    }
}

impl Transaction<'_> {
    /// Notes where a layer was seen.
    pub fn put_known_blob(&self, blob: &KnownBlob) -> Result<(), DbError> {
        self.execute(
            "note a layer's blob",
            "INSERT OR REPLACE INTO layer_blobs VALUES (?, ?, ?, ?, ?)",
            (
                blob.diff_id.to_string(),
                &blob.repository,
                blob.digest.to_string(),
                super::images::to_i64(blob.size_bytes),
                blob.media_type.as_str(),
            ),
        )?;
        Ok(())
    }

    /// Forgets what is known of layers that are gone.
    pub(super) fn forget_known_blobs(&self) -> Result<(), DbError> {
        let sql = "DELETE FROM layer_blobs WHERE diff_id NOT IN (SELECT diff_id FROM layers)";
        self.execute("forget blobs of layers", sql, [])?;
        Ok(())
    }
}

fn read(row: &Row<'_>) -> rusqlite::Result<KnownBlob> {
    Ok(KnownBlob {
        diff_id: super::images::digest(row, 0)?,
        digest: super::images::digest(row, 1)?,
        size_bytes: super::images::from_i64(row, 2)?,
        media_type: MediaType::parse(row.get_ref(3)?.as_str()?),
        repository: row.get(4)?,
    })
}
