//! The shim's command line, which containerd writes: flags as Go's `flag` package reads them, then an
//! action.

use std::path::PathBuf;

use crate::error::ShimError;

/// What is to be done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Action {
    /// Be the shim. Only the shim asks for this: its listening socket is standard input.
    #[default]
    Serve,
    Start,
    Delete,
    Version,
    Info,
}

/// The flags of containerd's contract that mean something here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Arguments {
    pub action: Action,
    pub namespace: String,
    pub id: String,
    /// Of containerd's gRPC socket: it tells one containerd's shims from another's.
    pub address: String,
    /// Where the bundle is, if not here.
    pub bundle: Option<PathBuf>,
    /// Our own addition: the path of the socket that is standard input.
    pub socket: PathBuf,
}

impl Arguments {
    /// `-name value`, `-name=value`, and either with two dashes.
    ///
    /// # Errors
    /// [`ShimError::Usage`].
    pub fn parse(words: impl Iterator<Item = String>) -> Result<Arguments, ShimError> {
        let mut arguments = Arguments::default();
        let mut words = words;
        while let Some(word) = words.next() {
            let Some(flag) = word.strip_prefix('-') else {
                arguments.action = match &*word {
                    "start" => Action::Start,
                    "delete" => Action::Delete,
                    _ => return Err(ShimError::Usage(format!("`{word}` is no command"))),
                };
                continue;
            };
            let flag = flag.strip_prefix('-').unwrap_or(flag);
            let (name, given) = match flag.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (flag, None),
            };
            match name {
                "v" | "version" => arguments.action = Action::Version,
                "info" => arguments.action = Action::Info,
                "debug" => {}
                _ => {
                    let value = given.or_else(|| words.next());
                    let value = value
                        .ok_or_else(|| ShimError::Usage(format!("`-{name}` needs a value")))?;
                    arguments.set(name, value)?;
                }
            }
        }
        let needs_namespace = matches!(
            arguments.action,
            Action::Start | Action::Delete | Action::Serve
        );
        if needs_namespace && arguments.namespace.is_empty() {
            return Err(ShimError::Usage(
                "this is containerd's to call, with a `-namespace`".to_owned(),
            ));
        }
        Ok(arguments)
    }

    fn set(&mut self, name: &str, value: String) -> Result<(), ShimError> {
        match name {
            "namespace" => self.namespace = value,
            "id" => self.id = value,
            "address" => self.address = value,
            "bundle" => self.bundle = (!value.is_empty()).then(|| value.into()),
            "socket" => self.socket = value.into(),
            // How events were sent before ttrpc, and a socket of Go's profiler.
            "publish-binary" | "debug-socket" => {}
            _ => return Err(ShimError::Usage(format!("`-{name}` is no flag"))),
        }
        Ok(())
    }

    /// The bundle: the one that is named, or where we are.
    ///
    /// # Errors
    /// The working directory is gone.
    pub fn bundle(&self) -> Result<PathBuf, ShimError> {
        match &self.bundle {
            Some(bundle) => Ok(bundle.clone()),
            None => std::env::current_dir().map_err(|source| ShimError::file(".", source)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Arguments, ShimError> {
        Arguments::parse(line.split(' ').map(str::to_owned))
    }

    #[test]
    fn containerds_line_is_read() {
        let line = "-namespace k8s.io -address /run/c.sock -publish-binary /usr/bin/containerd \
                    -id=abc --debug -bundle /b delete";
        let arguments = parse(line).unwrap();
        assert_eq!(arguments.action, Action::Delete);
        assert_eq!(arguments.namespace, "k8s.io");
        assert_eq!(arguments.id, "abc");
        assert_eq!(arguments.bundle, Some(PathBuf::from("/b")));
    }

    #[test]
    fn a_namespace_is_needed_but_for_information() {
        assert!(parse("start").is_err());
        assert_eq!(parse("-v").unwrap().action, Action::Version);
        assert_eq!(parse("-info").unwrap().action, Action::Info);
        assert!(parse("-namespace x stop").is_err());
        assert!(parse("-namespace").is_err());
    }
}
