//! The tables, and how older ones become them.
//!
//! Text primary keys stand in `WITHOUT ROWID` tables where rows are short: one tree instead of two,
//! so one page less to write. There is no index that no hot query needs: each is another page.

use rusqlite::Connection;

/// `PRAGMA user_version` of this program's tables.
pub(super) const VERSION: u32 = 5;

/// The step to each version from the one before it.
const MIGRATIONS: [&str; VERSION as usize] =
    [VERSION_1, VERSION_2, VERSION_3, VERSION_4, VERSION_5];

const VERSION_1: &str = "
CREATE TABLE layers (
    diff_id TEXT NOT NULL PRIMARY KEY,
    directory TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    entries INTEGER NOT NULL,
    root_mode INTEGER,
    root_uid INTEGER,
    root_gid INTEGER,
    opaque_root INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE images (
    id TEXT NOT NULL PRIMARY KEY,
    manifest_digest TEXT NOT NULL,
    manifest_media_type TEXT NOT NULL,
    config_media_type TEXT NOT NULL,
    layers TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    created_ns INTEGER NOT NULL,
    pulled_ns INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE tags (
    reference TEXT NOT NULL PRIMARY KEY,
    image_id TEXT NOT NULL REFERENCES images (id)
) STRICT, WITHOUT ROWID;

CREATE TABLE repo_digests (
    reference TEXT NOT NULL PRIMARY KEY,
    image_id TEXT NOT NULL REFERENCES images (id)
) STRICT, WITHOUT ROWID;

CREATE TABLE containers (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    image_id TEXT REFERENCES images (id),
    image_ref TEXT NOT NULL,
    created_ns INTEGER NOT NULL,
    level TEXT NOT NULL,
    request TEXT NOT NULL,
    labels TEXT NOT NULL,
    auto_remove INTEGER NOT NULL
) STRICT;

CREATE TABLE networks (
    name TEXT NOT NULL PRIMARY KEY,
    bridge TEXT NOT NULL,
    subnet4 TEXT,
    gateway4 TEXT,
    subnet6 TEXT,
    gateway6 TEXT,
    options TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE leases (
    container TEXT NOT NULL REFERENCES containers (id) ON DELETE CASCADE,
    network TEXT NOT NULL REFERENCES networks (name),
    address4 TEXT,
    address6 TEXT,
    mac TEXT NOT NULL,
    PRIMARY KEY (container, network)
) STRICT, WITHOUT ROWID;

CREATE TABLE ports (
    protocol TEXT NOT NULL,
    host_port INTEGER NOT NULL,
    host_address TEXT NOT NULL,
    container TEXT NOT NULL REFERENCES containers (id) ON DELETE CASCADE,
    container_port INTEGER NOT NULL,
    PRIMARY KEY (protocol, host_port, host_address)
) STRICT, WITHOUT ROWID;
";

/// What a layer is on disk; those from before are directories.
const VERSION_2: &str = "ALTER TABLE layers ADD COLUMN form TEXT NOT NULL DEFAULT 'directory';";

/// What a push and a manifest list need.
const VERSION_3: &str = "
CREATE TABLE layer_blobs (
    diff_id TEXT NOT NULL,
    repository TEXT NOT NULL,
    digest TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    media_type TEXT NOT NULL,
    PRIMARY KEY (diff_id, repository, digest)
) STRICT;

CREATE TABLE lists (
    reference TEXT NOT NULL PRIMARY KEY,
    document TEXT NOT NULL
) STRICT, WITHOUT ROWID;
";

/// What images came with.
const VERSION_4: &str = "
CREATE TABLE attestations (
    image_id TEXT NOT NULL,
    digest TEXT NOT NULL,
    media_type TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    predicate_type TEXT NOT NULL,
    subject TEXT NOT NULL,
    is_verified INTEGER NOT NULL,
    PRIMARY KEY (image_id, digest)
) STRICT, WITHOUT ROWID;
";

/// Pods, and which containers are theirs.
const VERSION_5: &str = "
CREATE TABLE pods (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    created_ns INTEGER NOT NULL,
    request TEXT NOT NULL,
    labels TEXT NOT NULL
) STRICT;

ALTER TABLE containers ADD COLUMN pod TEXT REFERENCES pods (id);
ALTER TABLE containers ADD COLUMN is_infra INTEGER NOT NULL DEFAULT 0;
";

/// Runs the steps from `found` on, each in a transaction with its version number.
pub(super) fn migrate(connection: &Connection, found: u32) -> rusqlite::Result<()> {
    if found == VERSION {
        return Ok(());
    }
    connection.query_row("PRAGMA journal_mode=WAL", [], |_| Ok(()))?;
    for (version, step) in (1..).zip(MIGRATIONS) {
        if version > found {
            connection.execute_batch(&format!(
                "BEGIN IMMEDIATE; {step} PRAGMA user_version={version}; COMMIT;"
            ))?;
        }
    }
    Ok(())
}
