//! `--log-driver` and `--log-opt`: Docker's drivers and their options.

use std::collections::BTreeMap;
use std::path::PathBuf;

use gamut_plan::request::{LogConfig, LogMore, SyslogAddress, SyslogFormat};

use super::{ArgumentError, parse_size};

/// Where output is kept, or told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogDriver {
    JsonFile,
    Local,
    Syslog,
    Journald,
    None,
}

/// A driver by Docker's name.
pub fn parse_log_driver(text: &str) -> Result<LogDriver, ArgumentError> {
    Ok(match text {
        // Podman's name for its default, which is a file too.
        "json-file" | "k8s-file" => LogDriver::JsonFile,
        "local" => LogDriver::Local,
        "syslog" => LogDriver::Syslog,
        "journald" => LogDriver::Journald,
        "none" => LogDriver::None,
        _ => {
            return Err(ArgumentError::LogDriver {
                text: text.to_owned(),
            });
        }
    })
}

/// `KEY=VALUE`; what it means depends on the driver.
pub fn parse_log_option(text: &str) -> Result<(String, String), ArgumentError> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(wrong(text)),
    }
}

fn wrong(text: &str) -> ArgumentError {
    ArgumentError::LogOption {
        text: text.to_owned(),
    }
}

/// A driver with its options.
pub fn log_config(
    driver: LogDriver,
    options: &[(String, String)],
) -> Result<LogConfig, ArgumentError> {
    const FILE: &[&str] = &["max-size", "max-file", "compress"];
    const NAMES: &[&str] = &["tag", "labels", "env"];
    const COMMON: &[&str] = &["mode", "max-buffer-size"];
    const SYSLOG: &[&str] = &["syslog-address", "syslog-facility", "syslog-format"];
    let known: &[&[&str]] = match driver {
        LogDriver::JsonFile | LogDriver::Local => &[FILE, NAMES, COMMON],
        LogDriver::Syslog => &[SYSLOG, NAMES, COMMON],
        LogDriver::Journald => &[NAMES, COMMON],
        LogDriver::None => &[],
    };
    let given: BTreeMap<String, String> = options.iter().cloned().collect();
    for (key, value) in &given {
        let is_known = known.iter().any(|keys| keys.contains(&key.as_str()));
        let is_good = is_known && is_good(key, value);
        if !is_good {
            return Err(wrong(&format!("{key}={value}")));
        }
    }
    let of = |key: &str| given.get(key).map(String::as_str);
    let names = |key| {
        let list = of(key).unwrap_or_default().split(',');
        list.filter(|name| !name.is_empty())
            .map(str::to_owned)
            .collect()
    };
    let more = LogMore {
        tag: of("tag").map(str::to_owned),
        labels: names("labels"),
        env: names("env"),
        given: given.clone(),
    };
    let max_size_bytes = |default| match of("max-size") {
        None => default,
        Some(size) => parse_size(size).ok(),
    };
    let max_files = |default| {
        of("max-file")
            .and_then(|count| count.parse().ok())
            .unwrap_or(default)
    };
    Ok(match driver {
        LogDriver::None => LogConfig::None,
        LogDriver::JsonFile => LogConfig::JsonFile {
            max_size_bytes: max_size_bytes(None),
            max_files: max_files(1),
            more,
        },
        LogDriver::Local => LogConfig::Local {
            max_size_bytes: max_size_bytes(Some(20 << 20)),
            max_files: max_files(5),
            more,
        },
        LogDriver::Journald => LogConfig::Journald { more },
        LogDriver::Syslog => LogConfig::Syslog {
            address: of("syslog-address").and_then(address),
            facility: of("syslog-facility").and_then(facility).unwrap_or(DAEMON),
            format: of("syslog-format").and_then(format).unwrap_or_default(),
            more,
        },
    })
}

fn is_good(key: &str, value: &str) -> bool {
    match key {
        "max-size" => value == "-1" || parse_size(value).is_ok_and(|size| size > 0),
        "max-file" => value.parse::<u32>().is_ok_and(|count| count > 0),
        // Nothing is compressed here.
        "compress" => value == "false",
        // The workload never waits for who is told; what is kept for it is as much as a socket takes.
        "mode" => matches!(value, "blocking" | "non-blocking"),
        "max-buffer-size" => parse_size(value).is_ok(),
        "syslog-address" => address(value).is_some(),
        "syslog-facility" => facility(value).is_some(),
        "syslog-format" => format(value).is_some(),
        _ => true,
    }
}

/// `unixgram:///path`, `unix:///path`, `udp://host[:514]`, `tcp://host[:514]`.
fn address(text: &str) -> Option<SyslogAddress> {
    let (scheme, rest) = text.split_once("://")?;
    let path = || rest.starts_with('/').then(|| PathBuf::from(rest));
    let host = || {
        let has_port = rest
            .rsplit_once(':')
            .is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let is_plain = !rest.is_empty() && !rest.contains('/');
        is_plain.then(|| match has_port {
            true => rest.to_owned(),
            false => format!("{rest}:514"),
        })
    };
    match scheme {
        "unixgram" => path().map(SyslogAddress::Unixgram),
        "unix" => path().map(SyslogAddress::Unix),
        "udp" => host().map(SyslogAddress::Udp),
        "tcp" => host().map(SyslogAddress::Tcp),
        _ => None,
    }
}

/// RFC 5424, table 1.
const FACILITIES: [&str; 24] = [
    "kern",
    "user",
    "mail",
    "daemon",
    "auth",
    "syslog",
    "lpr",
    "news",
    "uucp",
    "cron",
    "authpriv",
    "ftp",
    "ntp",
    "security",
    "console",
    "solaris-cron",
    "local0",
    "local1",
    "local2",
    "local3",
    "local4",
    "local5",
    "local6",
    "local7",
];
const DAEMON: u8 = 3;

/// By name or number.
fn facility(text: &str) -> Option<u8> {
    let named = FACILITIES.iter().position(|name| *name == text);
    let number = named
        .or_else(|| text.parse().ok())
        .filter(|number| *number < FACILITIES.len());
    number.and_then(|number| u8::try_from(number).ok())
}

fn format(text: &str) -> Option<SyslogFormat> {
    Some(match text {
        "" => SyslogFormat::Usual,
        "rfc3164" => SyslogFormat::Rfc3164,
        "rfc5424" => SyslogFormat::Rfc5424,
        "rfc5424micro" => SyslogFormat::Rfc5424Micro,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(driver: &str, options: &[&str]) -> Result<LogConfig, ArgumentError> {
        let driver = parse_log_driver(driver)?;
        let options: Result<Vec<_>, _> =
            options.iter().map(|text| parse_log_option(text)).collect();
        log_config(driver, &options?)
    }

    #[test]
    fn files_have_sizes() {
        let LogConfig::JsonFile {
            max_size_bytes,
            max_files,
            more,
        } = config("json-file", &["max-size=10m", "max-file=3", "labels=a,b"]).unwrap()
        else {
            panic!("no file");
        };
        assert_eq!((max_size_bytes, max_files), (Some(10 << 20), 3));
        assert_eq!(more.labels, ["a", "b"]);
        assert_eq!(more.given["max-size"], "10m");
        let local = config("local", &["max-size=-1"]).unwrap();
        assert!(matches!(
            local,
            LogConfig::Local {
                max_size_bytes: None,
                max_files: 5,
                ..
            }
        ));
        for option in [
            "",
            "max-size",
            "max-size=0",
            "max-file=0",
            "compress=true",
            "syslog-format=x",
            "what=1",
        ] {
            assert!(config("json-file", &[option]).is_err(), "{option}");
        }
        assert!(config("none", &["max-size=1m"]).is_err());
        assert!(config("gelf", &[]).is_err());
    }

    #[test]
    fn a_syslog_daemon_is_here_or_elsewhere() {
        assert_eq!(
            address("udp://log.example"),
            Some(SyslogAddress::Udp("log.example:514".into()))
        );
        assert_eq!(
            address("tcp://[::1]:601"),
            Some(SyslogAddress::Tcp("[::1]:601".into()))
        );
        assert_eq!(
            address("unixgram:///dev/log"),
            Some(SyslogAddress::Unixgram("/dev/log".into()))
        );
        for wrong in [
            "udp://",
            "unix://x",
            "log.example",
            "tcp+tls://x:1",
            "udp://a/b",
        ] {
            assert_eq!(address(wrong), None, "{wrong}");
        }
        assert_eq!(
            (facility("local7"), facility("4"), facility("24")),
            (Some(23), Some(4), None)
        );
        let LogConfig::Syslog {
            facility,
            format,
            address,
            ..
        } = config(
            "syslog",
            &[
                "syslog-facility=cron",
                "syslog-format=rfc5424",
                "mode=non-blocking",
            ],
        )
        .unwrap()
        else {
            panic!("no syslog");
        };
        assert_eq!(
            (facility, format, address),
            (9, SyslogFormat::Rfc5424, None)
        );
        assert!(config("syslog", &["max-size=1m"]).is_err());
    }
}
