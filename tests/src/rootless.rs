//! An OCI bundle of an ordinary user ([`rootless`]), whose commands that user calls.
//!
//! The user is `nobody`, whom every machine has; ranges of ids are given to it by files in a mount
//! namespace of each command's own.

use crate::Bundle;
use crate::host::program;
use crate::skip::skipped;
use serde_json::json;
use std::fs;
use std::path::Path;

/// The user, and its group.
pub const USER: u32 = 65534;

/// Has the rest called by the user. `$1`: a directory with its /etc/subuid and /etc/subgid.
const AS_USER: &str = r#"
for name in subuid subgid; do
  [ -e /etc/$name ] || : >/etc/$name
  mount --bind "$1/$name" /etc/$name || exit 99
done
export HOME="$1" XDG_RUNTIME_DIR="$1/run"
shift
exec setpriv --reuid 65534 --regid 65534 --clear-groups "$@"
"#;

/// A bundle of the user's, whose commands the user calls. `None`: this machine can't; it has been said.
pub fn rootless() -> Option<Bundle> {
    let mut bundle = Bundle::new()?;
    let allowed = |file: &str| fs::read_to_string(Path::new("/proc/sys").join(file));
    for file in [
        "user/max_user_namespaces",
        "kernel/unprivileged_userns_clone",
    ] {
        if allowed(file).is_ok_and(|text| text.trim() == "0") {
            skipped(&format!("{file} keeps users from making user namespaces"));
            return None;
        }
    }
    bundle.use_copy();
    let dir = bundle.dir().to_string_lossy().into_owned();
    for name in ["subuid", "subgid"] {
        fs::write(bundle.dir().join(name), "nobody:100000:65536\n").unwrap();
    }
    fs::create_dir_all(bundle.dir().join("run")).unwrap();
    fs::remove_file(bundle.path().join("config.json")).unwrap();
    program("chown", &["-R", "65534:65534", &dir]);
    let unshare = ["unshare", "-m", "--propagation", "private", "sh", "-c"];
    bundle.by = unshare.map(str::to_owned).to_vec();
    bundle.by.extend([AS_USER.to_owned(), "sh".to_owned(), dir]);
    let path = bundle.path().to_string_lossy().into_owned();
    bundle.call(&["spec", "--rootless", "--bundle", &path]).ok();
    let written = fs::read(bundle.path().join("config.json")).unwrap();
    bundle.set(|config| {
        *config = serde_json::from_slice(&written).unwrap();
        config["process"]["terminal"] = json!(false);
        config["root"]["readonly"] = json!(false);
    });
    Some(bundle)
}

/// Many ids: root is the user, those from 1 on are the user's range. `false`: there is no newuidmap here;
/// it has been said.
#[must_use]
pub fn map_ranges(bundle: &Bundle) -> bool {
    if !Path::new("/usr/bin/newuidmap").exists() {
        skipped("there is no newuidmap: lab/need test");
        return false;
    }
    let maps = json!([
        {"containerID": 0, "hostID": USER, "size": 1},
        {"containerID": 1, "hostID": 100_000, "size": 65535},
    ]);
    bundle.put("/linux/uidMappings", maps.clone());
    bundle.put("/linux/gidMappings", maps);
    true
}
