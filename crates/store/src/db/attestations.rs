//! Table `attestations`: what an image came with beside itself. Each is a document, which is a blob.

use gamut_spec::digest::Digest;
use rusqlite::Row;

use super::images::{digest, from_i64, to_i64};
use super::{DbError, Image, Session, Transaction};

/// A statement about an image: an SBOM, a provenance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attestation {
    /// Of its document.
    pub digest: Digest,
    /// The document's media type.
    pub media_type: String,
    /// Bytes of the document.
    pub size_bytes: u64,
    /// What it states, as a URL; the document may not say.
    pub predicate_type: String,
    /// What it is about: the image's manifest, or its index.
    pub subject: Digest,
    /// It was signed by whom the policy wants when it was fetched.
    pub is_verified: bool,
}

impl Session {
    /// What an image came with, in the order of its predicate types.
    pub fn attestations(&self, image: &Digest) -> Result<Vec<Attestation>, DbError> {
        let sql = "SELECT digest, media_type, size_bytes, predicate_type, subject, is_verified
                   FROM attestations WHERE image_id = ? ORDER BY predicate_type, digest";
        self.rows(
            "list an image's attestations",
            sql,
            [image.to_string()],
            read,
        )
    }

    /// The blobs of an image: its configuration, its manifest, and what it came with.
    pub fn blobs_of(&self, image: &Image) -> Result<Vec<Digest>, DbError> {
        let mut blobs = vec![image.id.clone(), image.manifest_digest.clone()];
        let attestations = self.attestations(&image.id)?.into_iter();
        blobs.extend(attestations.map(|attestation| attestation.digest));
        Ok(blobs)
    }
}

impl Transaction<'_> {
    /// Notes what an image came with, instead of what was noted before.
    pub fn put_attestations(&self, image: &Digest, all: &[Attestation]) -> Result<(), DbError> {
        self.forget_attestations(image)?;
        for one in all {
            self.execute(
                "note an attestation",
                "INSERT OR REPLACE INTO attestations VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    image.to_string(),
                    one.digest.to_string(),
                    &one.media_type,
                    to_i64(one.size_bytes),
                    &one.predicate_type,
                    one.subject.to_string(),
                    one.is_verified,
                ),
            )?;
        }
        Ok(())
    }

    pub(super) fn forget_attestations(&self, image: &Digest) -> Result<(), DbError> {
        let sql = "DELETE FROM attestations WHERE image_id = ?";
        self.execute("forget attestations", sql, [image.to_string()])?;
        Ok(())
    }
}

fn read(row: &Row<'_>) -> rusqlite::Result<Attestation> {
    Ok(Attestation {
        digest: digest(row, 0)?,
        media_type: row.get(1)?,
        size_bytes: from_i64(row, 2)?,
        predicate_type: row.get(3)?,
        subject: digest(row, 4)?,
        is_verified: row.get(5)?,
    })
}
