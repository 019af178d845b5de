//! `--change` of `commit` and `import`: instructions of a Dockerfile that change an image's
//! configuration and nothing else (Dockerfile reference).

use super::words::{expand, split};
use super::{ContainerConfig, Healthcheck};
use crate::fault::{Fault, Kind};

/// The instructions that there are.
const INSTRUCTIONS: &str = "CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL, ONBUILD, STOPSIGNAL, \
                            USER, VOLUME or WORKDIR";

/// Why an instruction cannot be carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    #[error("`{0}` is no change that can be made to an image")]
    Instruction(String),
    #[error("`{instruction}` {what}")]
    Argument {
        instruction: String,
        what: &'static str,
    },
}

impl Fault for ChangeError {
    fn kind(&self) -> Kind {
        Kind::Invalid
    }

    fn hint(&self) -> Option<String> {
        match self {
            ChangeError::Instruction(_) => Some(format!("begin it with {INSTRUCTIONS}")),
            ChangeError::Argument { .. } => None,
        }
    }
}

/// Carries out `changes` in their order.
pub fn apply(config: &mut ContainerConfig, changes: &[String]) -> Result<(), ChangeError> {
    let mut has_cmd = false;
    for change in changes {
        let text = change.trim();
        let (name, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        let instruction = Instruction {
            whole: change,
            rest: rest.trim(),
        };
        let name = name.to_ascii_uppercase();
        instruction.apply(&name, config)?;
        match name.as_str() {
            "CMD" => has_cmd = true,
            // A new entrypoint does not take the old one's arguments.
            "ENTRYPOINT" if !has_cmd => config.cmd = None,
            _ => {}
        }
    }
    Ok(())
}

struct Instruction<'a> {
    whole: &'a str,
    rest: &'a str,
}

impl Instruction<'_> {
    fn apply(&self, name: &str, config: &mut ContainerConfig) -> Result<(), ChangeError> {
        match name {
            "CMD" => config.cmd = Some(self.command(config)),
            "ENTRYPOINT" => config.entrypoint = Some(self.command(config)),
            "ENV" => {
                for (name, value) in self.pairs(config)? {
                    set_env(&mut config.env, &name, &value);
                }
            }
            "LABEL" => config.labels.extend(self.pairs(config)?),
            "EXPOSE" => {
                for port in self.some_words(config)? {
                    config.exposed_ports.insert(self.port(&port)?);
                }
            }
            "VOLUME" => {
                let paths = match self.json() {
                    Some(paths) => paths,
                    None => self.some_words(config)?,
                };
                config.volumes.extend(paths);
            }
            "USER" => config.user = self.one(config)?,
            "STOPSIGNAL" => config.stop_signal = Some(self.one(config)?),
            "WORKDIR" => {
                let path = self.one(config)?;
                config.working_dir = absolute(&config.working_dir, &path);
            }
            "ONBUILD" if !self.rest.is_empty() => config.on_build.push(self.rest.to_owned()),
            "ONBUILD" => return Err(self.wrong("needs an instruction")),
            "HEALTHCHECK" => config.healthcheck = Some(self.healthcheck()?),
            _ => return Err(ChangeError::Instruction(self.whole.to_owned())),
        }
        Ok(())
    }

    fn wrong(&self, what: &'static str) -> ChangeError {
        ChangeError::Argument {
            instruction: self.whole.to_owned(),
            what,
        }
    }

    /// A list in JSON's form.
    fn json(&self) -> Option<Vec<String>> {
        serde_json::from_str(self.rest).ok()
    }

    /// A list in JSON's form, or a text for the shell.
    fn command(&self, config: &ContainerConfig) -> Vec<String> {
        if let Some(words) = self.json() {
            return words;
        }
        if self.rest.is_empty() {
            return Vec::new();
        }
        let shell = config.shell.clone().filter(|words| !words.is_empty());
        let mut words = shell.unwrap_or_else(|| vec!["/bin/sh".to_owned(), "-c".to_owned()]);
        words.push(self.rest.to_owned());
        words
    }

    fn expand(&self, word: &str, config: &ContainerConfig) -> Result<String, ChangeError> {
        let variable = |name: &str| {
            let set = |entry: &String| {
                let (key, value) = entry.split_once('=')?;
                (key == name).then(|| value.to_owned())
            };
            config.env.iter().rev().find_map(set)
        };
        expand(word, &variable).ok_or_else(|| self.wrong("has a quote or brace that is not closed"))
    }

    fn some_words(&self, config: &ContainerConfig) -> Result<Vec<String>, ChangeError> {
        let words: Vec<String> = split(self.rest)
            .iter()
            .map(|word| self.expand(word, config))
            .collect::<Result<_, _>>()?;
        match words.is_empty() {
            true => Err(self.wrong("needs an argument")),
            false => Ok(words),
        }
    }

    fn one(&self, config: &ContainerConfig) -> Result<String, ChangeError> {
        match self.rest {
            "" => Err(self.wrong("needs an argument")),
            rest => self.expand(rest, config),
        }
    }

    /// `KEY=VALUE …`, or, as it once was, `KEY VALUE` with everything after the first blank.
    fn pairs(&self, config: &ContainerConfig) -> Result<Vec<(String, String)>, ChangeError> {
        let words = split(self.rest);
        let Some(first) = words.first() else {
            return Err(self.wrong("needs KEY=VALUE"));
        };
        if !first.contains('=') {
            let (key, value) = self
                .rest
                .split_once(char::is_whitespace)
                .ok_or_else(|| self.wrong("needs KEY=VALUE"))?;
            return Ok(vec![(
                self.expand(key, config)?,
                self.expand(value.trim_start(), config)?,
            )]);
        }
        let pair = |word: &String| {
            let (key, value) = word
                .split_once('=')
                .filter(|(key, _)| !key.is_empty())
                .ok_or_else(|| self.wrong("needs KEY=VALUE"))?;
            Ok((self.expand(key, config)?, self.expand(value, config)?))
        };
        words.iter().map(pair).collect()
    }

    /// `PORT[-PORT][/PROTOCOL]`, with the protocol.
    fn port(&self, text: &str) -> Result<String, ChangeError> {
        let (range, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let protocol = protocol.to_ascii_lowercase();
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let is_port = |text: &str| text.parse::<u16>().is_ok_and(|port| port > 0);
        let known = matches!(protocol.as_str(), "tcp" | "udp" | "sctp");
        match known && is_port(first) && is_port(last) {
            true => Ok(format!("{range}/{protocol}")),
            false => Err(self.wrong("needs PORT[/PROTOCOL]")),
        }
    }

    fn healthcheck(&self) -> Result<Healthcheck, ChangeError> {
        let mut health = Healthcheck::default();
        let mut rest = self.rest;
        while let Some(flag) = rest.strip_prefix("--") {
            let (flag, after) = flag.split_once(char::is_whitespace).unwrap_or((flag, ""));
            let (name, value) = flag.split_once('=').unwrap_or((flag, ""));
            let duration =
                || duration_ns(value).ok_or_else(|| self.wrong("needs a duration, as 30s"));
            match name {
                "interval" => health.interval_ns = duration()?,
                "timeout" => health.timeout_ns = duration()?,
                "start-period" => health.start_period_ns = duration()?,
                "start-interval" => health.start_interval_ns = duration()?,
                "retries" => {
                    let number = value.parse::<i64>().ok().filter(|number| *number >= 0);
                    health.retries =
                        number.ok_or_else(|| self.wrong("needs a number of retries"))?;
                }
                _ => return Err(self.wrong("has a flag that a health check has not")),
            }
            rest = after.trim_start();
        }
        let (kind, command) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        let test = Instruction {
            whole: self.whole,
            rest: command.trim(),
        };
        health.test = match (kind.to_ascii_uppercase().as_str(), test.json()) {
            ("NONE", _) if command.is_empty() => vec!["NONE".to_owned()],
            ("CMD", Some(words)) if !words.is_empty() => {
                let mut test = vec!["CMD".to_owned()];
                test.extend(words);
                test
            }
            ("CMD", None) if !test.rest.is_empty() => {
                vec!["CMD-SHELL".to_owned(), test.rest.to_owned()]
            }
            _ => return Err(self.wrong("needs NONE or CMD with a command")),
        };
        Ok(health)
    }
}

fn set_env(env: &mut Vec<String>, name: &str, value: &str) {
    let new = format!("{name}={value}");
    let same = |entry: &&mut String| entry.split_once('=').is_some_and(|(key, _)| key == name);
    match env.iter_mut().find(same) {
        Some(entry) => *entry = new,
        None => env.push(new),
    }
}

/// `path` as seen from `from`; components are not looked at.
fn absolute(from: &str, path: &str) -> String {
    match (path.starts_with('/'), from.trim_end_matches('/')) {
        (true, _) => path.to_owned(),
        (false, from) => format!("{from}/{path}"),
    }
}

/// Go's durations, in the units that health checks have: `1h30m`, `1.5s`, `100ms`.
fn duration_ns(text: &str) -> Option<i64> {
    const UNITS: [(&str, f64); 6] = [
        ("ms", 1e6),
        ("us", 1e3),
        ("ns", 1.0),
        ("h", 3600e9),
        ("m", 60e9),
        ("s", 1e9),
    ];
    let mut total_ns = 0.0;
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.')?;
        let number: f64 = rest[..end].parse().ok()?;
        let (unit, scale) = UNITS
            .iter()
            .find(|(unit, _)| rest[end..].starts_with(unit))?;
        total_ns += number * scale;
        rest = &rest[end + unit.len()..];
    }
    // Three centuries.
    (!text.is_empty() && total_ns < 9e18).then_some(total_ns as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(changes: &[&str]) -> Result<ContainerConfig, ChangeError> {
        let mut config = ContainerConfig {
            env: vec!["PATH=/bin".to_owned(), "A=1".to_owned()],
            cmd: Some(vec!["old".to_owned()]),
            ..ContainerConfig::default()
        };
        let changes: Vec<String> = changes.iter().map(|text| (*text).to_owned()).collect();
        apply(&mut config, &changes).map(|()| config)
    }

    #[test]
    fn each_instruction_changes_its_field() {
        let config = changed(&[
            "CMD echo $A",
            r#"entrypoint ["/entry", "-x"]"#,
            r#"ENV B="two words" C=$A"#,
            "ENV A the rest of it",
            "EXPOSE 80 53/UDP 8000-8010",
            "LABEL k=v 'a b'=c",
            "ONBUILD RUN true",
            "STOPSIGNAL SIGQUIT",
            "USER app:app",
            r#"VOLUME ["/a", "/b"]"#,
            "VOLUME /c /d",
            "WORKDIR /srv",
            "WORKDIR www",
        ])
        .unwrap();
        assert_eq!(config.cmd.unwrap(), ["/bin/sh", "-c", "echo $A"]);
        assert_eq!(config.entrypoint.unwrap(), ["/entry", "-x"]);
        assert_eq!(
            config.env,
            ["PATH=/bin", "A=the rest of it", "B=two words", "C=1"]
        );
        let ports: Vec<_> = config.exposed_ports.into_iter().collect();
        assert_eq!(ports, ["53/udp", "80/tcp", "8000-8010/tcp"]);
        assert_eq!(config.labels["a b"], "c");
        assert_eq!(config.on_build, ["RUN true"]);
        assert_eq!(config.stop_signal.as_deref(), Some("SIGQUIT"));
        assert_eq!(config.user, "app:app");
        assert_eq!(config.volumes.len(), 4);
        assert_eq!(config.working_dir, "/srv/www");
    }

    #[test]
    fn a_new_entrypoint_takes_the_old_command_away() {
        let config = changed(&[r#"ENTRYPOINT ["x"]"#]).unwrap();
        assert_eq!(config.cmd, None);
        let config = changed(&["CMD []", r#"ENTRYPOINT ["x"]"#]).unwrap();
        assert_eq!(config.cmd.unwrap(), Vec::<String>::new());
    }

    #[test]
    fn health_checks_have_flags_and_a_command() {
        let health = |text: &str| changed(&[text]).map(|config| config.healthcheck.unwrap());
        let whole = health("HEALTHCHECK --interval=1m30s --retries=3 CMD curl -f x || exit 1");
        let whole = whole.unwrap();
        assert_eq!(whole.test, ["CMD-SHELL", "curl -f x || exit 1"]);
        assert_eq!((whole.interval_ns, whole.retries), (90_000_000_000, 3));
        let list = health(r#"HEALTHCHECK CMD ["true"]"#).unwrap();
        assert_eq!(list.test, ["CMD", "true"]);
        assert_eq!(health("HEALTHCHECK NONE").unwrap().test, ["NONE"]);
        assert_eq!(duration_ns("1.5s"), Some(1_500_000_000));
        assert_eq!(duration_ns("5"), None);
    }

    #[test]
    fn what_is_wrong_is_refused() {
        for text in [
            "RUN true",
            "",
            "ENV",
            "ENV A",
            "ENV =1",
            "ENV A=\"1",
            "EXPOSE http",
            "EXPOSE 0",
            "EXPOSE 80/icmp",
            "USER",
            "ONBUILD",
            "HEALTHCHECK",
            "HEALTHCHECK --every=1s CMD x",
            "HEALTHCHECK --interval=soon CMD x",
        ] {
            assert!(changed(&[text]).is_err(), "{text}");
        }
    }
}
