//! The metadata service, asked from inside of a real kernel, and by the host.

use super::*;

const CARD: &str = "{'iface_id': 'eth0', 'host_dev_name': 'gmmeta'}";
const CONFIG: &str = "{'network_interfaces': ['eth0'], 'version': 'V2'}";
const DOCUMENT: &str = "{'latest': {'meta-data': {'ami-id': 'ami-1'}}}";

#[test]
fn linux_asks_for_its_metadata() {
    let requests = [
        ("/network-interfaces/eth0", CARD),
        ("/mmds/config", CONFIG),
        ("/mmds", DOCUMENT),
    ];
    with_linux(
        &requests,
        |_| (),
        |client, folder, guest| {
            assert_eq!(guest.ask("link-local"), "configured");
            let refused = guest.ask("http GET /latest");
            assert!(refused.starts_with("401 "), "{refused}");
            let put = "http PUT /latest/api/token X-metadata-token-ttl-seconds:60";
            let given = guest.ask(put);
            let token = given.strip_prefix("200 ").expect("a token");
            let get = format!(
                "http GET /latest/meta-data Accept:application/json X-metadata-token:{token}"
            );
            assert_eq!(guest.ask(&get), r#"200 {"ami-id":"ami-1"}"#);
            // What the host changes, the guest sees; and more than one segment comes whole.
            let long = "x".repeat(40_000);
            let patch = format!("{{'latest': {{'meta-data': {{'ami-id': '{long}'}}}}}}");
            client.patch("/mmds", &patch).is_done();
            let get = format!("http GET /latest/meta-data/ami-id X-metadata-token:{token}");
            assert_eq!(guest.ask(&get), format!("200 {long}"));
            let metrics = metrics(client, folder);
            assert_eq!(metrics["mmds"]["connections_created"], 4, "{metrics}");
        },
    );
}
