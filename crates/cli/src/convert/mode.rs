//! `--umask` and `--hugetlb`.

use super::{ArgumentError, parse_size};

/// Octal permission bits: `022`, `0027`.
pub fn parse_umask(text: &str) -> Result<u32, ArgumentError> {
    let is_octal = !text.is_empty() && text.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
    let mask = u32::from_str_radix(text, 8)
        .ok()
        .filter(|mask| is_octal && *mask <= 0o777);
    mask.ok_or_else(|| ArgumentError::Umask {
        text: text.to_owned(),
    })
}

/// `2MB=64m`: a page size as the kernel writes it, and bytes.
pub fn parse_huge_pages(text: &str) -> Result<(String, u64), ArgumentError> {
    let parts = text.split_once('=');
    let limit = parts.and_then(|(size, bytes)| {
        let unit = size.trim_start_matches(|c: char| c.is_ascii_digit());
        let is_size = size.len() > unit.len() && matches!(unit, "KB" | "MB" | "GB");
        Some((size.to_owned(), parse_size(bytes).ok()?)).filter(|_| is_size)
    });
    limit.ok_or_else(|| ArgumentError::HugePages {
        text: text.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_are_octal() {
        assert_eq!(parse_umask("0027"), Ok(0o27));
        assert_eq!(parse_umask("0"), Ok(0));
        for wrong in ["", "8", "-1", "+2", "1777", "u=rwx"] {
            assert!(parse_umask(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn huge_pages_have_a_size_and_a_limit() {
        assert_eq!(
            parse_huge_pages("2MB=64m"),
            Ok(("2MB".to_owned(), 64 << 20))
        );
        for wrong in ["", "2MB", "2M=1m", "MB=1m", "2MB=x"] {
            assert!(parse_huge_pages(wrong).is_err(), "{wrong}");
        }
    }
}
