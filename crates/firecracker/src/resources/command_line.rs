//! The kernel's command line.

use super::error::CommandLineError;
use crate::machine::Access;

/// The longest; `COMMAND_LINE_SIZE` of Linux on x86, with the zero at the end.
pub const COMMAND_LINE_BYTES_MAX: usize = 2048;

/// Where the root file system is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Root {
    /// What follows `root=`.
    pub(super) device: String,
    pub(super) access: Access,
}

/// Whether the kernel can take it.
pub(super) fn check(arguments: &str) -> Result<(), CommandLineError> {
    if arguments.len() >= COMMAND_LINE_BYTES_MAX {
        return Err(CommandLineError::Long(COMMAND_LINE_BYTES_MAX - 1));
    }
    if !arguments.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        return Err(CommandLineError::Letter);
    }
    Ok(())
}

/// The arguments with those that are always there (there is no PCI bus), and that name the root. What follows
/// ` -- ` is for the first process, and stays last.
pub(super) fn complete(arguments: &str, root: Option<&Root>) -> Result<String, CommandLineError> {
    let mut more = "pci=off".to_owned();
    if let Some(root) = root {
        let access = match root.access {
            Access::ReadOnly => "ro",
            Access::ReadWrite => "rw",
        };
        more.push_str(&format!(" root={} {access}", root.device));
    }
    let line = match arguments.split_once(" -- ") {
        Some((kernel, init)) => format!("{kernel} {more} -- {init}"),
        None => format!("{arguments} {more}"),
    };
    check(&line)?;
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_comes_before_what_is_for_init() {
        let root = Root {
            device: "/dev/vda".to_owned(),
            access: Access::ReadOnly,
        };
        assert_eq!(complete("a b", None), Ok("a b pci=off".to_owned()));
        assert_eq!(
            complete("a b", Some(&root)),
            Ok("a b pci=off root=/dev/vda ro".to_owned())
        );
        assert_eq!(
            complete("a -- b", Some(&root)),
            Ok("a pci=off root=/dev/vda ro -- b".to_owned())
        );
        assert_eq!(complete("a\n", None), Err(CommandLineError::Letter));
        let long = "a".repeat(COMMAND_LINE_BYTES_MAX - 1);
        assert_eq!(check(&long), Ok(()));
        assert_eq!(complete(&long, None), Err(CommandLineError::Long(2047)));
    }
}
