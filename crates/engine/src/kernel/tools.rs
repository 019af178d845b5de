//! The programs and headers that build a kernel: whether they are there, and how to get them.

use std::path::Path;
use std::process::{Command, Stdio};

use super::error::KernelError;

/// What has to be there, the package of Debian that has it, and that of Fedora.
const PROGRAMS: [(&str, &str, &str); 9] = [
    ("gcc", "gcc", "gcc"),
    ("ld", "binutils", "binutils"),
    ("make", "make", "make"),
    ("flex", "flex", "flex"),
    ("bison", "bison", "bison"),
    ("bc", "bc", "bc"),
    ("perl", "perl", "perl"),
    ("tar", "tar", "tar"),
    ("xz", "xz-utils", "xz"),
];
/// The kernel's `objtool` reads object files with it, and it brings a compiler's C library along.
const LIBELF: (&str, &str, &str) = ("gelf.h", "libelf-dev", "elfutils-libelf-devel");

/// Looks for everything.
pub(super) fn check() -> Result<(), KernelError> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_there =
        |name: &str| std::env::split_paths(&path).any(|place| place.join(name).is_file());
    let programs = PROGRAMS.iter().map(|(name, ..)| *name);
    let mut missing: Vec<&str> = programs.filter(|name| !is_there(name)).collect();
    let has_compiler = !missing.contains(&"gcc");
    if has_compiler && !compiles(LIBELF.0) {
        missing.push(LIBELF.0);
    }
    match missing.is_empty() {
        true => Ok(()),
        false => Err(KernelError::Tools {
            missing: missing.into_iter().map(str::to_owned).collect(),
        }),
    }
}

/// Whether the compiler finds a header.
fn compiles(header: &str) -> bool {
    Command::new("gcc")
        .args([
            "-E",
            "-o",
            "/dev/null",
            "-include",
            header,
            "-x",
            "c",
            "/dev/null",
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// The compiler's own words about itself, which a kernel's build depends on.
pub(super) fn compiler() -> Result<String, KernelError> {
    let failed = |reason: String| KernelError::Step {
        step: "`gcc --version`".to_owned(),
        reason,
        log: None,
    };
    let output = Command::new("gcc")
        .arg("--version")
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| failed(error.to_string()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    match text.lines().next() {
        Some(first) if output.status.success() => Ok(first.to_owned()),
        _ => Err(failed(output.status.to_string())),
    }
}

/// How to get what is missing.
pub(super) fn remedy(missing: &[String]) -> String {
    let debian = Path::new("/usr/bin/apt-get").exists() || !Path::new("/usr/bin/dnf").exists();
    let all = PROGRAMS.iter().chain([&LIBELF]);
    let packages: Vec<&str> = all
        .filter(|(name, ..)| missing.iter().any(|missing| missing == name))
        .map(|(_, deb, rpm)| if debian { *deb } else { *rpm })
        .collect();
    let installer = if debian { "apt-get" } else { "dnf" };
    format!("`{installer} install {}` brings it", packages.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_has_a_package() {
        let missing = ["flex".to_owned(), "gelf.h".to_owned()];
        let remedy = remedy(&missing);
        assert!(
            remedy.contains("flex") && remedy.contains("elf"),
            "{remedy}"
        );
        assert!(!remedy.contains("bison"), "{remedy}");
    }
}
