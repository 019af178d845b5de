//! While the machine runs, and its end.

use gamut_firecracker::machine::Outcome;
use gamut_firecracker::process::ProcessError;
use serde_json::{Value, json};

use crate::rig::Instance;

const POST_BOOT: &str = "The requested operation is not supported after starting the microVM.";

#[test]
fn it_pauses_and_goes_on() {
    let vm = Instance::new();
    vm.start();
    assert_eq!(vm.get("/").document()["state"], "Running");
    vm.patch("/vm", "{'state': 'Paused'}").is_done();
    assert_eq!(vm.get("/").document()["state"], "Paused");
    vm.patch("/vm", "{'state': 'Resumed'}").is_done();
    assert_eq!(vm.get("/").document()["state"], "Running");
    vm.put("/actions", "{'action_type': 'SendCtrlAltDel'}")
        .is_done();
    assert_eq!(vm.notes.lines()[3..], ["pause", "resume", "ctrl-alt-del"]);
    assert!(
        vm.patch("/vm", "{'state': 'Stopped'}")
            .fault()
            .contains("unknown variant `Stopped`")
    );
    vm.end(Outcome::Shutdown).expect("a good end");
}

#[test]
fn parts_cannot_be_changed_any_more() {
    let vm = Instance::new();
    vm.start();
    for (path, body) in [
        ("/actions", "{'action_type': 'InstanceStart'}"),
        ("/boot-source", "{'kernel_image_path': 'DIR/kernel'}"),
        ("/machine-config", "{'vcpu_count': 1, 'mem_size_mib': 128}"),
        ("/balloon", "{'amount_mib': 1, 'deflate_on_oom': true}"),
        ("/cpu-config", "{}"),
        ("/entropy", "{}"),
        ("/serial", "{}"),
        ("/logger", "{'level': 'Info'}"),
        ("/metrics", "{'metrics_path': 'DIR/m'}"),
        ("/mmds/config", "{'network_interfaces': ['eth0']}"),
        ("/vsock", "{'guest_cid': 3, 'uds_path': 'DIR/v'}"),
        ("/hotplug/memory", "{'total_size_mib': 1024}"),
        (
            "/snapshot/load",
            "{'snapshot_path': 's', 'mem_file_path': 'm'}",
        ),
    ] {
        assert_eq!(vm.put(path, body).fault(), POST_BOOT, "{path}");
    }
    assert_eq!(
        vm.patch("/machine-config", "{'vcpu_count': 2}").fault(),
        POST_BOOT
    );
    let drive = "{'drive_id': 'b', 'path_on_host': 'DIR/disk', 'is_root_device': false}";
    assert_eq!(vm.put("/drives/b", drive).fault(), "PCI is not enabled");
    assert_eq!(vm.delete("/drives/root").fault(), "PCI is not enabled");
    let create = "{'snapshot_path': 's', 'mem_file_path': 'm'}";
    assert_eq!(
        vm.put("/snapshot/create", create).fault(),
        "The requested operation is not supported: snapshots"
    );
    assert_eq!(
        vm.get("/mmds").fault(),
        "MMDS error: The MMDS data store is not initialized."
    );
}

#[test]
fn drives_are_replaced_and_limited() {
    let vm = Instance::new();
    vm.start();
    std::fs::write(vm.path("other"), [0; 4096]).expect("a file");
    let new = "{'drive_id': 'root', 'path_on_host': 'DIR/other'}";
    vm.patch("/drives/root", new).is_done();
    let limit =
        "{'drive_id': 'root', 'rate_limiter': {'bandwidth': {'size': 7, 'refill_time': 1}}}";
    vm.patch("/drives/root", limit).is_done();
    let limit = "{'drive_id': 'root', 'rate_limiter': {'ops': {'size': 9, 'refill_time': 1}}}";
    vm.patch("/drives/root", limit).is_done();
    let limit =
        "{'drive_id': 'root', 'rate_limiter': {'bandwidth': {'size': 0, 'refill_time': 0}}}";
    vm.patch("/drives/root", limit).is_done();
    assert_eq!(
        vm.notes.lines()[3..],
        [
            "replace root 4096",
            "limit root 7 0",
            "limit root 7 9",
            "limit root 0 9"
        ]
    );
    let drive = &vm.get("/vm/config").document()["drives"][0];
    assert_eq!(drive["path_on_host"], format!("{}/other", vm.path("")));
    assert_eq!(drive["rate_limiter"]["bandwidth"], Value::Null);
    let missing = vm.patch(
        "/drives/root",
        "{'drive_id': 'root', 'path_on_host': 'DIR/none'}",
    );
    assert!(
        missing.fault().starts_with("Drive config error: Unable to patch the block device: Block: Virtio backend error: Error manipulating the backing file: No such file or directory (os error 2) "),
        "{}",
        missing.fault()
    );
    let unknown = vm.patch("/drives/x", "{'drive_id': 'x'}");
    assert!(
        unknown.fault().contains("Device not found"),
        "{}",
        unknown.fault()
    );
    for field in ["is_read_only", "is_root_device", "io_engine"] {
        let body = format!("{{'drive_id': 'root', '{field}': true}}");
        let words = format!("unknown field `{field}`");
        assert!(vm.patch("/drives/root", &body).fault().contains(&words));
    }
}

#[test]
fn cards_are_limited() {
    let vm = Instance::new();
    let card = "{'iface_id': 'eth0', 'host_dev_name': 'tap0', \
                'tx_rate_limiter': {'ops': {'size': 5, 'refill_time': 1}}}";
    vm.put("/network-interfaces/eth0", card).is_done();
    vm.start();
    let limit =
        "{'iface_id': 'eth0', 'rx_rate_limiter': {'bandwidth': {'size': 3, 'refill_time': 1}}}";
    vm.patch("/network-interfaces/eth0", limit).is_done();
    assert_eq!(vm.notes.lines().last().expect("a note"), "limit eth0 3 5");
    let unknown = vm.patch("/network-interfaces/x", "{'iface_id': 'x'}");
    assert!(
        unknown.fault().contains("Device not found"),
        "{}",
        unknown.fault()
    );
    assert!(
        vm.patch("/network-interfaces/x", "{'iface_id': 'x', 'mtu': 1}")
            .fault()
            .contains("unknown field")
    );
}

#[test]
fn the_balloon_is_moved_and_asked() {
    let vm = Instance::new();
    let balloon = "{'amount_mib': 1, 'deflate_on_oom': false, 'stats_polling_interval_s': 1}";
    vm.put("/balloon", balloon).is_done();
    vm.start();
    vm.patch("/balloon", "{'amount_mib': 64}").is_done();
    vm.patch("/balloon/statistics", "{'stats_polling_interval_s': 5}")
        .is_done();
    let config = vm.get("/balloon").document();
    assert_eq!(
        (&config["amount_mib"], &config["stats_polling_interval_s"]),
        (&json!(64), &json!(5))
    );
    assert_eq!(
        vm.get("/balloon/statistics").document(),
        json!({"target_pages": 512, "actual_pages": 256, "target_mib": 2, "actual_mib": 1, "free_memory": 4096})
    );
    assert_eq!(
        vm.patch("/balloon", "{'amount_mib': 129}").fault(),
        "Balloon update error: Balloon: Requested memory should be less than 128MiB"
    );
    assert_eq!(
        vm.patch("/balloon/statistics", "{'stats_polling_interval_s': 0}")
            .fault(),
        "Balloon update error: Balloon: Statistics cannot be enabled/disabled after activation."
    );
    assert!(
        vm.bare("PATCH", "/balloon/hinting/start")
            .fault()
            .contains("hinting when not enabled")
    );
    assert_eq!(vm.notes.lines()[3..], ["balloon 64", "interval 5"]);
}

#[test]
fn without_a_balloon_there_is_nothing_to_move() {
    let vm = Instance::new();
    vm.start();
    let words = "Failed perform action on device: Device not found";
    assert_eq!(
        vm.get("/balloon").fault(),
        format!("Internal VMM error: {words}")
    );
    assert_eq!(
        vm.patch("/balloon", "{'amount_mib': 1}").fault(),
        format!("Balloon update error: {words}")
    );
}

#[test]
fn metrics_are_a_line_for_each_flush() {
    let vm = Instance::new();
    vm.put(
        "/metrics",
        "{'metrics_path': 'DIR/metrics', 'emit_id': true, 'properties': {'a': 'b'}}",
    )
    .is_done();
    assert!(
        vm.put("/metrics", "{'metrics_path': 'DIR/m'}")
            .fault()
            .contains("Reinitialization of metrics not allowed.")
    );
    vm.start();
    vm.put("/actions", "{'action_type': 'FlushMetrics'}")
        .is_done();
    vm.put("/actions", "{'action_type': 'FlushMetrics'}")
        .is_done();
    let text = vm.read("metrics");
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    // One of the start.
    assert_eq!(lines.len(), 3);
    assert_eq!(lines[0]["id"], "vm-1");
    assert_eq!(lines[0]["properties"], json!({"a": "b"}));
    assert_eq!(lines[0]["put_api_requests"]["drive_count"], 1);
    assert_eq!(lines[0]["put_api_requests"]["metrics_count"], 2);
    assert_eq!(lines[0]["block_root"]["read_bytes"], 512);
    assert_eq!(lines[1]["block_root"]["read_bytes"], 0);
    assert_eq!(lines[2]["put_api_requests"]["actions_count"], 1);
    assert!(
        lines
            .iter()
            .all(|line| line["utc_timestamp_ms"].as_u64() > Some(1_500_000_000_000))
    );
}

#[test]
fn a_machine_that_fails_fails_its_instance() {
    let vm = Instance::new();
    vm.start();
    let error = vm
        .end(Outcome::Failed("triple fault".to_owned()))
        .expect_err("it failed");
    assert!(
        matches!(&error, ProcessError::Stopped(reason) if reason == "triple fault"),
        "{error}"
    );
}
