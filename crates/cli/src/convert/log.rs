//! `--log-driver` and `--log-opt`, and `--restart`.

use super::{ArgumentError, parse_size};

/// Where output is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogDriver {
    JsonFile,
    None,
}

/// One option of `json-file`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogOption {
    /// `None`: `-1`, without end.
    MaxSizeBytes(Option<u64>),
    MaxFiles(u32),
}

/// `json-file` or `none`.
pub fn parse_log_driver(text: &str) -> Result<LogDriver, ArgumentError> {
    match text {
        "json-file" => Ok(LogDriver::JsonFile),
        "none" => Ok(LogDriver::None),
        _ => Err(ArgumentError::LogDriver {
            text: text.to_owned(),
        }),
    }
}

/// `max-size=10m` or `max-file=3`.
pub fn parse_log_option(text: &str) -> Result<LogOption, ArgumentError> {
    let option = match text.split_once('=') {
        Some(("max-size", "-1")) => Some(LogOption::MaxSizeBytes(None)),
        Some(("max-size", size)) => parse_size(size)
            .ok()
            .filter(|size| *size > 0)
            .map(|size| LogOption::MaxSizeBytes(Some(size))),
        Some(("max-file", count)) => count
            .parse()
            .ok()
            .filter(|count| *count > 0)
            .map(LogOption::MaxFiles),
        _ => None,
    };
    option.ok_or_else(|| ArgumentError::LogOption {
        text: text.to_owned(),
    })
}

/// `no`, the only policy there is so far.
pub fn parse_restart(text: &str) -> Result<(), ArgumentError> {
    match text {
        "no" => Ok(()),
        _ => Err(ArgumentError::Restart {
            text: text.to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs() {
        assert_eq!(parse_log_driver("none"), Ok(LogDriver::None));
        assert!(parse_log_driver("syslog").is_err());
        assert_eq!(
            parse_log_option("max-size=10m"),
            Ok(LogOption::MaxSizeBytes(Some(10 << 20)))
        );
        assert_eq!(
            parse_log_option("max-size=-1"),
            Ok(LogOption::MaxSizeBytes(None))
        );
        assert_eq!(parse_log_option("max-file=3"), Ok(LogOption::MaxFiles(3)));
        for text in ["", "max-size", "max-size=0", "max-file=0", "tag=x"] {
            assert!(parse_log_option(text).is_err(), "{text}");
        }
    }

    #[test]
    fn only_no_restart_so_far() {
        assert_eq!(parse_restart("no"), Ok(()));
        assert!(parse_restart("always").is_err());
    }
}
