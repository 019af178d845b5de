//! `NAME=value` in its several uses: variables, env files, labels, kernel settings.

use super::ArgumentError;

/// One `-e`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EnvArg {
    Set {
        name: String,
        value: String,
    },
    /// `-e NAME`: the host's value.
    Inherit {
        name: String,
    },
}

/// `NAME=value`, or `NAME` for the host's value. The value may be anything but NUL.
pub fn parse_env(text: &str) -> Result<EnvArg, ArgumentError> {
    refuse_nul(text)?;
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (text, None),
    };
    if name.is_empty() {
        return Err(ArgumentError::EnvName {
            text: text.to_owned(),
        });
    }
    let name = name.to_owned();
    Ok(match value {
        Some(value) => EnvArg::Set {
            name,
            value: value.to_owned(),
        },
        None => EnvArg::Inherit { name },
    })
}

/// Docker's env file: blank lines and `#` lines are skipped, leading white space is dropped, a
/// value is taken as it stands (no quotes, no expansion), `NAME` alone takes the host's value.
pub fn parse_env_file(content: &str) -> Result<Vec<EnvArg>, ArgumentError> {
    lines(content)
        .map(|(number, line)| {
            let (name, value) = name_and_value(number, line)?;
            refuse_nul(line)?;
            Ok(match value {
                Some(value) => EnvArg::Set { name, value },
                None => EnvArg::Inherit { name },
            })
        })
        .collect()
}

/// `key=value`; a key alone has an empty value.
pub fn parse_label(text: &str) -> Result<(String, String), ArgumentError> {
    refuse_nul(text)?;
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    if key.is_empty() {
        return Err(ArgumentError::Label {
            text: text.to_owned(),
        });
    }
    Ok((key.to_owned(), value.to_owned()))
}

/// Labels, one a line, by the rules of the env file.
pub fn parse_label_file(content: &str) -> Result<Vec<(String, String)>, ArgumentError> {
    lines(content)
        .map(|(number, line)| {
            let (name, value) = name_and_value(number, line)?;
            Ok((name, value.unwrap_or_default()))
        })
        .collect()
}

/// `net.ipv4.ip_forward=1`; `/` may stand for `.` as in sysctl(8). No component can be a way up.
pub fn parse_sysctl(text: &str) -> Result<(String, String), ArgumentError> {
    let invalid = || ArgumentError::Sysctl {
        text: text.to_owned(),
    };
    let (name, value) = text.split_once('=').ok_or_else(invalid)?;
    let name = name.replace('/', ".");
    let plain = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|byte| {
                byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b':' | b'@')
            })
    };
    if !name.contains('.') || !name.split('.').all(plain) || value.contains('\0') {
        return Err(invalid());
    }
    Ok((name, value.to_owned()))
}

fn refuse_nul(text: &str) -> Result<(), ArgumentError> {
    if text.contains('\0') {
        return Err(ArgumentError::Nul {
            text: text.replace('\0', "\\0"),
        });
    }
    Ok(())
}

/// The lines that say something, numbered from 1.
fn lines(content: &str) -> impl Iterator<Item = (usize, &str)> {
    let content = content.strip_prefix('\u{feff}').unwrap_or(content);
    content
        .lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line.trim_start()))
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
}

fn name_and_value(number: usize, line: &str) -> Result<(String, Option<String>), ArgumentError> {
    let (name, value) = match line.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (line, None),
    };
    if name.is_empty() {
        return Err(ArgumentError::EnvFileNoName { line: number });
    }
    if name.contains(char::is_whitespace) {
        return Err(ArgumentError::EnvFileName {
            line: number,
            name: name.to_owned(),
        });
    }
    Ok((name.to_owned(), value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(name: &str, value: &str) -> EnvArg {
        EnvArg::Set {
            name: name.to_owned(),
            value: value.to_owned(),
        }
    }

    fn inherit(name: &str) -> EnvArg {
        EnvArg::Inherit {
            name: name.to_owned(),
        }
    }

    #[test]
    fn variables() {
        assert_eq!(parse_env("A=b=c d"), Ok(set("A", "b=c d")));
        assert_eq!(parse_env("A="), Ok(set("A", "")));
        assert_eq!(parse_env("A"), Ok(inherit("A")));
        assert!(parse_env("=b").is_err());
        assert!(parse_env("").is_err());
        assert!(parse_env("A=\0").is_err());
    }

    #[test]
    fn env_files_follow_dockers_rules() {
        let content = "\u{feff}A=1\n\n  # comment\n\tB= two words \nC\nD=\"q\"#x\r\nE=";
        assert_eq!(
            parse_env_file(content),
            Ok(vec![
                set("A", "1"),
                set("B", " two words "),
                inherit("C"),
                set("D", "\"q\"#x"),
                set("E", ""),
            ])
        );
        assert_eq!(
            parse_env_file("A=1\nB C=2"),
            Err(ArgumentError::EnvFileName {
                line: 2,
                name: "B C".to_owned()
            })
        );
        assert_eq!(
            parse_env_file("=1"),
            Err(ArgumentError::EnvFileNoName { line: 1 })
        );
    }

    #[test]
    fn labels() {
        assert_eq!(parse_label("a=b=c"), Ok(("a".into(), "b=c".into())));
        assert_eq!(parse_label("a"), Ok(("a".into(), String::new())));
        assert!(parse_label("=b").is_err());
        assert_eq!(
            parse_label_file("# x\na=1\nb\n"),
            Ok(vec![("a".into(), "1".into()), ("b".into(), String::new())])
        );
    }

    #[test]
    fn sysctls_cannot_climb() {
        assert_eq!(
            parse_sysctl("net/ipv4/ip_forward=1"),
            Ok(("net.ipv4.ip_forward".into(), "1".into()))
        );
        for text in [
            "net",
            "x=1",
            "net..x=1",
            "../../x.y=1",
            ".a=1",
            "=1",
            "a.b=\0",
        ] {
            assert!(parse_sysctl(text).is_err(), "{text}");
        }
    }
}
