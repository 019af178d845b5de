//! Tables `images`, `tags` and `repo_digests`: what has been pulled, and under which names.

use gamut_spec::digest::Digest;
use rusqlite::Row;
use rusqlite::types::Type;

use super::{DbError, Session, Transaction};

/// One image of one platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// The digest of its config, which is a blob.
    pub id: Digest,
    /// The digest of its manifest, which is a blob.
    pub manifest_digest: Digest,
    /// The manifest's media type.
    pub manifest_media_type: String,
    /// The config's media type.
    pub config_media_type: String,
    /// Diff ids, the bottom layer first.
    pub layers: Vec<Digest>,
    /// Bytes of the regular files of all layers.
    pub size_bytes: u64,
    /// When it was made, as its config says: nanoseconds since the epoch.
    pub created_ns: i64,
    /// When it was pulled or loaded: nanoseconds since the epoch.
    pub pulled_ns: i64,
}

/// A name of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag {
    /// The canonical reference: `docker.io/library/nginx:latest`.
    pub reference: String,
    /// The image's id.
    pub image_id: Digest,
}

const COLUMNS: &str = "images.id, manifest_digest, manifest_media_type, config_media_type, \
                       layers, size_bytes, created_ns, pulled_ns";

impl Session {
    /// The image that a canonical reference (`…:tag` or `…@sha256:…`) names.
    pub fn image_by_reference(&self, reference: &str) -> Result<Option<Image>, DbError> {
        let table = names_table(reference);
        let sql = format!(
            "SELECT {COLUMNS} FROM images JOIN {table} ON image_id = images.id WHERE reference = ?"
        );
        self.row("look an image up", &sql, [reference], read)
    }

    /// The image with this id.
    pub fn image(&self, id: &Digest) -> Result<Option<Image>, DbError> {
        let sql = format!("SELECT {COLUMNS} FROM images WHERE id = ?");
        self.row("look an image up", &sql, [id.to_string()], read)
    }

    /// The image whose id begins with these hexadecimal digits; `sha256:` may precede them.
    pub fn image_by_prefix(&self, prefix: &str) -> Result<Option<Image>, DbError> {
        let digits = prefix.strip_prefix("sha256:").unwrap_or(prefix);
        if !is_prefix(digits) {
            return Ok(None);
        }
        let sql = format!("SELECT {COLUMNS} FROM images WHERE id >= ? AND id < ? LIMIT 2");
        let bounds = [format!("sha256:{digits}"), format!("sha256:{digits}g")];
        let mut found = self.rows("look an image up", &sql, bounds, read)?;
        match found.len() {
            0 | 1 => Ok(found.pop()),
            _ => Err(DbError::Ambiguous {
                what: "image",
                prefix: prefix.to_owned(),
            }),
        }
    }

    /// All images, the latest pulled first.
    pub fn images(&self) -> Result<Vec<Image>, DbError> {
        let sql = format!("SELECT {COLUMNS} FROM images ORDER BY pulled_ns DESC, id");
        self.rows("list the images", &sql, [], read)
    }

    /// All tags, in order of their text.
    pub fn tags(&self) -> Result<Vec<Tag>, DbError> {
        let sql = "SELECT reference, image_id FROM tags ORDER BY reference";
        self.rows("list the tags", sql, [], read_tag)
    }

    /// All `repository@digest` names, in order of their text.
    pub fn repo_digests(&self) -> Result<Vec<Tag>, DbError> {
        let sql = "SELECT reference, image_id FROM repo_digests ORDER BY reference";
        self.rows("list the repository digests", sql, [], read_tag)
    }

    /// The names of one image: its tags, then its `repository@digest` names.
    pub fn names(&self, image: &Digest) -> Result<(Vec<String>, Vec<String>), DbError> {
        let names = |sql| {
            self.rows("list an image's names", sql, [image.to_string()], |r| {
                r.get(0)
            })
        };
        Ok((
            names("SELECT reference FROM tags WHERE image_id = ? ORDER BY reference")?,
            names("SELECT reference FROM repo_digests WHERE image_id = ? ORDER BY reference")?,
        ))
    }

    /// The id of a container that relies on an image.
    pub fn image_user(&self, image: &Digest) -> Result<Option<String>, DbError> {
        let sql = "SELECT id FROM containers WHERE image_id = ? ORDER BY created_ns LIMIT 1";
        self.row(
            "look for users of an image",
            sql,
            [image.to_string()],
            |r| r.get(0),
        )
    }

    /// Whether some image has this blob: for its manifest or config, or came with it.
    pub fn needs_blob(&self, digest: &Digest) -> Result<bool, DbError> {
        let sql = "SELECT 1 FROM images WHERE id = ?1 OR manifest_digest = ?1
                   UNION ALL SELECT 1 FROM attestations WHERE digest = ?1 LIMIT 1";
        let found = self.row(
            "look for users of a blob",
            sql,
            [digest.to_string()],
            |_| Ok(()),
        )?;
        Ok(found.is_some())
    }
}

impl Transaction<'_> {
    /// Records an image; what was known of it before is replaced. Its layers must be recorded too
    /// ([`Transaction::put_layer`]), in the same transaction.
    pub fn put_image(&self, image: &Image) -> Result<(), DbError> {
        let layers: Vec<_> = image.layers.iter().map(Digest::to_string).collect();
        self.execute(
            "record an image",
            "INSERT INTO images VALUES (?, ?, ?, ?, ?, ?, ?, ?)
             ON CONFLICT (id) DO UPDATE SET
                 manifest_digest = excluded.manifest_digest,
                 manifest_media_type = excluded.manifest_media_type,
                 config_media_type = excluded.config_media_type,
                 pulled_ns = excluded.pulled_ns",
            (
                image.id.to_string(),
                image.manifest_digest.to_string(),
                &image.manifest_media_type,
                &image.config_media_type,
                serde_json::Value::from(layers).to_string(),
                to_i64(image.size_bytes),
                image.created_ns,
                image.pulled_ns,
            ),
        )?;
        Ok(())
    }

    /// Gives an image a name, taking it from the image that had it: `…:tag`, or `…@sha256:…`.
    pub fn tag(&self, reference: &str, image: &Digest) -> Result<(), DbError> {
        let table = names_table(reference);
        let sql = format!("INSERT OR REPLACE INTO {table} VALUES (?, ?)");
        self.execute("tag an image", &sql, (reference, image.to_string()))?;
        Ok(())
    }

    /// Takes a name away; false when there was none.
    pub fn untag(&self, reference: &str) -> Result<bool, DbError> {
        let sql = format!("DELETE FROM {} WHERE reference = ?", names_table(reference));
        Ok(self.execute("untag an image", &sql, [reference])? > 0)
    }

    /// Forgets an image without names and users.
    pub fn forget_image(&self, id: &Digest) -> Result<(), DbError> {
        self.forget_attestations(id)?;
        let sql = "DELETE FROM images WHERE id = ?";
        self.execute("forget an image", sql, [id.to_string()])?;
        Ok(())
    }
}

/// A reference with a digest stands in another table than one with a tag.
fn names_table(reference: &str) -> &'static str {
    if reference.contains('@') {
        "repo_digests"
    } else {
        "tags"
    }
}

/// Whether a text can begin an id.
pub(super) fn is_prefix(digits: &str) -> bool {
    let hexadecimal = digits
        .bytes()
        .all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    hexadecimal && (1..=64).contains(&digits.len())
}

/// SQLite's integers are signed; no size comes near the difference.
pub(super) fn to_i64(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

pub(super) fn from_i64(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    let value: i64 = row.get(column)?;
    u64::try_from(value).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, value))
}

/// A column that was written as text of its type.
pub(super) fn parsed<T>(row: &Row<'_>, column: usize) -> rusqlite::Result<T>
where
    T: std::str::FromStr<Err: std::error::Error + Send + Sync + 'static>,
{
    parse(column, row.get_ref(column)?.as_str()?)
}

pub(super) fn parse<T>(column: usize, text: &str) -> rusqlite::Result<T>
where
    T: std::str::FromStr<Err: std::error::Error + Send + Sync + 'static>,
{
    text.parse().map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error))
    })
}

pub(super) fn digest(row: &Row<'_>, column: usize) -> rusqlite::Result<Digest> {
    parsed(row, column)
}

/// A column that was written as JSON.
pub(super) fn json<T: serde::de::DeserializeOwned>(
    row: &Row<'_>,
    column: usize,
) -> rusqlite::Result<T> {
    serde_json::from_str(row.get_ref(column)?.as_str()?).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error))
    })
}

fn read(row: &Row<'_>) -> rusqlite::Result<Image> {
    Ok(Image {
        id: digest(row, 0)?,
        manifest_digest: digest(row, 1)?,
        manifest_media_type: row.get(2)?,
        config_media_type: row.get(3)?,
        layers: json(row, 4)?,
        size_bytes: from_i64(row, 5)?,
        created_ns: row.get(6)?,
        pulled_ns: row.get(7)?,
    })
}

fn read_tag(row: &Row<'_>) -> rusqlite::Result<Tag> {
    Ok(Tag {
        reference: row.get(0)?,
        image_id: digest(row, 1)?,
    })
}
