//! The runtime specification, property by property: each line of `oci_spec/properties.txt` is tried, and
//! docs/oci-spec.md is that table. What has no line there is not kept track of; what has one is honoured or
//! refused by name.

mod more;
mod table;

use gamut_tests::Bundle;
use gamut_tests::bundle::{ID, fails};
use gamut_tests::cgroup;
use gamut_tests::skip::skipped;
use rustix::mount::{MountFlags, UnmountFlags};
use serde_json::{Value, json};
use std::fs;
use table::{Becomes, Section};

/// The tests that the table names, by module.
const SOURCES: &[(&str, &str)] = &[
    ("oci", include_str!("oci.rs")),
    ("oci_config", include_str!("oci_config.rs")),
    ("oci_exec", include_str!("oci_exec.rs")),
    ("oci_hooks", include_str!("oci_hooks.rs")),
    ("oci_host", include_str!("oci_host.rs")),
    ("oci_mounts", include_str!("oci_mounts.rs")),
    ("oci_security", include_str!("oci_security.rs")),
    (
        "oci_spec",
        concat!(
            include_str!("oci_spec.rs"),
            include_str!("oci_spec/more.rs")
        ),
    ),
    ("oci_systemd", include_str!("oci_systemd.rs")),
    ("oci_words", include_str!("oci_words.rs")),
    ("limits", include_str!("limits.rs")),
    (
        "cgroup_fake",
        include_str!("../../crates/container/tests/cgroup_fake.rs"),
    ),
];

/// RFC 7396; a name that begins with `+` adds to the list that it leads to, by its dots.
fn merge(config: &mut Value, change: &Value) {
    let Value::Object(fields) = change else {
        *config = change.clone();
        return;
    };
    if !config.is_object() {
        *config = json!({});
    }
    for (name, value) in fields {
        if let Some(path) = name.strip_prefix('+') {
            let list = config.pointer_mut(&format!("/{}", path.replace('.', "/")));
            let list = list
                .and_then(Value::as_array_mut)
                .expect("a list to add to");
            list.push(value.clone());
        } else if value.is_null() {
            config
                .as_object_mut()
                .expect("it was made one")
                .remove(name);
        } else {
            merge(&mut config[name], value);
        }
    }
}

fn change(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// A container that gives a change of its configuration, and has the old one again afterwards.
fn with<T>(bundle: &Bundle, text: &str, look: impl FnOnce() -> T) -> T {
    let before = bundle.config();
    bundle.set(|config| merge(config, &change(text)));
    let seen = look();
    bundle.set(|config| *config = before);
    seen
}

fn try_one(bundle: &Bundle, property: &str, becomes: &Becomes) {
    match *becomes {
        Becomes::Inside([text, script, expected]) => {
            let said = with(bundle, text, || bundle.run(script));
            let expected = expected.replace("\\n", "\n");
            assert_eq!(said.ok().text(), expected, "{property}: {text}");
        }
        Becomes::Refused([text, word]) => {
            bundle.script("true");
            with(bundle, text, || {
                let said = bundle.make("run", &[], ID).code(1);
                assert!(
                    said.err.contains(word),
                    "{property}: no {word}\n{}",
                    said.told()
                );
            });
            bundle.assert_nothing_left();
        }
        Becomes::Told([text, word]) => {
            let said = with(bundle, text, || bundle.run("true")).ok();
            let told = said.err.contains(word) && said.err.contains("warning");
            assert!(told, "{property}: no warning with {word}\n{}", said.told());
        }
        Becomes::Group([text, controller, v1, v2]) => {
            let text = format!("{{\"linux\": {{\"resources\": {text}}}}}");
            in_group(bundle, property, &text, controller, [v1, v2]);
        }
        Becomes::Shown(_) | Becomes::Elsewhere(_) | Becomes::Option(_) | Becomes::Feature => {}
    }
}

/// What stands in the container's control group, on the version that this machine has.
fn in_group(bundle: &Bundle, property: &str, text: &str, controller: &str, files: [&str; 2]) {
    let [v1, v2] = files.map(|file| file.split_once('=').expect("FILE=VALUE"));
    let (file, value) = if cgroup::unified() { v2 } else { v1 };
    if file.is_empty() || !cgroup::has(controller, v1.0, v2.0) {
        // The kernel has none: it is said.
        let said = with(bundle, text, || bundle.run("true"));
        assert!(
            said.err.contains("warning") || said.code == 1,
            "{property}\n{}",
            said.told()
        );
        return;
    }
    let pid = with(bundle, text, || bundle.idle());
    let found = cgroup::read(pid, controller, file, file);
    bundle.delete(ID);
    assert!(
        value.is_empty() || found == value,
        "{property}: {file} is {found}"
    );
}

fn try_all(of: impl Fn(&Section) -> bool) {
    let Some(bundle) = Bundle::new() else { return };
    let sections = table::sections();
    let section = sections
        .iter()
        .find(|section| of(section))
        .expect("a section of that name");
    for row in &section.rows {
        for becomes in &row.becomes {
            try_one(&bundle, row.property, becomes);
        }
    }
    bundle.assert_nothing_left();
}

#[test]
fn properties_of_the_configuration() {
    try_all(|section| section.title.starts_with("The configuration"));
}

#[test]
fn properties_of_linux() {
    try_all(|section| section.title.starts_with("`linux`"));
}

#[test]
fn properties_of_resources() {
    try_all(|section| section.title.starts_with("`linux.resources`"));
}

/// Each property has something to show for itself, and the tests that are named are there.
#[test]
fn the_table_names_tests_that_there_are() {
    for section in table::sections() {
        for row in &section.rows {
            assert!(
                !row.becomes.is_empty(),
                "nothing is said of {}",
                row.property
            );
            for becomes in &row.becomes {
                if let Becomes::Shown(test) = becomes {
                    assert_there(test);
                }
            }
        }
    }
    // And those of the demands.
    for test in table::page().split('`').filter(|word| word.contains("::")) {
        assert_there(test);
    }
}

fn assert_there(test: &str) {
    let (module, name) = test.split_once("::").expect("MODULE::TEST");
    let source = SOURCES.iter().find(|(known, _)| *known == module);
    let there = source.is_some_and(|(_, text)| text.contains(&format!("#[test]\nfn {name}(")));
    assert!(there, "there is no test {test}");
}

#[test]
fn the_page_is_the_table() {
    let page = table::page();
    if std::env::var_os("GAMUT_WRITE_DOCS").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/oci-spec.md");
        fs::write(path, &page).expect("docs/oci-spec.md can be written");
        return;
    }
    let same = page == include_str!("../../docs/oci-spec.md");
    assert!(
        same,
        "docs/oci-spec.md is not what the table says: GAMUT_WRITE_DOCS=1 writes it"
    );
}

fn rows_of(title: &str) -> Vec<table::Row> {
    let sections = table::sections();
    let section = sections
        .into_iter()
        .find(|section| section.title.starts_with(title));
    section.expect("a section of that name").rows
}

/// Every option does what mount(8) has it do, and `features` names it.
#[test]
fn every_option_of_a_mount_is_taken() {
    if gamut_tests::skip::without_mapped_tmpfs() {
        return;
    }
    let Some(bundle) = Bundle::new() else { return };
    let features = bundle.call(&["features"]).ok().json();
    let known = features["mountOptions"].as_array().unwrap();
    let source = bundle.dir().join("source");
    fs::create_dir(&source).unwrap();
    let path = source.to_str().unwrap();
    rustix::mount::mount("test", path, "tmpfs", MountFlags::empty(), None).unwrap();
    for row in rows_of("Mount options") {
        let (option, [Becomes::Option(word)]) = (row.property, &row.becomes[..]) else {
            panic!("no option: {}", row.property);
        };
        assert!(known.contains(&json!(option)), "features has no {option}");
        let of_bind = ["bind", "idmap", "private", "shared", "slave", "unbindable"];
        let binds = option.starts_with('r') || of_bind.contains(&option);
        let mut mount =
            json!({"destination": "/there", "type": "tmpfs", "source": "x", "options": [option]});
        if binds && !["ro", "rw", "relatime", "remount"].contains(&option) {
            mount["source"] = json!(path);
            mount["options"] = json!(["rbind", option]);
        }
        if option.ends_with("idmap") {
            let map = json!([{"containerID": 0, "hostID": 100_000, "size": 10}]);
            (mount["uidMappings"], mount["gidMappings"]) = (map.clone(), map);
        }
        let before = bundle.config();
        if option == "remount" {
            bundle.mount("/there", "tmpfs", "x", &[]);
        }
        bundle.set(|config| config["mounts"].as_array_mut().unwrap().push(mount));
        let said = bundle.inside("grep ' /there ' /proc/self/mountinfo");
        bundle.set(|config| *config = before);
        let words: Vec<&str> = said.split([' ', ',']).collect();
        let shown = words.iter().any(|one| one.starts_with(word));
        assert!(shown || option == "mand", "{option}: no {word} in {said}");
    }
    rustix::mount::unmount(path, UnmountFlags::empty()).unwrap();
}

/// What is there already can be given other options; mount(8), `remount`.
#[test]
fn what_is_mounted_is_mounted_anew() {
    let Some(bundle) = Bundle::new() else { return };
    bundle.mount("/there", "tmpfs", "x", &["size=1m", "nosuid", "noexec"]);
    bundle.mount(
        "/there",
        "tmpfs",
        "x",
        &["remount", "ro", "size=64k", "nodev"],
    );
    bundle.mount("/sys", "sysfs", "sysfs", &["remount", "bind", "rw"]);
    let shown = bundle.inside("grep -E ' /(there|sys) ' /proc/self/mountinfo | cut -d' ' -f5,6,9-");
    let lines: Vec<&str> = shown.lines().collect();
    assert!(lines[0].starts_with("/sys rw,relatime "), "{shown}");
    assert!(lines[1].starts_with("/there ro,nodev,relatime "), "{shown}");
    assert!(
        lines[1].contains("size=64k") && lines[1].contains(" ro,"),
        "{shown}"
    );
    bundle.mount("/etc", "tmpfs", "x", &["remount", "ro"]);
    fails(bundle.make("run", &[], ID), &["/etc"]);
    bundle.assert_nothing_left();
}

/// "MUST NOT contain properties that are not defined in this version", and all of those that are.
#[test]
fn features_are_those_of_the_specification() {
    let Some(bundle) = Bundle::new() else { return };
    let features = bundle.call(&["features"]).ok().json();
    let mut found = Vec::new();
    leaves(&features, String::new(), &mut found);
    let mut known: Vec<_> = rows_of("The features")
        .iter()
        .map(|row| row.property.to_owned())
        .collect();
    known.sort();
    found.sort();
    assert_eq!(found, known);
    assert_eq!(features["ociVersionMax"], "1.3.0");
    for version in ["ociVersionMin", "ociVersionMax"] {
        bundle.put("/ociVersion", features[version].clone());
        assert_eq!(bundle.inside("echo taken"), "taken");
    }
    // What is said to be recognized is.
    for arch in features["linux"]["seccomp"]["archs"].as_array().unwrap() {
        bundle.put(
            "/linux/seccomp",
            json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": [arch]}),
        );
        assert_eq!(bundle.inside("echo taken"), "taken", "{arch}");
    }
    if cfg!(not(any(target_arch = "x86_64", target_arch = "aarch64"))) {
        skipped("no table of system calls for this machine");
    }
}

fn leaves(value: &Value, at: String, found: &mut Vec<String>) {
    match value.as_object() {
        Some(fields) if at != "/annotations" => {
            for (name, value) in fields {
                leaves(value, format!("{at}/{name}"), found);
            }
        }
        _ => found.push(at),
    }
}
