//! Makes the lab's images from trees of Debian packages, and pushes them. Called by `lab/image`.
//!
//! ```text
//! lab-image build LAYOUT BASE BUSYBOX NGINX PYTHON REDIS   directories, but for BUSYBOX: a static program
//! lab-image push LAYOUT ADDRESS                            127.0.0.1:port, plain HTTP
//! ```
#![forbid(unsafe_code)]

use gamut_tests::image::{read_layout, write_layout};
use gamut_tests::{Compression, Image, ImageBuilder, Layer, Registry, Types};
use serde_json::json;
use std::error::Error;
use std::path::Path;
use std::process::{Command, ExitCode};

const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["build", layout, base, busybox, nginx, python, redis, system] => build(layout, base, busybox, [nginx, python, redis, system]),
        ["push", layout, address] => push(layout, address),
        _ => Err("usage: lab-image build LAYOUT BASE BUSYBOX NGINX PYTHON REDIS SYSTEM | lab-image push LAYOUT ADDRESS".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn push(layout: &str, address: &str) -> Result<(), Box<dyn Error>> {
    let registry = Registry {
        address: address.to_owned(),
    };
    for (name, image) in read_layout(Path::new(layout))? {
        registry.try_push(&image, &name)?;
        println!("{address}/{name}");
    }
    Ok(())
}

fn build(layout: &str, base: &str, busybox: &str, apps: [&str; 4]) -> Result<(), Box<dyn Error>> {
    let base = Layer::new().tree(Path::new(base))?.into_tar();
    let debian = ImageBuilder::new().tar(&base).env(&[PATH]).cmd(&["bash"]);
    let [nginx, python, redis, system] = apps;
    let images = [
        ("debian:lab", debian.clone().build()),
        ("nginx:lab", nginx_image(debian.clone().layer(tree(nginx)?))),
        (
            "python:lab",
            python_image(debian.clone().layer(tree(python)?)),
        ),
        ("redis:lab", redis_image(debian.clone().layer(tree(redis)?))),
        ("system:lab", debian.layer(tree(system)?).build()),
    ];
    write_layout(
        Path::new(layout),
        &[images.to_vec(), busybox_images(busybox)?].concat(),
    )?;
    Ok(())
}

fn tree(dir: &str) -> std::io::Result<Layer> {
    Layer::new().tree(Path::new(dir))
}

fn nginx_image(image: ImageBuilder) -> Image {
    // As the official image does: logs to the container's streams.
    let logs = Layer::new()
        .symlink("var/log/nginx/access.log", "/dev/stdout")
        .symlink("var/log/nginx/error.log", "/dev/stderr");
    image
        .layer(logs)
        .cmd(&["nginx", "-g", "daemon off;"])
        .config("ExposedPorts", json!({"80/tcp": {}}))
        .config("StopSignal", "SIGQUIT")
        .build()
}

fn python_image(image: ImageBuilder) -> Image {
    image
        .env(&[PATH, "LANG=C.UTF-8", "PYTHONUNBUFFERED=1"])
        .cmd(&["python3"])
        .build()
}

fn redis_image(image: ImageBuilder) -> Image {
    image
        .layer(Layer::new().dir("data", 0o777))
        .cmd(&[
            "redis-server",
            "--bind",
            "*",
            "-::*",
            "--protected-mode",
            "no",
            "--save",
            "",
        ])
        .config("ExposedPorts", json!({"6379/tcp": {}}))
        .config("Volumes", json!({"/data": {}}))
        .config("WorkingDir", "/data")
        .config("User", "redis")
        .build()
}

/// busybox with all its names: `busybox:lab` behind a multi-arch index, `:zstd`, `:docker` (Docker's media
/// types, in a manifest list) and `:plain` (a bare manifest, layer not compressed).
fn busybox_images(program: &str) -> Result<Vec<(&'static str, Image)>, Box<dyn Error>> {
    let listed = Command::new(program).arg("--list").output()?;
    let mut layer = Layer::new();
    for dir in [
        "bin", "dev", "etc", "home", "proc", "root", "sys", "usr", "usr/bin", "usr/sbin", "var",
        "var/www",
    ] {
        layer = layer.dir(dir, 0o755);
    }
    layer = layer
        .dir("tmp", 0o1777)
        .file("bin/busybox", 0o755, std::fs::read(program)?);
    for name in String::from_utf8(listed.stdout)?
        .lines()
        .filter(|name| *name != "busybox")
    {
        layer = layer.hardlink(&format!("bin/{name}"), "bin/busybox");
    }
    let accounts = Layer::new()
        .file("etc/passwd", 0o644, "root:x:0:0:root:/root:/bin/sh\nwww-data:x:33:33:www-data:/var/www:/bin/false\nnobody:x:65534:65534:nobody:/:/bin/false\n")
        .file("etc/group", 0o644, "root:x:0:\nwww-data:x:33:\naudio:x:29:www-data\nnogroup:x:65534:\n");
    let (layer, accounts) = (layer.into_tar(), accounts.into_tar());
    let make = |types, compression| {
        ImageBuilder::new()
            .types(types)
            .compression(compression)
            .tar(&layer)
            .tar(&accounts)
            .env(&[PATH])
            .cmd(&["sh"])
            .build()
    };
    // An entry that must not be chosen: running it fails, its content says so.
    let foreign = ImageBuilder::new()
        .architecture("s390x")
        .layer(Layer::new().file("wrong-architecture", 0o644, ""))
        .build();
    let native = format!("linux/{}", native_architecture());
    let entry =
        |types, image: &Image| Image::index(types, &[("linux/s390x", &foreign), (&native, image)]);
    // The program lies beside this one; both are built together.
    let peer = std::fs::read(std::env::current_exe()?.with_file_name("lab-peer"))?;
    let peer = ImageBuilder::new()
        .tar(&layer)
        .tar(&accounts)
        .layer(Layer::new().file("bin/lab-peer", 0o755, peer))
        .env(&[PATH])
        .cmd(&["lab-peer", "serve", "80"])
        .config("ExposedPorts", json!({"80/tcp": {}, "80/udp": {}}));
    Ok(vec![
        ("peer:lab", peer.build()),
        (
            "busybox:lab",
            entry(Types::Oci, &make(Types::Oci, Compression::Gzip)),
        ),
        (
            "busybox:zstd",
            entry(Types::Oci, &make(Types::Oci, Compression::Zstd)),
        ),
        (
            "busybox:docker",
            entry(Types::Docker, &make(Types::Docker, Compression::Gzip)),
        ),
        ("busybox:plain", make(Types::Oci, Compression::Plain)),
        (
            "busybox:foreign",
            Image::index(Types::Oci, &[("linux/s390x", &foreign)]),
        ),
    ])
}

fn native_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
