//! What a client of Firecracker's API sends, and a guest to the metadata service, whose requests are read by the same code.

use gamut_firecracker::action;
use gamut_firecracker::http::{Progress, read_request};
use gamut_firecracker::mmds::{Form, Mmds};
use gamut_firecracker::model::{FullConfig, MmdsVersion};

/// The longest body that is read here.
const BODY_BYTES_MAX: usize = 4096;

/// Requests, one behind the other. What was whole is whole without what follows, and not before.
pub(super) fn api(bytes: &[u8]) {
    let mut rest = bytes;
    while let Ok(Progress::Whole { request, length }) = read_request(rest, BODY_BYTES_MAX) {
        let again = read_request(&rest[..length], BODY_BYTES_MAX);
        let expected = Progress::Whole {
            request: request.clone(),
            length,
        };
        assert_eq!(again, Ok(expected));
        if let Ok(Progress::Whole { .. }) = read_request(&rest[..length - 1], BODY_BYTES_MAX) {
            panic!("whole before its end");
        }
        if let Err(error) = action::read(&request) {
            let _ = error.to_string();
        }
        rest = &rest[length..];
    }
    if let Ok(config) = serde_json::from_slice::<FullConfig>(bytes) {
        let written = serde_json::to_vec(&config).expect("JSON");
        let again: FullConfig =
            serde_json::from_slice(&written).expect("what was written can be read");
        assert_eq!(again, config);
    }
}

/// A guest's request to the metadata service.
pub(super) fn metadata(bytes: &[u8]) {
    let Ok(Progress::Whole { request, .. }) = read_request(bytes, BODY_BYTES_MAX) else {
        return;
    };
    let mut mmds = Mmds::new(BODY_BYTES_MAX).expect("random numbers");
    let document = serde_json::json!({"latest": {"meta-data": {"ami-id": "ami-1", "n": [1]}}});
    mmds.put(document).expect("it fits");
    for (version, form) in [
        (MmdsVersion::V1, Form::Accepted),
        (MmdsVersion::V2, Form::Ec2),
    ] {
        mmds.configure(version, form, "one");
        let answer = mmds.answer(&request).to_bytes();
        assert!(answer.starts_with(b"HTTP/1.1 "));
        let ends = answer.windows(4).filter(|window| window == b"\r\n\r\n");
        assert!(ends.count() >= 1);
    }
}

pub(super) fn api_seeds() -> Vec<Vec<u8>> {
    let request = |method: &str, path: &str, body: &str| {
        let length = body.len();
        format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{body}"
        )
    };
    let mut seeds = vec![
        "GET http://localhost/ HTTP/1.1\r\nConnection: close\r\n\r\n".to_owned(),
        "PUT / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n".to_owned(),
        CONFIG.to_owned(),
    ];
    for (method, path, body) in REQUESTS {
        seeds.push(request(method, path, body));
    }
    seeds.push(seeds[3..].concat());
    seeds.into_iter().map(String::into_bytes).collect()
}

pub(super) fn metadata_seeds() -> Vec<Vec<u8>> {
    [
        "GET /latest/meta-data/ HTTP/1.1\r\nAccept: application/json\r\n\r\n",
        "GET //latest//meta-data/ami-id HTTP/1.1\r\nX-metadata-token: AAAA\r\n\r\n",
        "PUT /latest/api/token HTTP/1.1\r\nX-metadata-token-ttl-seconds: 60\r\n\r\n",
        "PUT /latest/api/token HTTP/1.1\r\nX-Forwarded-For: a\r\n\r\n",
    ]
    .map(|seed| seed.as_bytes().to_vec())
    .to_vec()
}

const REQUESTS: [(&str, &str, &str); 14] = [
    ("PUT", "/actions", r#"{"action_type": "InstanceStart"}"#),
    (
        "PUT",
        "/machine-config",
        r#"{"vcpu_count": 2, "mem_size_mib": 64, "huge_pages": "2M"}"#,
    ),
    (
        "PATCH",
        "/machine-config",
        r#"{"smt": true, "cpu_template": "None"}"#,
    ),
    (
        "PUT",
        "/boot-source",
        r#"{"kernel_image_path": "/k", "boot_args": "a -- b"}"#,
    ),
    (
        "PUT",
        "/drives/root",
        r#"{"drive_id": "root", "is_root_device": true, "path_on_host": "/d", "io_engine": "Async"}"#,
    ),
    (
        "PATCH",
        "/drives/root",
        r#"{"drive_id": "root", "rate_limiter": {"ops": {"size": 1, "refill_time": 2}}}"#,
    ),
    (
        "PUT",
        "/network-interfaces/e",
        r#"{"iface_id": "e", "host_dev_name": "t", "guest_mac": "06:00:00:00:00:01"}"#,
    ),
    (
        "PUT",
        "/mmds/config",
        r#"{"network_interfaces": ["e"], "version": "V2", "ipv4_address": "169.254.1.1"}"#,
    ),
    ("PATCH", "/mmds", r#"{"a": {"b": null}}"#),
    (
        "PUT",
        "/logger",
        r#"{"level": "Warning", "show_level": true}"#,
    ),
    (
        "PUT",
        "/snapshot/load",
        r#"{"snapshot_path": "s", "mem_file_path": "m"}"#,
    ),
    (
        "PATCH",
        "/balloon/hinting/start",
        r#"{"acknowledge_on_stop": false}"#,
    ),
    ("DELETE", "/drives/root", ""),
    ("GET", "/balloon/statistics", ""),
];

const CONFIG: &str = r#"{"boot-source": {"kernel_image_path": "/k"}, "drives": [{"drive_id": "r", "is_root_device": true,
    "path_on_host": "/d"}], "machine-config": {"vcpu_count": 1, "mem_size_mib": 128}, "cpu-config": "/template",
    "logger": {"level": "Info"}, "metrics": {"metrics_path": "/m"}, "vsock": {"guest_cid": 3, "uds_path": "/v"}}"#;
