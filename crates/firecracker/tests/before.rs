//! Before the start.

use serde_json::json;

use crate::rig::Instance;

const PRE_BOOT: &str = "The requested operation is not supported before starting the microVM.";

#[test]
fn an_instance_says_what_it_is() {
    let vm = Instance::new();
    let info = vm.get("/").document();
    assert_eq!(info["id"], "vm-1");
    assert_eq!(info["state"], "Not started");
    assert_eq!(info["app_name"], "Firecracker");
    let version = vm.get("/version").document();
    assert_eq!(version["firecracker_version"], info["vmm_version"]);
}

#[test]
fn processors_and_memory() {
    let vm = Instance::new();
    let default = json!({
        "vcpu_count": 1, "mem_size_mib": 128, "smt": false,
        "track_dirty_pages": false, "huge_pages": "None",
    });
    assert_eq!(vm.get("/machine-config").document(), default);
    vm.put(
        "/machine-config",
        "{'vcpu_count': 4, 'mem_size_mib': 256, 'smt': true, 'huge_pages': '2M'}",
    )
    .is_done();
    vm.patch("/machine-config", "{'mem_size_mib': 512}")
        .is_done();
    let config = vm.get("/machine-config").document();
    assert_eq!(config["vcpu_count"], 4);
    assert_eq!(config["mem_size_mib"], 512);
    assert_eq!(config["huge_pages"], "2M");
    // What a PUT does not say is as if nothing had been said before.
    vm.put("/machine-config", "{'vcpu_count': 2, 'mem_size_mib': 256}")
        .is_done();
    assert_eq!(vm.get("/machine-config").document()["smt"], false);

    for (body, words) in [
        (
            "{'mem_size_mib': 128}",
            "missing field `vcpu_count` at line 1 column 21.",
        ),
        (
            "{'vcpu_count': 1}",
            "missing field `mem_size_mib` at line 1 column 17.",
        ),
        (
            "{'vcpu_count': 0, 'mem_size_mib': 128}",
            "The number of vCPUs must be greater than 0",
        ),
        (
            "{'vcpu_count': 33, 'mem_size_mib': 128}",
            "The number of vCPUs must be greater than 0",
        ),
        (
            "{'vcpu_count': 3, 'mem_size_mib': 128, 'smt': true}",
            "even number if SMT is enabled",
        ),
        (
            "{'vcpu_count': 1, 'mem_size_mib': 0}",
            "The memory size (MiB) is either 0",
        ),
        (
            "{'vcpu_count': 1, 'mem_size_mib': 3, 'huge_pages': '2M'}",
            "The memory size (MiB)",
        ),
        (
            "{'vcpu_count': 1, 'mem_size_mib': 1, 'huge': 1}",
            "unknown field `huge`",
        ),
        (
            "{'vcpu_count': -1, 'mem_size_mib': 1}",
            "invalid value: integer `-1`",
        ),
        (
            "{'vcpu_count': 1, 'mem_size_mib': 128, 'cpu_template': 'T2'}",
            "not supported: CPU templates",
        ),
    ] {
        let answer = vm.put("/machine-config", body);
        assert!(answer.fault().contains(words), "{body}: {}", answer.fault());
    }
    assert_eq!(
        vm.patch("/machine-config", "{}").fault(),
        "Empty PATCH request."
    );
    let deprecated = vm.put(
        "/machine-config",
        "{'vcpu_count': 1, 'mem_size_mib': 128, 'cpu_template': 'None'}",
    );
    assert!(
        deprecated.head.contains("\r\nDeprecation: true\r\n"),
        "{}",
        deprecated.head
    );
}

#[test]
fn what_is_booted() {
    let vm = Instance::new();
    let start = "{'action_type': 'InstanceStart'}";
    assert_eq!(
        vm.put("/actions", start).fault(),
        "Start microvm error: Cannot start microvm without kernel configuration."
    );
    for (body, words) in [
        (
            "{'kernel_image_path': 'DIR/none'}",
            "Boot source error: The kernel file cannot be opened: No such file or directory (os error 2)",
        ),
        (
            "{'kernel_image_path': 'DIR/kernel', 'initrd_path': 'DIR/none'}",
            "Boot source error: The initrd file cannot be opened due to invalid path or invalid permissions. No such file or directory (os error 2)",
        ),
        (
            "{'kernel_image_path': 'DIR/kernel', 'boot_args': 'a\\nb'}",
            "Boot source error: The kernel command line is invalid: String contains a non-printable ASCII character.",
        ),
    ] {
        assert_eq!(vm.put("/boot-source", body).fault(), words);
    }
    vm.put(
        "/boot-source",
        "{'kernel_image_path': 'DIR/kernel', 'boot_args': 'no-start'}",
    )
    .is_done();
    assert_eq!(
        vm.put("/actions", start).fault(),
        "Start microvm error: told not to"
    );
    assert_eq!(vm.get("/").document()["state"], "Not started");
    vm.put("/boot-source", "{'kernel_image_path': 'DIR/kernel'}")
        .is_done();
    vm.put("/actions", start).is_done();
    let arguments = &vm.notes.lines()[1];
    assert!(
        arguments.starts_with("reboot=k panic=1 nomodule 8250.nr_uarts=0"),
        "{arguments}"
    );
    assert!(
        arguments.ends_with("swiotlb=noforce pci=off"),
        "{arguments}"
    );
}

#[test]
fn drives() {
    let vm = Instance::new();
    let drive = "{'drive_id': 'data', 'path_on_host': 'DIR/disk', 'is_root_device': false, 'io_engine': 'Async'}";
    vm.put("/drives/data", drive).is_done();
    assert!(vm.read("log").contains("The Async IO engine is not there"));
    let root = "{'drive_id': 'root', 'path_on_host': 'DIR/disk', 'is_root_device': true, 'is_read_only': true, \
                'partuuid': '0eaa91a0-01', 'cache_type': 'Writeback', \
                'rate_limiter': {'bandwidth': {'size': 1000, 'refill_time': 100}, 'ops': {'size': 0, 'refill_time': 0}}}";
    vm.put("/drives/root", root).is_done();
    let config = vm.get("/vm/config").document();
    assert_eq!(
        config["drives"][0]["drive_id"], "root",
        "the root comes first"
    );
    assert_eq!(
        config["drives"][0]["rate_limiter"],
        json!({"bandwidth": {"size": 1000, "one_time_burst": null, "refill_time": 100}, "ops": null})
    );
    assert_eq!(config["drives"][1]["is_read_only"], false);
    for (path, body, words) in [
        (
            "/drives/other",
            "{'drive_id': 'other', 'path_on_host': 'DIR/disk', 'is_root_device': true}",
            "Drive config error: A root block device already exists!",
        ),
        (
            "/drives/other",
            drive,
            "The id from the path does not match the id from the body!",
        ),
        (
            "/drives/a-b",
            drive,
            "API Resource IDs can only contain alphanumeric characters and underscores.",
        ),
        ("/drives/", drive, "The ID cannot be empty."),
        (
            "/drives/x",
            "{'drive_id': 'x', 'is_root_device': false}",
            "Drive config error: Unable to create the virtio block device: Invalid block config.",
        ),
        (
            "/drives/x",
            "{'drive_id': 'x', 'is_root_device': false, 'socket': 'DIR/s'}",
            "The requested operation is not supported: drives that another process serves (vhost-user)",
        ),
    ] {
        assert_eq!(vm.put(path, body).fault(), words);
    }
    let missing = vm.put(
        "/drives/x",
        "{'drive_id': 'x', 'is_root_device': false, 'path_on_host': 'DIR/none'}",
    );
    let words = format!(
        "No such file or directory (os error 2) {}/none",
        vm.path("")
    );
    assert!(missing.fault().ends_with(&words), "{}", missing.fault());
    assert!(
        vm.put("/drives/x", "{'drive_id': 'x'}")
            .fault()
            .contains("missing field `is_root_device`")
    );
    vm.put(
        "/boot-source",
        "{'kernel_image_path': 'DIR/kernel', 'boot_args': 'quiet -- init'}",
    )
    .is_done();
    vm.put("/actions", "{'action_type': 'InstanceStart'}")
        .is_done();
    assert_eq!(
        vm.notes.lines()[1..],
        [
            "quiet pci=off root=PARTUUID=0eaa91a0-01 ro -- init",
            "drive root ReadOnly Writeback",
            "drive data ReadWrite Unsafe",
        ]
    );
}

#[test]
fn network_cards_and_the_metadata_service() {
    let vm = Instance::new();
    let card = |id: &str, tap: &str, mac: &str| {
        let body =
            format!("{{'iface_id': '{id}', 'host_dev_name': '{tap}', 'guest_mac': '{mac}'}}");
        vm.put(&format!("/network-interfaces/{id}"), &body)
    };
    card("eth0", "tap0", "06:00:00:00:00:01").is_done();
    card("eth0", "tap1", "06:00:00:00:00:01").is_done();
    assert_eq!(
        card("eth1", "tap1", "06:00:00:00:00:01").fault(),
        "Network config error: The MAC address is already in use: 06:00:00:00:00:01"
    );
    assert_eq!(
        card("eth1", "busy", "06:00:00:00:00:02").fault(),
        "Network config error: Could not create the network device: Open tap device failed: Error while creating ifreq structure: Device or resource busy (os error 16). Invalid TUN/TAP Backend provided by busy. Check our documentation on setting up the network devices."
    );
    assert!(
        card("eth1", "tap1", "06:00")
            .fault()
            .contains("The provided MAC address is invalid.")
    );
    let mtu = "{'iface_id': 'eth1', 'host_dev_name': 'tap', 'mtu': 67}";
    assert!(
        vm.put("/network-interfaces/eth1", mtu)
            .fault()
            .ends_with("MTU 67 is out of range [68, 65535]")
    );
    assert_eq!(
        vm.put("/network-interfaces/eth2", mtu).fault(),
        "The id from the path [eth2] does not match the id from the body [eth1]!"
    );

    assert_eq!(vm.get("/mmds").document(), json!({}));
    assert_eq!(
        vm.patch("/mmds", "{'a': 1}").fault(),
        "MMDS error: The MMDS data store is not initialized."
    );
    vm.put("/mmds", "{'a': {'b': 1, 'c': 2}}").is_done();
    vm.patch("/mmds", "{'a': {'b': null}}").is_done();
    assert_eq!(vm.get("/mmds").document(), json!({"a": {"c": 2}}));
    let large = format!("{{'a': '{}'}}", "x".repeat(51_190));
    let padded = format!("{{'b': '{}'}}", "x".repeat(51_180));
    assert!(vm.put("/mmds", &large).status == 204);
    assert_eq!(vm.patch("/mmds", &padded).status, 413);
    vm.put("/mmds", "{'a': 1}").is_done();

    for (body, words) in [
        (
            "{'network_interfaces': []}",
            "The list of network interface IDs that allow forwarding MMDS requests is empty.",
        ),
        (
            "{'network_interfaces': ['eth9']}",
            "at least one ID that does not correspond to any existing network interface.",
        ),
        (
            "{'network_interfaces': ['eth0'], 'ipv4_address': '1.1.1.1'}",
            "The MMDS IPv4 address is not link local.",
        ),
        (
            "{'network_interfaces': ['eth0'], 'version': 'foo'}",
            "unknown variant `foo`, expected `V1` or `V2`",
        ),
    ] {
        let answer = vm.put("/mmds/config", body);
        assert!(answer.fault().contains(words), "{}", answer.fault());
    }
    let v1 = vm.put("/mmds/config", "{'network_interfaces': ['eth0']}");
    assert!(
        v1.status == 204 && v1.head.contains("Deprecation: true"),
        "{v1:?}"
    );
    vm.put(
        "/mmds/config",
        "{'network_interfaces': ['eth0'], 'version': 'V2'}",
    )
    .is_done();
    assert_eq!(
        vm.get("/vm/config").document()["mmds-config"],
        json!({"version": "V2", "network_interfaces": ["eth0"], "ipv4_address": "169.254.169.254", "imds_compat": false})
    );
    vm.start();
    assert_eq!(
        vm.notes.lines().last().expect("a card"),
        "card eth0 Some([6, 0, 0, 0, 0, 1]) Some(169.254.169.254)"
    );
    assert_eq!(vm.get("/mmds").document(), json!({"a": 1}));
}

#[test]
fn the_small_devices() {
    let vm = Instance::new();
    assert_eq!(
        vm.get("/balloon").fault(),
        "Balloon config error: No balloon device found."
    );
    let balloon = "{'amount_mib': 64, 'deflate_on_oom': true}";
    vm.put("/balloon", balloon).is_done();
    assert_eq!(
        vm.get("/balloon").document(),
        json!({"amount_mib": 64, "deflate_on_oom": true, "stats_polling_interval_s": 0,
               "free_page_hinting": false, "free_page_reporting": false})
    );
    assert_eq!(
        vm.put("/balloon", "{'amount_mib': 129, 'deflate_on_oom': true}")
            .fault(),
        "Balloon config error: Amount of pages requested is too large."
    );
    assert_eq!(
        vm.put("/machine-config", "{'vcpu_count': 1, 'mem_size_mib': 32}")
            .fault(),
        "Machine config error: The memory size (MiB) is smaller than the previously set balloon device target size."
    );
    vm.put("/entropy", "{}").is_done();
    vm.put("/serial", "{'serial_out_path': 'DIR/serial'}")
        .is_done();
    let limited = "{'rate_limiter': {'size': 1, 'refill_time': 1}}";
    assert!(
        vm.put("/serial", limited)
            .fault()
            .contains("a rate limiter of the serial device")
    );
    vm.put("/vsock", "{'guest_cid': 3, 'uds_path': 'DIR/v.sock'}")
        .is_done();
    let again = vm.put(
        "/vsock",
        "{'vsock_id': 'v', 'guest_cid': 4, 'uds_path': 'DIR/v.sock'}",
    );
    assert!(
        again.status == 204 && again.head.contains("Deprecation: true"),
        "{again:?}"
    );
    assert_eq!(
        vm.get("/vm/config").document()["vsock"],
        json!({"guest_cid": 4, "uds_path": format!("{}/v.sock", vm.path(""))})
    );
    let bound = vm.put("/vsock", "{'guest_cid': 3, 'uds_path': 'DIR/disk'}");
    assert!(
        bound
            .fault()
            .ends_with("Error binding to the host-side Unix socket: Address in use (os error 98)")
            || bound
                .fault()
                .contains("Address already in use (os error 98)"),
        "{}",
        bound.fault()
    );
    vm.put(
        "/pmem/p0",
        "{'id': 'p0', 'path_on_host': 'DIR/disk', 'root_device': true}",
    )
    .is_done();
    let other = "{'id': 'p1', 'path_on_host': 'DIR/disk', 'root_device': true}";
    assert_eq!(
        vm.put("/pmem/p1", other).fault(),
        "Pmem config error: A root pmem device already exist"
    );
    let drive = "{'drive_id': 'root', 'path_on_host': 'DIR/disk', 'is_root_device': true}";
    assert!(
        vm.put("/drives/root", drive)
            .fault()
            .contains("Attempt to add block as a root device")
    );
    vm.put("/cpu-config", "{}").is_done();
    assert!(
        vm.put("/cpu-config", "{'kvm_capabilities': ['121']}")
            .fault()
            .contains("custom CPU templates")
    );
    let memory = "{'total_size_mib': 100}";
    assert!(
        vm.put("/hotplug/memory", memory)
            .fault()
            .contains("Total size must not be lower than slot size (128 MiB)")
    );
    assert!(
        vm.put("/hotplug/memory", "{'total_size_mib': 1024}")
            .fault()
            .contains("virtio-mem")
    );
}

#[test]
fn what_needs_a_machine_is_refused() {
    let vm = Instance::new();
    for (path, body) in [
        ("/vm", "{'state': 'Paused'}"),
        ("/vm", "{'state': 'Resumed'}"),
        ("/balloon", "{'amount_mib': 1}"),
        ("/balloon/statistics", "{'stats_polling_interval_s': 1}"),
        ("/balloon/hinting/start", "{}"),
        ("/drives/root", "{'drive_id': 'root'}"),
        ("/network-interfaces/eth0", "{'iface_id': 'eth0'}"),
        ("/pmem/p0", "{'id': 'p0'}"),
        ("/hotplug/memory", "{'requested_size_mib': 1}"),
    ] {
        assert_eq!(vm.patch(path, body).fault(), PRE_BOOT, "{path}");
    }
    for action in ["FlushMetrics", "SendCtrlAltDel"] {
        let body = format!("{{'action_type': '{action}'}}");
        assert_eq!(vm.put("/actions", &body).fault(), PRE_BOOT);
    }
    assert_eq!(vm.get("/balloon/statistics").fault(), PRE_BOOT);
    assert_eq!(vm.get("/hotplug/memory").fault(), PRE_BOOT);
    assert_eq!(vm.delete("/drives/root").fault(), PRE_BOOT);
    let create = "{'snapshot_path': 's', 'mem_file_path': 'm'}";
    assert_eq!(vm.put("/snapshot/create", create).fault(), PRE_BOOT);
    let load =
        "{'snapshot_path': 's', 'mem_backend': {'backend_type': 'File', 'backend_path': 'm'}}";
    assert_eq!(
        vm.put("/snapshot/load", load).fault(),
        "The requested operation is not supported: snapshots"
    );
    assert_eq!(
        vm.put("/snapshot/load", "{'snapshot_path': 's'}").fault(),
        "An error occurred when deserializing the json body of a request: missing field: either `mem_backend` or `mem_file_path` is required."
    );
}
