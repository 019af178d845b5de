//! Names as Docker reads them.

use super::*;

const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn parse(text: &str) -> Reference {
    text.parse().unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn normalises_as_docker_does() {
    for (text, canonical, familiar) in [
        ("nginx", "docker.io/library/nginx:latest", "nginx:latest"),
        ("nginx:1.27", "docker.io/library/nginx:1.27", "nginx:1.27"),
        ("org/app", "docker.io/org/app:latest", "org/app:latest"),
        // Shorter, each would be another registry's.
        (
            "docker.io/quay.io/app",
            "docker.io/quay.io/app:latest",
            "docker.io/quay.io/app:latest",
        ),
        (
            "docker.io/localhost/app:1",
            "docker.io/localhost/app:1",
            "docker.io/localhost/app:1",
        ),
        (
            "docker.io/nginx",
            "docker.io/library/nginx:latest",
            "nginx:latest",
        ),
        (
            "index.docker.io/nginx:a",
            "docker.io/library/nginx:a",
            "nginx:a",
        ),
        (
            "docker.io/library/nginx",
            "docker.io/library/nginx:latest",
            "nginx:latest",
        ),
        (
            "docker.io/library/a/b",
            "docker.io/library/a/b:latest",
            "library/a/b:latest",
        ),
        ("localhost/x", "localhost/x:latest", "localhost/x:latest"),
        (
            "localhost:5000/x",
            "localhost:5000/x:latest",
            "localhost:5000/x:latest",
        ),
        (
            "xn--n3h.com/a/b/c:T",
            "xn--n3h.com/a/b/c:T",
            "xn--n3h.com/a/b/c:T",
        ),
        ("ghcr.io/o/a", "ghcr.io/o/a:latest", "ghcr.io/o/a:latest"),
        ("Host/app", "Host/app:latest", "Host/app:latest"),
        ("[::1]:5000/x:y", "[::1]:5000/x:y", "[::1]:5000/x:y"),
        (
            "[2001:db8::1]/x",
            "[2001:db8::1]/x:latest",
            "[2001:db8::1]/x:latest",
        ),
        ("a.b", "docker.io/library/a.b:latest", "a.b:latest"),
        (
            "a__b-----c",
            "docker.io/library/a__b-----c:latest",
            "a__b-----c:latest",
        ),
        ("foo:5000", "docker.io/library/foo:5000", "foo:5000"),
    ] {
        let reference = parse(text);
        assert_eq!(reference.to_string(), canonical, "{text}");
        assert_eq!(reference.familiar(), familiar, "{text}");
        assert_eq!(parse(canonical), reference, "{text}");
    }
}

#[test]
fn takes_digests_with_and_without_a_tag() {
    let digest = format!("sha256:{HEX}");
    let bare = parse(&format!("nginx@{digest}"));
    assert_eq!(bare.tag(), None);
    assert_eq!(
        bare.to_string(),
        format!("docker.io/library/nginx@{digest}")
    );
    assert_eq!(bare.selector(), digest);
    let both = parse(&format!("localhost:5000/nginx:1@{digest}"));
    assert_eq!(both.tag(), Some("1"));
    assert_eq!(both.selector(), digest);
    assert_eq!(both.to_string(), format!("localhost:5000/nginx:1@{digest}"));
    assert_eq!(
        both.with_tag("2").unwrap().to_string(),
        "localhost:5000/nginx:2"
    );
    assert_eq!(
        parse("nginx").with_digest(digest.parse().unwrap()),
        bare,
        "by digest only"
    );
}

#[test]
fn refuses_what_docker_refuses() {
    let long = "a".repeat(256);
    let long_tag = format!("a:{}", "t".repeat(129));
    let bad_digest = format!("a@sha256:{}", &HEX[1..]);
    for text in [
        "",
        ":tag",
        "@sha256:x",
        "a:",
        "a@",
        "a//b",
        "/a",
        "a/",
        "a:b:c",
        "-a",
        "a-",
        "a._b",
        "a___b",
        "a..b",
        "a b",
        "a\n",
        "ä",
        "a:.x",
        "a:-x",
        "a:ä",
        "repo:t@md5:abc",
        "http://host/a",
        "host.io:port/a",
        "host.io:/a",
        "host.io:99999/a",
        "-h.io/a",
        "h..io/a",
        "[::1/a",
        "[::1]x/a",
        "[]/a",
        "[fe80::1%eth0]/a",
        "x/../y",
        "a:b/c@d",
        "host:1:2/a",
        &long,
        &long_tag,
        &bad_digest,
        HEX,
    ] {
        assert!(text.parse::<Reference>().is_err(), "{text}");
    }
    assert_eq!(
        "org/Nginx".parse::<Reference>(),
        Err(ReferenceError::Uppercase("org/Nginx".into()))
    );
    assert!(matches!(
        HEX.parse::<Reference>(),
        Err(ReferenceError::Identifier(_))
    ));
    let fits = format!("a.io/{}:{}", "a".repeat(255), "t".repeat(128));
    assert!(fits.parse::<Reference>().is_ok());
}

#[test]
fn knows_hosts() {
    assert_eq!(parse("nginx").api_host(), "registry-1.docker.io");
    assert_eq!(parse("quay.io/a").api_host(), "quay.io");
    for text in [
        "localhost/a",
        "localhost:1/a",
        "127.1.2.3:80/a",
        "[::1]/a",
        "[0:0::1]:9/a",
    ] {
        assert!(parse(text).is_loopback(), "{text}");
    }
    for text in [
        "a",
        "localhost.example.com/a",
        "128.0.0.1/a",
        "[::2]/a",
        "127.0.0.1.nip.io/a",
    ] {
        assert!(!parse(text).is_loopback(), "{text}");
    }
}
