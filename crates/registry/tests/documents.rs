//! Manifests, indexes and configurations, and registries that falsify them.

use std::time::Duration;

use gamut_registry::{Cause, Client, RegistryError};
use gamut_spec::image::{ImageError, MAX_MANIFEST_BYTES, MediaType, Platform};
use gamut_spec::{Fault, Kind, Reference};

use crate::server::{Ending, Reply, Server, client, descriptor_of, digest_of, manifest, options};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

fn good() -> Reply {
    Reply::new(200, manifest()).header("Content-Type", MANIFEST)
}

#[test]
fn a_manifest_comes_over_plain_http_from_this_machine() {
    let server = Server::start(|_, _| {
        let digest = digest_of(manifest().as_bytes());
        good().header("Docker-Content-Digest", digest.to_string())
    });
    let fetched = client().manifest(&server.reference("org/app:1")).unwrap();
    assert_eq!(fetched.bytes, manifest().as_bytes());
    assert_eq!(fetched.descriptor.digest, digest_of(manifest().as_bytes()));
    assert_eq!(fetched.descriptor.media_type, MediaType::OciManifest);
    let asked = &server.asked()[0];
    assert_eq!(asked.target, "/v2/org/app/manifests/1");
    assert!(asked.header("accept").unwrap().contains(MANIFEST));
    let agent = asked.header("user-agent").unwrap();
    assert!(agent.starts_with("gamut/"), "{agent}");
    assert_eq!(asked.header("authorization"), None);
}

#[test]
fn names_are_resolved() {
    let server = Server::start(|_, _| good());
    let port = server.authority.rsplit(':').next().unwrap();
    let reference: Reference = format!("localhost:{port}/a").parse().unwrap();
    client().manifest(&reference).unwrap();
}

#[test]
fn a_wrong_digest_is_refused() {
    let told =
        Server::start(|_, _| good().header("Docker-Content-Digest", digest_of(b"x").to_string()));
    let error = client().manifest(&told.reference("a")).unwrap_err();
    assert!(
        matches!(error, RegistryError::WrongDigest { .. }),
        "{error}"
    );

    let asked = Server::start(|_, _| good());
    let by_digest = asked.reference("a").with_digest(digest_of(b"x"));
    let error = client().manifest(&by_digest).unwrap_err();
    assert!(
        matches!(error, RegistryError::WrongDigest { .. }),
        "{error}"
    );
    let right = asked
        .reference("a")
        .with_digest(digest_of(manifest().as_bytes()));
    client().manifest(&right).unwrap();

    let odd = Server::start(|_, _| good().header("Docker-Content-Digest", "md5:abc"));
    let error = client().manifest(&odd.reference("a")).unwrap_err();
    assert!(matches!(error, RegistryError::Malformed { .. }), "{error}");
}

#[test]
fn an_overlong_manifest_is_refused_without_reading_it_all() {
    let server = Server::start(|_, _| {
        Reply::new(200, vec![b' '; 64 * 1024])
            .header("Content-Type", MANIFEST)
            .ending(Ending::Endless)
    });
    let error = client().manifest(&server.reference("a")).unwrap_err();
    assert!(
        matches!(error, RegistryError::TooLarge { limit_bytes, .. } if limit_bytes == MAX_MANIFEST_BYTES),
        "{error}"
    );
}

#[test]
fn what_may_pass_is_tried_again() {
    for status in [429, 500, 502, 503, 504] {
        let server = Server::start(move |_, before| match before {
            0 => Reply::new(status, "busy").header("Retry-After", "0"),
            1 => good().ending(Ending::CutAt(10)),
            _ => good(),
        });
        client().manifest(&server.reference("a")).unwrap();
        assert_eq!(server.asked().len(), 3, "{status}");
    }
}

#[test]
fn patience_ends() {
    let server = Server::start(|_, _| {
        Reply::new(
            429,
            r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"pull limit"}]}"#,
        )
    });
    let error = client().manifest(&server.reference("a")).unwrap_err();
    assert_eq!(server.asked().len(), 4, "one attempt and three retries");
    assert_eq!(error.kind(), Kind::Unavailable);
    assert!(error.to_string().ends_with(": pull limit"), "{error}");
    assert!(error.hint().unwrap().contains("gamut login"), "{error}");

    let server = Server::start(|_, _| Reply::new(429, "").header("Retry-After", "86400"));
    let error = client().manifest(&server.reference("a")).unwrap_err();
    assert_eq!(server.asked().len(), 1, "a day is not waited for");
    assert!(error.hint().unwrap().contains("86400 seconds"), "{error}");
}

#[test]
fn what_is_not_there_is_told_apart() {
    let server = Server::start(|_, _| {
        Reply::new(
            404,
            r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#,
        )
    });
    let error = client().manifest(&server.reference("a:nope")).unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
    assert!(error.to_string().contains("a:nope"), "{error}");
    assert_eq!(server.asked().len(), 1);

    let schema_1 = Server::start(|_, _| {
        Reply::new(200, r#"{"schemaVersion":1,"fsLayers":[]}"#).header(
            "Content-Type",
            "application/vnd.docker.distribution.manifest.v1+prettyjws",
        )
    });
    let error = client().manifest(&schema_1.reference("a")).unwrap_err();
    assert!(error.to_string().contains("schema 1"), "{error}");
    assert!(error.hint().is_some());
}

#[test]
fn nobody_listens() {
    // Port 1 is for a service that nobody runs any more.
    let authority = "127.0.0.1:1";
    let reference: Reference = format!("{authority}/a").parse().unwrap();
    let error = client().manifest(&reference).unwrap_err();
    assert!(
        matches!(&error, RegistryError::Unreachable { host, cause: Cause::Refused, .. } if host == authority),
        "{error}"
    );
    assert!(error.hint().unwrap().contains(authority));

    let reference: Reference = "registry.invalid/a".parse().unwrap();
    let error = client().manifest(&reference).unwrap_err();
    let cause = match &error {
        RegistryError::Unreachable { cause, .. } => cause,
        _ => panic!("{error}"),
    };
    // Behind some resolvers every name fails slowly or by another way.
    assert!(!matches!(cause, Cause::Refused), "{error}");
}

#[test]
fn a_silent_server_is_given_up() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let authority = listener.local_addr().unwrap();
    let mut options = options();
    options.patience.retries = 0;
    options.timeouts.idle = Duration::from_millis(100);
    options.timeouts.connect = Duration::from_millis(100);
    let reference: Reference = format!("{authority}/a").parse().unwrap();
    let error = Client::new(options).manifest(&reference).unwrap_err();
    assert!(
        matches!(
            &error,
            RegistryError::Unreachable {
                cause: Cause::Timeout,
                ..
            }
        ),
        "{error}"
    );
    drop(listener);
}

#[test]
fn an_index_leads_to_the_platform() {
    let index = |size: usize| {
        let digest = digest_of(manifest().as_bytes());
        format!(
            r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"{MANIFEST}","digest":"{digest}",
            "size":{size},"platform":{{"os":"linux","architecture":"arm64"}}}}]}}"#
        )
    };
    let length = manifest().len();
    let server = Server::start(move |asked, _| {
        if asked.target.ends_with("/latest") {
            Reply::new(200, index(length)).header("Content-Type", MediaType::OciIndex.as_str())
        } else {
            good()
        }
    });
    let reference = server.reference("a");
    let arm64: Platform = "linux/arm64".parse().unwrap();
    let resolved = client().resolve(&reference, &arm64).unwrap();
    assert_eq!(resolved.documents.len(), 2);
    assert_eq!(resolved.manifest.layers.len(), 1);
    let amd64: Platform = "linux/amd64".parse().unwrap();
    let error = client().resolve(&reference, &amd64).unwrap_err();
    assert!(error.to_string().contains("linux/arm64"), "{error}");
    assert_eq!(error.kind(), Kind::NotFound);
}

#[test]
fn indexes_do_not_nest_for_ever() {
    // Each index names the next; no digest can be foreseen for a loop, so a chain it is.
    let mut documents = vec![manifest()];
    for _ in 0..4 {
        let last = documents.last().unwrap();
        let media_type = match documents.len() {
            1 => MediaType::OciManifest,
            _ => MediaType::OciIndex,
        };
        documents.push(format!(
            r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"{media_type}","digest":"{}","size":{}}}]}}"#,
            digest_of(last.as_bytes()),
            last.len()
        ));
    }
    let chain = documents.clone();
    let server = Server::start(move |asked, _| {
        let found = chain.iter().find(|document| {
            asked
                .target
                .ends_with(&digest_of(document.as_bytes()).to_string())
        });
        match found {
            Some(document) => Reply::new(200, document.as_str()),
            None => Reply::new(404, ""),
        }
    });
    let platform = Platform::host();
    let resolve = |document: &str| {
        let reference = server
            .reference("a")
            .with_digest(digest_of(document.as_bytes()));
        client().resolve(&reference, &platform)
    };
    assert_eq!(resolve(&documents[2]).unwrap().documents.len(), 3);
    let error = resolve(&documents[4]).unwrap_err();
    assert!(
        matches!(&error, RegistryError::Image { source, .. } if matches!(**source, ImageError::TooDeep)),
        "{error}"
    );
}

#[test]
fn a_configuration_is_checked() {
    let text = r#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers"}}"#;
    let server = Server::start(move |_, _| Reply::new(200, text));
    let reference = server.reference("a");
    let mut descriptor = descriptor_of(text.as_bytes(), MediaType::OciConfig);
    let (config, bytes) = client().config(&reference, &descriptor).unwrap();
    assert_eq!(
        (config.os.as_str(), bytes.as_slice()),
        ("linux", text.as_bytes())
    );
    descriptor.digest = digest_of(b"other");
    let error = client().config(&reference, &descriptor).unwrap_err();
    assert!(
        matches!(error, RegistryError::WrongDigest { .. }),
        "{error}"
    );
    descriptor.size = u64::MAX;
    let error = client().config(&reference, &descriptor).unwrap_err();
    assert!(matches!(error, RegistryError::TooLarge { .. }), "{error}");
}

#[test]
fn lists_come_in_pages_and_have_an_end() {
    let server = Server::start(|asked, before| match asked.target.as_str() {
        "/v2/a/tags/list?n=1000" => Reply::new(200, r#"{"name":"a","tags":["1","2"]}"#)
            .header("Link", r#"</v2/a/tags/list?last=2>; rel="next""#),
        "/v2/a/tags/list?last=2" => Reply::new(200, r#"{"name":"a","tags":["3"]}"#)
            .header("Link", r#"<https://elsewhere.example/x>; rel="next""#),
        "/v2/none/tags/list?n=1000" => Reply::new(200, r#"{"name":"none","tags":null}"#),
        "/v2/loop/tags/list?n=1000" => {
            let tags = vec!["\"t\""; 1000].join(",");
            Reply::new(200, format!(r#"{{"tags":[{tags}]}}"#))
                .header("Link", r#"</v2/loop/tags/list?n=1000>; rel="next""#)
        }
        _ => Reply::new(404, format!("{before}")),
    });
    let tags = |name: &str| client().tags(&server.reference(name));
    assert_eq!(tags("a").unwrap(), ["1", "2", "3"]);
    assert_eq!(tags("none").unwrap(), [""; 0]);
    let error = tags("loop").unwrap_err();
    assert!(matches!(error, RegistryError::TooLarge { .. }), "{error}");
    let error = tags("missing").unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
}

fn referrers(artifact_type: &str) -> String {
    let entry = |digit: &str, artifact_type: &str| {
        let digest = digit.repeat(64);
        format!(
            r#"{{"mediaType":"{MANIFEST}","digest":"sha256:{digest}","size":7,
                "artifactType":"{artifact_type}","annotations":{{"a":"b"}}}}"#
        )
    };
    format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json",
            "manifests":[{},{}]}}"#,
        entry("1", artifact_type),
        entry("2", "application/other")
    )
}

#[test]
fn referrers_are_had_from_the_api_or_from_the_tag() {
    const SBOM: &str = "application/spdx+json";
    let subject = digest_of(b"subject");
    let tag = subject.to_string().replace(':', "-");
    let server = Server::start(move |asked, _| {
        let known = asked.target.starts_with("/v2/api/referrers/");
        let tagged = asked.target == format!("/v2/tagged/manifests/{tag}");
        match known || tagged {
            true => Reply::new(200, referrers(SBOM)),
            false => Reply::new(404, ""),
        }
    });
    for name in ["api", "tagged"] {
        let list = |kind| {
            client()
                .referrers(&server.reference(name), &subject, kind)
                .unwrap()
        };
        assert_eq!(list(None).len(), 2, "{name}");
        let sboms = list(Some(SBOM));
        assert_eq!(
            sboms.len(),
            1,
            "{name}: the filter is applied here if not there"
        );
        assert_eq!(sboms[0].artifact_type.as_deref(), Some(SBOM));
        assert_eq!(sboms[0].annotation("a"), Some("b"));
    }
    let none = client().referrers(&server.reference("none"), &subject, None);
    assert_eq!(none.unwrap(), []);
}

#[test]
fn a_list_of_referrers_is_kept_where_the_registry_does_not() {
    let subject = digest_of(b"subject");
    let server = Server::start(move |asked, _| match asked.method.as_str() {
        "PUT" => Reply::new(201, ""),
        _ => Reply::new(200, referrers("x/y")),
    });
    let referrer = descriptor_of(b"signature", MediaType::OciManifest);
    let noted = client().note_referrer(&server.reference("a"), &subject, &referrer);
    noted.unwrap();
    let put = server.asked().pop().unwrap();
    assert!(put.target.ends_with(&subject.to_string().replace(':', "-")));
    assert!(put.body.contains(&referrer.digest.to_string()));
    assert!(
        put.body.contains("application/other"),
        "what was there stays"
    );
}

#[test]
fn registries_are_searched_or_listed() {
    let server = Server::start(|asked, _| match asked.target.as_str() {
        "/v1/search?q=deb&n=9" => Reply::new(
            200,
            r#"{"results":[{"name":"debian","description":"d","star_count":5,
                "is_official":true}]}"#,
        ),
        _ => Reply::new(404, ""),
    });
    let found = client().search(&server.reference("x"), "deb", 9).unwrap();
    assert_eq!((found[0].name.as_str(), found[0].star_count), ("debian", 5));
    assert!(found[0].is_official && found.len() == 1);
    let listing = Server::start(|asked, _| match asked.target.as_str() {
        "/v2/_catalog?n=1000" => Reply::new(200, r#"{"repositories":["a/deb","b","debx"]}"#),
        _ => Reply::new(200, "<html>").header("Content-Type", "text/html"),
    });
    let found = client().search(&listing.reference("x"), "deb", 1).unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].name, "a/deb");
}
