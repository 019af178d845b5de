//! The metadata service, asked from inside of a real kernel, and by the host.

use super::*;

const TAP: &str = "gmmeta";

#[test]
fn linux_asks_for_its_metadata() {
    let files = tempfile::tempdir().expect("a folder");
    if !real_kernel(files.path()) {
        return;
    }
    run(HELLO, Confinement::Filtered, |client, folder| {
        configure(client);
        for name in ["vmlinux", "initrd"] {
            std::fs::rename(files.path().join(name), folder.join(name)).expect("moved");
        }
        client
            .put("/machine-config", "{'vcpu_count': 2, 'mem_size_mib': 256}")
            .is_done();
        let boot = "{'kernel_image_path': 'DIR/vmlinux', 'initrd_path': 'DIR/initrd', \
                    'boot_args': 'console=ttyS0 reboot=t panic=-1'}";
        client.put("/boot-source", boot).is_done();
        let card = format!("{{'iface_id': 'eth0', 'host_dev_name': '{TAP}'}}");
        client.put("/network-interfaces/eth0", &card).is_done();
        client
            .put(
                "/mmds/config",
                "{'network_interfaces': ['eth0'], 'version': 'V2'}",
            )
            .is_done();
        client
            .put("/mmds", "{'latest': {'meta-data': {'ami-id': 'ami-1'}}}")
            .is_done();
        let ear = std::os::unix::net::UnixListener::bind(folder.join("v.sock_1")).expect("bound");
        client
            .put("/actions", "{'action_type': 'InstanceStart'}")
            .is_done();
        let (guest, _) = ear.accept().expect("the guest");
        guest
            .set_read_timeout(Some(std::time::Duration::from_secs(60)))
            .expect("set");
        let mut guest = BufReader::new(guest);
        let mut ask = |question: &str| {
            writeln!(guest.get_mut(), "{question}").expect("asked");
            let mut line = String::new();
            guest.read_line(&mut line).expect("an answer");
            line.trim_end().to_owned()
        };
        assert_eq!(ask("link-local"), "configured");
        let refused = ask("http GET /latest");
        assert!(refused.starts_with("401 "), "{refused}");
        let put = "http PUT /latest/api/token X-metadata-token-ttl-seconds:60";
        let given = ask(put);
        let token = given.strip_prefix("200 ").expect("a token");
        let get =
            format!("http GET /latest/meta-data Accept:application/json X-metadata-token:{token}");
        assert_eq!(ask(&get), r#"200 {"ami-id":"ami-1"}"#);
        // What the host changes, the guest sees; and more than one segment comes whole.
        let long = "x".repeat(40_000);
        let patch = format!("{{'latest': {{'meta-data': {{'ami-id': '{long}'}}}}}}");
        client.patch("/mmds", &patch).is_done();
        let get = format!("http GET /latest/meta-data/ami-id X-metadata-token:{token}");
        assert_eq!(ask(&get), format!("200 {long}"));
        client
            .put("/actions", "{'action_type': 'FlushMetrics'}")
            .is_done();
        let metrics = std::fs::read_to_string(folder.join("metrics")).expect("a file");
        let last: Value =
            serde_json::from_str(metrics.lines().last().expect("a line")).expect("JSON");
        assert_eq!(last["mmds"]["connections_created"], 4, "{last}");
        // It hears no more, and goes down.
    });
}
