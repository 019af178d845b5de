//! Machines from a configuration file, and what is wrong before there is one.

use gamut_firecracker::machine::Outcome;
use gamut_firecracker::process::{Options, ProcessError};
use tempfile::TempDir;

use crate::rig::Instance;

const CONFIG: &str = r#"{
    "boot-source": {"kernel_image_path": "DIR/kernel", "boot_args": "console=ttyS0"},
    "drives": [
        {"drive_id": "data", "path_on_host": "DIR/disk", "is_root_device": false},
        {"drive_id": "root", "path_on_host": "DIR/disk", "is_root_device": true}
    ],
    "machine-config": {"vcpu_count": 2, "mem_size_mib": 256},
    "network-interfaces": [{"iface_id": "eth0", "host_dev_name": "tap0"}],
    "mmds-config": {"network_interfaces": ["eth0"], "version": "V2"},
    "vsock": {"guest_cid": 3, "uds_path": "DIR/v.sock"},
    "balloon": {"amount_mib": 0, "deflate_on_oom": false},
    "logger": {"log_path": "DIR/log2", "level": "Debug"},
    "metrics": {"metrics_path": "DIR/metrics"},
    "entropy": null,
    "a field of a later version": 1
}"#;

fn with_config(folder: &TempDir, mut options: Options, text: &str) -> Options {
    let path = folder.path().join("config");
    let text = text.replace("DIR", &folder.path().display().to_string());
    std::fs::write(&path, text).expect("a file");
    options.config_file = Some(path);
    options
}

#[test]
fn a_file_makes_a_machine() {
    let vm = Instance::with(|folder, options| {
        let metadata = folder.path().join("metadata");
        std::fs::write(&metadata, r#"{"a": 1}"#).expect("a file");
        let mut options = with_config(folder, options, CONFIG);
        options.metadata = Some(metadata);
        options
    });
    assert_eq!(vm.get("/").document()["state"], "Running");
    assert_eq!(
        vm.notes.lines(),
        [
            "start 2 256 Base",
            "console=ttyS0 pci=off root=/dev/vda rw",
            "drive root ReadWrite Unsafe",
            "drive data ReadWrite Unsafe",
            "card eth0 None Some(169.254.169.254)",
        ]
    );
    assert_eq!(vm.get("/mmds").document()["a"], 1);
    assert!(
        vm.read("log2")
            .contains("The API server received a GET request on \"/\".")
    );
    let socket = vm.folder.path().join("v.sock");
    assert!(socket.exists());
    let metrics = vm.folder.path().join("metrics");
    assert!(metrics.exists());
    let folder = vm.folder.path().to_owned();
    vm.end(Outcome::Shutdown).expect("a good end");
    assert!(!folder.join("v.sock").exists(), "its name goes with it");
}

#[test]
fn without_an_api_the_file_is_all() {
    let vm = Instance::with(|folder, options| Options {
        api_socket: None,
        ..with_config(folder, options, CONFIG)
    });
    let began = std::time::Instant::now();
    while vm.notes.lines().len() < 5 {
        assert!(began.elapsed().as_secs() < 60);
        std::thread::yield_now();
    }
    assert!(!vm.folder.path().join("api").exists());
    vm.end(Outcome::Shutdown).expect("a good end");
}

#[test]
fn what_is_wrong_with_a_file_ends_the_instance() {
    for (text, words) in [
        ("{", "is not what it should be"),
        ("{\"drives\": []}", "is not what it should be"),
        (
            r#"{"drives": [], "boot-source": {"kernel_image_path": "DIR/none"}}"#,
            "Building VMM configured from cmdline json failed: Boot source error: The kernel file cannot be opened",
        ),
        (
            r#"{"drives": [], "boot-source": {"kernel_image_path": "DIR/kernel", "boot_args": "no-start"}}"#,
            "Start microvm error: told not to",
        ),
    ] {
        let vm = Instance::with(|folder, options| with_config(folder, options, text));
        let error = vm.join().1.expect_err(text).to_string();
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn a_socket_that_is_there_is_not_taken() {
    let vm = Instance::with(|folder, options| {
        std::fs::write(folder.path().join("api"), "somebody's").expect("a file");
        options
    });
    let (folder, ended) = vm.join();
    let error = ended.expect_err("it is in use");
    assert!(matches!(error, ProcessError::SocketInUse { .. }), "{error}");
    let kept = std::fs::read_to_string(folder.path().join("api")).expect("it is still there");
    assert_eq!(kept, "somebody's");
}

#[test]
fn names_are_checked() {
    for id in ["", "a b", &"a".repeat(65)] {
        let vm = Instance::with(|_, options| Options {
            id: id.to_owned(),
            ..options
        });
        let error = vm.join().1.expect_err(id);
        assert!(matches!(error, ProcessError::Id(_)), "{error}");
    }
}
