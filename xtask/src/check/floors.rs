//! The floor rule: a room uses only rooms of lower floors, and of those only the ones that the
//! design grants it. Never sideways, never up.
//!
//! The table is the one of `ARCHITECTURE.md`; change both in one commit.

use super::Finding;
use crate::workspace::{Dependency, Package};

/// A row of the design's table of rooms.
struct Room {
    name: &'static str,
    floor: u8,
    may_use: Rooms,
}

enum Rooms {
    /// These, all of lower floors.
    Named(&'static [&'static str]),
    /// Every room of a lower floor.
    Below,
}

const HOUSE: [Room; 19] = [
    room("sys", 0, Rooms::Named(&[])),
    room("spec", 0, Rooms::Named(&[])),
    room("plan", 1, Rooms::Named(&["spec"])),
    room("store", 1, Rooms::Named(&["sys", "spec"])),
    room("registry", 1, Rooms::Named(&["spec"])),
    room("trust", 1, Rooms::Named(&["spec"])),
    room("net", 1, Rooms::Named(&["sys", "spec"])),
    room("virtio", 1, Rooms::Named(&["sys"])),
    room("container", 2, Rooms::Named(&["sys", "spec", "plan"])),
    room("sandbox", 2, Rooms::Named(&["sys", "spec", "plan"])),
    room("vmm", 2, Rooms::Named(&["sys", "spec", "plan", "virtio"])),
    room(
        "agent",
        3,
        Rooms::Named(&["sys", "spec", "plan", "store", "net", "container"]),
    ),
    room("engine", 3, Rooms::Below),
    room("build", 3, Rooms::Below),
    room("docker", 4, Rooms::Named(&["engine", "build", "spec"])),
    room("kube", 4, Rooms::Named(&["engine", "spec"])),
    room("shim", 4, Rooms::Named(&["sys", "spec"])),
    room(
        "firecracker",
        4,
        Rooms::Named(&["sys", "spec", "virtio", "vmm"]),
    ),
    room("cli", 5, Rooms::Below),
];

const fn room(name: &'static str, floor: u8, may_use: Rooms) -> Room {
    Room {
        name,
        floor,
        may_use,
    }
}

/// Outside crates that belong to some rooms only, and why.
struct Fence {
    /// A crate, or a family of crates that share a prefix ending in `-`.
    crates: &'static [&'static str],
    rooms: &'static [&'static str],
    because: &'static str,
}

const FENCES: [Fence; 6] = [
    Fence {
        crates: &[
            "ureq",
            "rustls",
            "rustls-native-certs",
            "native-tls",
            "openssl",
        ],
        rooms: &["registry"],
        because: "only `registry` knows TLS",
    },
    Fence {
        crates: &["tokio", "tokio-", "hyper", "hyper-", "axum", "async-trait"],
        rooms: &["docker", "kube"],
        because: "floors 0 to 2 and the keeper are synchronous; tokio begins at the doors",
    },
    Fence {
        crates: &["tonic", "tonic-"],
        rooms: &["kube"],
        because: "only `kube` speaks gRPC",
    },
    Fence {
        crates: &["prost", "prost-"],
        rooms: &["shim", "kube", "container"],
        because: "only the doors to containerd and Kubernetes, and what speaks to CRIU, know protobuf",
    },
    Fence {
        crates: &["anyhow", "eyre", "color-eyre"],
        rooms: &[],
        because: "errors are typed, so that a door can tell their kind and hint",
    },
    Fence {
        crates: &["clap", "clap_complete", "clap_mangen", "indicatif"],
        rooms: &["cli"],
        because: "only `cli` talks to a terminal",
    },
];

pub(crate) fn check(packages: &[Package]) -> Vec<Finding> {
    packages.iter().flat_map(check_package).collect()
}

fn check_package(package: &Package) -> Vec<Finding> {
    let Some(name) = package.folder.strip_prefix("crates/") else {
        return check_outside(package);
    };
    if package.name != format!("gamut-{name}") {
        return vec![finding(
            package,
            "name",
            format!("the package of room `{name}` is called `{}`", package.name),
            format!("call it `gamut-{name}`"),
        )];
    }
    let Some(room) = HOUSE.iter().find(|room| room.name == name) else {
        return vec![finding(
            package,
            "name",
            format!("`{name}` is no room of the house"),
            "put the code into the room it belongs to, or add the room to ARCHITECTURE.md and \
             to xtask/src/check/floors.rs"
                .to_owned(),
        )];
    };
    let rooms = package.dependencies.iter().filter_map(|dependency| {
        let (what, remedy) = refused(room, dependency)?;
        Some(finding(package, &dependency.name, what, remedy))
    });
    let fences = package.dependencies.iter().filter_map(|dependency| {
        let (what, remedy) = fenced(room, dependency)?;
        Some(finding(package, &dependency.name, what, remedy))
    });
    rooms.chain(fences).collect()
}

/// `tests/` and `fuzz/` cross rooms and may use all; the tool shed uses none, so that it builds when
/// they do not.
fn check_outside(package: &Package) -> Vec<Finding> {
    match package.folder.as_str() {
        "tests" | "fuzz" => Vec::new(),
        "xtask" => package
            .dependencies
            .iter()
            .filter(|dependency| dependency.name.starts_with("gamut-"))
            .map(|dependency| {
                let what = format!("the tool shed uses `{}`", dependency.name);
                let remedy = "run the program instead of linking the room".to_owned();
                finding(package, &dependency.name, what, remedy)
            })
            .collect(),
        _ => vec![finding(
            package,
            "name",
            format!("`{}` is a package outside of the house", package.folder),
            "move it to crates/".to_owned(),
        )],
    }
}

/// What is wrong with this dependency on a room, and what to do; `None` when it is granted.
fn refused(room: &Room, dependency: &Dependency) -> Option<(String, String)> {
    let used = dependency.name.strip_prefix("gamut-")?;
    let Some(used) = HOUSE.iter().find(|other| other.name == used) else {
        let what = format!(
            "`{}` uses `{used}`, which is no room of the house",
            room.name
        );
        return Some((
            what,
            "use a room of the table in ARCHITECTURE.md".to_owned(),
        ));
    };
    if dependency.kind.as_deref() == Some("dev") {
        // A room's tests may stand beside its neighbours, but not on its users.
        return (used.floor > room.floor).then(|| {
            let what = format!(
                "the tests of `{}` (floor {}) use `{}` (floor {})",
                room.name, room.floor, used.name, used.floor
            );
            (
                what,
                "move the test to tests/, where rooms are crossed".to_owned(),
            )
        });
    }
    if used.floor >= room.floor {
        let what = format!(
            "`{}` (floor {}) uses `{}` (floor {}): never sideways, never up",
            room.name, room.floor, used.name, used.floor
        );
        let remedy = "pass the data in from the floor above, or move what both need down a floor";
        return Some((what, remedy.to_owned()));
    }
    let granted = match room.may_use {
        Rooms::Below => true,
        Rooms::Named(names) => names.contains(&used.name),
    };
    (!granted).then(|| {
        let what = format!(
            "`{}` uses `{}`, which the design does not grant it",
            room.name, used.name
        );
        (
            what,
            "take the data as an argument from the room above".to_owned(),
        )
    })
}

fn fenced(room: &Room, dependency: &Dependency) -> Option<(String, String)> {
    if dependency.kind.as_deref() == Some("dev") {
        return None;
    }
    let fence = FENCES.iter().find(|fence| {
        fence.crates.iter().any(|name| {
            let family = name.ends_with('-') && dependency.name.starts_with(name);
            family || dependency.name == *name
        })
    })?;
    (!fence.rooms.contains(&room.name)).then(|| {
        let what = format!(
            "`{}` uses the crate `{}`: {}",
            room.name, dependency.name, fence.because
        );
        let remedy = match fence.rooms {
            [] => "remove it".to_owned(),
            rooms => format!("leave the job to {}", rooms.join(" or ")),
        };
        (what, remedy)
    })
}

/// A finding in the package's manifest, at the line whose key is `key`.
fn finding(package: &Package, key: &str, what: String, remedy: String) -> Finding {
    let line = package.manifest.lines().position(|line| {
        let rest = line.trim_start().strip_prefix(key);
        rest.is_some_and(|rest| rest.starts_with([' ', '.', '=']))
    });
    Finding {
        path: format!("{}/Cargo.toml", package.folder),
        line: line.map(|at| at + 1),
        what,
        remedy,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(folder: &str, name: &str, uses: &[(&str, Option<&str>)]) -> Package {
        let dependency = |(name, kind): &(&str, Option<&str>)| Dependency {
            name: (*name).to_owned(),
            kind: kind.map(str::to_owned),
        };
        let lines: String = uses
            .iter()
            .map(|(name, _)| format!("{name}.workspace = true\n"))
            .collect();
        Package {
            name: name.to_owned(),
            manifest_path: format!("/x/{folder}/Cargo.toml").into(),
            dependencies: uses.iter().map(dependency).collect(),
            targets: Vec::new(),
            manifest: format!("[package]\nname = \"{name}\"\n\n[dependencies]\n{lines}"),
            folder: folder.to_owned(),
        }
    }

    fn lines(folder: &str, name: &str, uses: &[(&str, Option<&str>)]) -> Vec<Option<usize>> {
        let findings = check(&[package(folder, name, uses)]);
        findings.into_iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn the_table_itself_keeps_the_rule() {
        for room in &HOUSE {
            if let Rooms::Named(names) = room.may_use {
                for name in names {
                    let used = HOUSE.iter().find(|other| other.name == *name).unwrap();
                    assert!(used.floor < room.floor, "{} uses {name}", room.name);
                }
            }
        }
    }

    #[test]
    fn granted_rooms_pass() {
        let uses = [("gamut-sys", None), ("gamut-spec", None), ("serde", None)];
        assert_eq!(lines("crates/store", "gamut-store", &uses), []);
        assert_eq!(
            lines("crates/cli", "gamut-cli", &[("gamut-docker", None)]),
            []
        );
    }

    #[test]
    fn sideways_up_and_not_granted_fail_with_their_line() {
        assert_eq!(
            lines("crates/store", "gamut-store", &[("gamut-net", None)]),
            [Some(5)]
        );
        let up = [("serde", None), ("gamut-engine", None)];
        assert_eq!(lines("crates/store", "gamut-store", &up), [Some(6)]);
        assert_eq!(
            lines("crates/plan", "gamut-plan", &[("gamut-sys", None)]),
            [Some(5)]
        );
        assert_eq!(
            lines("crates/plan", "gamut-plan", &[("gamut-sys", Some("build"))]),
            [Some(5)]
        );
    }

    #[test]
    fn tests_may_look_sideways_but_not_up() {
        assert_eq!(
            lines("crates/store", "gamut-store", &[("gamut-net", Some("dev"))]),
            []
        );
        let up = [("gamut-engine", Some("dev"))];
        assert_eq!(lines("crates/store", "gamut-store", &up), [Some(5)]);
    }

    #[test]
    fn unknown_rooms_and_wrong_names_fail() {
        assert_eq!(lines("crates/helpers", "gamut-helpers", &[]), [Some(2)]);
        assert_eq!(lines("crates/net", "gamut-network", &[]), [Some(2)]);
        assert_eq!(lines("tools/x", "x", &[]), [Some(2)]);
        assert_eq!(
            lines("crates/cli", "gamut-cli", &[("gamut-attic", None)]),
            [Some(5)]
        );
    }

    #[test]
    fn the_shed_uses_no_room_and_the_conformance_tests_any() {
        assert_eq!(lines("xtask", "xtask", &[("gamut-sys", None)]), [Some(5)]);
        assert_eq!(
            lines(
                "tests",
                "gamut-tests",
                &[("gamut-cli", None), ("tokio", None)]
            ),
            []
        );
    }

    #[test]
    fn outside_crates_stay_in_their_rooms() {
        assert_eq!(
            lines("crates/registry", "gamut-registry", &[("ureq", None)]),
            []
        );
        assert_eq!(
            lines("crates/store", "gamut-store", &[("ureq", None)]),
            [Some(5)]
        );
        assert_eq!(
            lines("crates/engine", "gamut-engine", &[("tokio-util", None)]),
            [Some(5)]
        );
        assert_eq!(
            lines("crates/cli", "gamut-cli", &[("anyhow", None)]),
            [Some(5)]
        );
    }
}
