//! The client against Debian's `docker-registry`, in plain text and with TLS.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use gamut_registry::{Cause, Client, Options, RegistryError};
use gamut_spec::image::{Compression, Descriptor, MediaType, Platform};
use gamut_spec::{Fault, Kind, Reference};

use crate::server::{client, descriptor_of, noise, options};

const PROGRAM: &str = "/usr/bin/docker-registry";

/// A registry that ends with the test.
struct Registry {
    process: Child,
    address: SocketAddr,
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Registry {
    /// `None`, with the reason told: it is not installed.
    fn start(directory: &Path, address: SocketAddr, tls: &str) -> Option<Registry> {
        if !Path::new(PROGRAM).exists() {
            eprintln!("skipped: {PROGRAM} is not installed");
            return None;
        }
        let config = directory.join("config.yml");
        let text = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage:\n  filesystem: {{rootdirectory: {}}}\n\
             http:\n  addr: \"{address}\"\n{tls}",
            directory.join("data").display()
        );
        std::fs::write(&config, text).unwrap();
        let process = Command::new(PROGRAM)
            .arg("serve")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut registry = Registry { process, address };
        let begun = Instant::now();
        while TcpStream::connect(address).is_err() {
            let ended = registry.process.try_wait().unwrap();
            assert!(ended.is_none(), "the registry ended: {ended:?}");
            assert!(
                begun.elapsed() < Duration::from_secs(60),
                "it does not listen"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(registry)
    }

    fn reference(&self, rest: &str) -> Reference {
        format!("{}/{rest}", self.address).parse().unwrap()
    }

    /// One request in plain HTTP; the answer's head.
    fn send(&self, method: &str, target: &str, media_type: &str, body: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.address).unwrap();
        write!(
            stream,
            "{method} {target} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\
             Content-Type: {media_type}\r\nContent-Length: {}\r\n\r\n",
            self.address,
            body.len()
        )
        .unwrap();
        stream.write_all(body).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn push_blob(&self, repository: &str, descriptor: &Descriptor, bytes: &[u8]) {
        let answer = self.send(
            "POST",
            &format!("/v2/{repository}/blobs/uploads/"),
            "x/y",
            b"",
        );
        let location = answer
            .lines()
            .find_map(|line| line.strip_prefix("Location: "))
            .unwrap_or_else(|| panic!("{answer}"));
        let path = &location[location.find("/v2/").unwrap()..];
        let target = format!("{path}&digest={}", descriptor.digest);
        let answer = self.send("PUT", &target, "application/octet-stream", bytes);
        assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    }
}

fn free_port(ip: &str) -> SocketAddr {
    let listener = TcpListener::bind(format!("{ip}:0")).unwrap();
    listener.local_addr().unwrap()
}

#[test]
fn an_image_is_pulled_from_a_real_registry() {
    let directory = tempfile::tempdir().unwrap();
    let Some(registry) = Registry::start(directory.path(), free_port("127.0.0.1"), "") else {
        return;
    };
    let layer = noise(3_000_000);
    let layer_at = descriptor_of(&layer, MediaType::OciLayer(Compression::Gzip));
    let host = Platform::host();
    let config = format!(
        r#"{{"architecture":"{}","os":"linux","config":{{"Cmd":["true"]}},
        "rootfs":{{"type":"layers","diff_ids":["{}"]}}}}"#,
        host.architecture, layer_at.digest
    );
    let config_at = descriptor_of(config.as_bytes(), MediaType::OciConfig);
    registry.push_blob("org/app", &layer_at, &layer);
    registry.push_blob("org/app", &config_at, config.as_bytes());
    let json = |descriptor: &Descriptor| {
        let Descriptor {
            media_type,
            digest,
            size,
            ..
        } = descriptor;
        format!(r#"{{"mediaType":"{media_type}","digest":"{digest}","size":{size}}}"#)
    };
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"{}","config":{},"layers":[{}]}}"#,
        MediaType::OciManifest,
        json(&config_at),
        json(&layer_at)
    );
    let media_type = MediaType::OciManifest;
    let target = "/v2/org/app/manifests/1";
    let answer = registry.send("PUT", target, media_type.as_str(), manifest.as_bytes());
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");

    let reference = registry.reference("org/app:1");
    let client = client();
    let resolved = client.resolve(&reference, &host).unwrap();
    assert_eq!(resolved.documents[0].bytes, manifest.as_bytes());
    let (image, _) = client
        .config(&reference, &resolved.manifest.config)
        .unwrap();
    image.check_layers(&resolved.manifest).unwrap();
    assert_eq!(image.config.cmd.unwrap(), ["true"]);
    let layers = resolved.manifest.image_layers().unwrap();
    for start in [0, 1_234_567] {
        let mut bytes = Vec::new();
        client
            .blob(&reference, &layers[0].descriptor, start)
            .unwrap()
            .read_to_end(&mut bytes)
            .unwrap();
        assert!(bytes == layer[start as usize..], "from {start} on");
    }
    let error = client
        .manifest(&registry.reference("org/app:2"))
        .unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound, "{error}");
    let error = client
        .manifest(&registry.reference("org/none"))
        .unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound, "{error}");
}

/// This machine's address towards others; asking for it sends nothing.
fn own_address() -> Option<String> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback() && !address.is_unspecified()).then(|| address.to_string())
}

/// An authority's certificate for `ip` in `directory`, as `ca.crt` and `key.pem`.
fn certificate(directory: &Path, ip: &str) -> bool {
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
        ])
        .args(["-nodes", "-days", "2", "-subj", "/CN=gamut test"])
        .args(["-addext", &format!("subjectAltName=IP:{ip}")])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .arg("-keyout")
        .arg(directory.join("key.pem"))
        .arg("-out")
        .arg(directory.join("ca.crt"))
        .output();
    made.is_ok_and(|output| output.status.success())
}

#[test]
fn certificates_are_checked_unless_told_otherwise() {
    let Some(ip) = own_address() else {
        return eprintln!("skipped: this machine has no address but loopback");
    };
    let directory = tempfile::tempdir().unwrap();
    if !certificate(directory.path(), &ip) {
        return eprintln!("skipped: openssl is not installed");
    }
    let tls = format!(
        "  tls:\n    certificate: {0}/ca.crt\n    key: {0}/key.pem\n",
        directory.path().display()
    );
    let Some(registry) = Registry::start(directory.path(), free_port(&ip), &tls) else {
        return;
    };
    let reference = registry.reference("a");
    let name = reference.registry();
    let cause = |options: Options| match Client::new(options).manifest(&reference).unwrap_err() {
        RegistryError::Unreachable { cause, .. } => Some(cause),
        RegistryError::ManifestUnknown { .. } => None,
        other => panic!("{other}"),
    };
    let refused = cause(options()).expect("an unknown authority is refused");
    assert!(
        matches!(refused, Cause::Certificate(_) | Cause::NoAuthorities),
        "{refused}"
    );
    let certs = directory.path().join("certs.d").join(name);
    std::fs::create_dir_all(&certs).unwrap();
    std::fs::copy(directory.path().join("ca.crt"), certs.join("ca.crt")).unwrap();
    let known = cause(Options {
        certificates: vec![directory.path().join("certs.d")],
        ..options()
    });
    assert!(known.is_none(), "{known:?}");
    let insecure = cause(Options {
        insecure: vec![name.to_owned()],
        ..options()
    });
    assert!(insecure.is_none(), "{insecure:?}");
}

#[test]
fn a_plain_registry_elsewhere_must_be_listed() {
    let Some(ip) = own_address() else {
        return eprintln!("skipped: this machine has no address but loopback");
    };
    let directory = tempfile::tempdir().unwrap();
    let Some(registry) = Registry::start(directory.path(), free_port(&ip), "") else {
        return;
    };
    let reference = registry.reference("a");
    let error = client().manifest(&reference).unwrap_err();
    assert!(
        matches!(
            error,
            RegistryError::Unreachable {
                cause: Cause::PlainHttp,
                ..
            }
        ),
        "{error:?}"
    );
    assert!(error.hint().unwrap().contains("insecure"), "{error}");
    let listed = Client::new(Options {
        insecure: vec![reference.registry().to_owned()],
        ..options()
    });
    let error = listed.manifest(&reference).unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound, "{error}");
}
