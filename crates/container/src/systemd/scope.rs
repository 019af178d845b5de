//! Which unit a container gets: `linux.cgroupsPath` in the form that the systemd driver wants it in,
//! and the control group behind a unit's name. systemd.slice(5), runc's `docs/systemd.md`.

use super::error::SystemdError;
use super::{Bus, Unit};

/// The prefix of a unit that nobody named.
const PREFIX: &str = "gamut";

impl Unit {
    /// The scope of the container `id` for `linux.cgroupsPath`, which is `slice:prefix:name` or
    /// nothing.
    ///
    /// # Errors
    /// [`SystemdError::Path`], [`SystemdError::Slice`].
    pub fn from_path(path: Option<&str>, id: &str, bus: Bus) -> Result<Unit, SystemdError> {
        let path = path.filter(|path| !path.is_empty());
        let wrong = || SystemdError::Path(path.unwrap_or_default().to_owned());
        let (slice, prefix, name) = match path.map(|path| path.split(':').collect::<Vec<_>>()) {
            None => ("", PREFIX, id),
            Some(parts) => match parts[..] {
                [slice, prefix, name] if !name.is_empty() => (slice, prefix, name),
                _ => return Err(wrong()),
            },
        };
        let name = format!("{prefix}-{name}.scope");
        // systemd refuses what else is no name; these would lead out of the group.
        if name.contains('/') || name.chars().any(char::is_control) {
            return Err(wrong());
        }
        let slice = match (slice, bus) {
            ("", Bus::System) => "system.slice",
            ("", Bus::User) => "user.slice",
            ("-", _) => "-.slice",
            (slice, _) => slice,
        };
        expand(slice)?;
        Ok(Unit {
            name,
            slice: slice.to_owned(),
            bus,
        })
    }

    /// Its control group, relative to each hierarchy. `above` is the group that systemd itself was
    /// given: nothing but for a user's.
    ///
    /// # Errors
    /// [`SystemdError::Slice`].
    pub fn group(&self, above: &str) -> Result<String, SystemdError> {
        let slice = expand(&self.slice)?;
        let parts = [above.trim_matches('/'), &slice, &self.name];
        let parts = parts.into_iter().filter(|part| !part.is_empty());
        Ok(parts.collect::<Vec<_>>().join("/"))
    }
}

/// `a-b.slice` lies in `a.slice`: `a.slice/a-b.slice`. The root slice is nothing.
fn expand(slice: &str) -> Result<String, SystemdError> {
    let wrong = || SystemdError::Slice(slice.to_owned());
    let name = slice.strip_suffix(".slice").ok_or_else(wrong)?;
    if name == "-" {
        return Ok(String::new());
    }
    if name.contains('/') || name.chars().any(char::is_control) {
        return Err(wrong());
    }
    let mut path = String::new();
    let mut prefix = String::new();
    for part in name.split('-') {
        if part.is_empty() {
            return Err(wrong());
        }
        if !path.is_empty() {
            path.push('/');
        }
        prefix.push_str(part);
        path.push_str(&prefix);
        path.push_str(".slice");
        prefix.push('-');
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(path: &str, bus: Bus) -> Option<String> {
        let unit = Unit::from_path(Some(path), "id", bus).ok()?;
        let above = match bus {
            Bus::System => "",
            Bus::User => "/user.slice/user-7.slice/user@7.service",
        };
        unit.group(above).ok()
    }

    #[test]
    fn paths_become_units_and_groups() {
        for (path, expected) in [
            ("", "system.slice/gamut-id.scope"),
            ("::web", "system.slice/-web.scope"),
            ("machine.slice:libpod:ab", "machine.slice/libpod-ab.scope"),
            ("-:a:b", "a-b.scope"),
            ("-.slice:a:b", "a-b.scope"),
            (
                "kube-pod-x.slice:cri:c",
                "kube.slice/kube-pod.slice/kube-pod-x.slice/cri-c.scope",
            ),
        ] {
            assert_eq!(
                group(path, Bus::System).as_deref(),
                Some(expected),
                "{path}"
            );
        }
        assert_eq!(
            group("", Bus::User).as_deref(),
            Some("user.slice/user-7.slice/user@7.service/user.slice/gamut-id.scope")
        );
    }

    #[test]
    fn what_is_no_unit_is_refused() {
        for path in [
            "/a/b",
            "a:b",
            "a.slice:b:c:d",
            "a.slice:b:",
            "a:b:c",
            "a/b.slice:c:d",
            ".slice:a:b",
            "-a.slice:b:c",
            "a--b.slice:c:d",
            "a.slice:..:/../b",
            "a.slice:b/..:c",
        ] {
            assert_eq!(group(path, Bus::System), None, "{path}");
        }
    }
}
