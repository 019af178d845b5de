//! `--storage-driver erofs`.

use gamut_engine::storage::Driver;

use super::ArgumentError;

/// `erofs`, `overlay` or `copy`, or what Docker and Podman call the last two.
pub fn parse_storage_driver(text: &str) -> Result<Driver, ArgumentError> {
    let name = match text {
        "overlay2" => "overlay",
        "vfs" => "copy",
        name => name,
    };
    Driver::named(name).ok_or_else(|| ArgumentError::StorageDriver {
        text: text.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dockers_names_are_known() {
        assert_eq!(parse_storage_driver("erofs"), Ok(Driver::Erofs));
        assert_eq!(parse_storage_driver("overlay2"), Ok(Driver::Overlay));
        assert_eq!(parse_storage_driver("vfs"), Ok(Driver::Copy));
        assert!(parse_storage_driver("zfs").is_err());
    }
}
