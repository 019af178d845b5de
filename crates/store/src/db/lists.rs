//! Table `lists`: manifest lists that are being put together here, before they are pushed. The
//! document is whoever's that keeps it; the names are those of images.

use super::{DbError, Session, Transaction};

impl Session {
    /// The document of the list with this canonical reference.
    pub fn list(&self, reference: &str) -> Result<Option<String>, DbError> {
        let sql = "SELECT document FROM lists WHERE reference = ?";
        self.row("look a manifest list up", sql, [reference], |row| {
            row.get(0)
        })
    }

    /// The references of all lists, in order.
    pub fn lists(&self) -> Result<Vec<String>, DbError> {
        let sql = "SELECT reference FROM lists ORDER BY reference";
        self.rows("list the manifest lists", sql, [], |row| row.get(0))
    }
}

impl Transaction<'_> {
    /// Records a list; what it was before is replaced.
    pub fn put_list(&self, reference: &str, document: &str) -> Result<(), DbError> {
        let sql = "INSERT OR REPLACE INTO lists VALUES (?, ?)";
        self.execute("record a manifest list", sql, (reference, document))?;
        Ok(())
    }

    /// Forgets a list; false when there was none.
    pub fn forget_list(&self, reference: &str) -> Result<bool, DbError> {
        let sql = "DELETE FROM lists WHERE reference = ?";
        Ok(self.execute("forget a manifest list", sql, [reference])? > 0)
    }
}
