//! `--storage-opt erofs.compression=zstd`.

use gamut_engine::storage_options::StorageOptions;

use super::ArgumentError;

/// An option that is known, as it was written: several are put together later.
pub fn parse_storage_option(text: &str) -> Result<String, ArgumentError> {
    let known = StorageOptions::default().set(text);
    known.map_err(ArgumentError::StorageOption)?;
    Ok(text.to_owned())
}
