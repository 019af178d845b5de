//! Guests' kernels: those that are kept, and what a workload may say of them. What builds one for real is
//! `lab/kernel`.

use std::path::PathBuf;

use gamut_tests::Gamut;
use gamut_tests::host::program;

/// What looks like a bzImage of `release` (Documentation/arch/x86/boot.rst).
fn bzimage(release: &str) -> Vec<u8> {
    let mut kernel = vec![0; 0x1000];
    kernel[0x1f1] = 4;
    kernel[0x1fe..0x200].copy_from_slice(&[0x55, 0xaa]);
    kernel[0x202..0x206].copy_from_slice(b"HdrS");
    kernel[0x206..0x208].copy_from_slice(&0x020f_u16.to_le_bytes());
    kernel[0x20e..0x210].copy_from_slice(&0x600_u16.to_le_bytes());
    kernel[0x236] = 1;
    let text = format!("{release} (somebody@somewhere) #1 SMP");
    kernel[0x800..0x800 + text.len()].copy_from_slice(text.as_bytes());
    kernel
}

fn file(gamut: &Gamut, name: &str, content: &[u8]) -> PathBuf {
    let path = gamut.dir().join(name);
    std::fs::write(&path, content).unwrap();
    path
}

#[test]
fn a_kernel_is_imported_chosen_verified_and_removed() {
    let Some(gamut) = Gamut::new() else { return };
    let kernel = |words: &[&str]| gamut.call(&[&["kernel"], words].concat());
    let path = file(&gamut, "vmlinuz-1.2.3-x", &bzimage("1.2.3-x"));
    let path = path.to_str().unwrap();
    file(
        &gamut,
        "config-1.2.3-x",
        b"CONFIG_64BIT=y\n# CONFIG_PSI is not set\n",
    );

    let id = kernel(&["import", path]).ok().text().to_owned();
    assert_eq!(id.len(), 16, "{id}");
    assert_eq!(kernel(&["import", path]).ok().text(), id, "it is kept once");
    let words = [
        "ls",
        "--format",
        "{{.Name}} {{.Form}} {{.Origin}} {{.Used}}.",
    ];
    assert_eq!(kernel(&words).ok().text(), "1.2.3-x bzImage imported .");
    kernel(&["use", "1.2.3-x"]).ok();
    assert_eq!(kernel(&words).ok().text(), "1.2.3-x bzImage imported *.");
    let json = kernel(&["ls", "--format", "json"]).ok();
    let json: serde_json::Value = serde_json::from_str(json.text()).unwrap();
    assert_eq!(json["Release"], "1.2.3-x");

    let lacks = kernel(&["verify", "--format", "{{.Option}} {{.Weight}}"]);
    let lacks = lacks.code(1);
    assert!(lacks.out.contains("CONFIG_EROFS_FS needed"), "{lacks:?}");
    assert!(lacks.out.contains("CONFIG_PSI wanted"), "{lacks:?}");
    assert!(!lacks.out.contains("CONFIG_64BIT"), "{lacks:?}");
    let kept = gamut.root().join("kernels").join(&id).join("kernel");
    std::fs::write(kept, "torn").unwrap();
    kernel(&["verify", "1.2.3-x"]).refused(1, &["1.2.3-x", "digest", "hint: "]);

    kernel(&["rm", &id[..5]]).ok();
    assert_eq!(kernel(&["ls", "-q"]).ok().text(), "");
    kernel(&["rm", &id]).refused(1, &[&id, "hint: "]);
}

#[test]
fn what_is_no_kernel_is_refused_by_name() {
    let Some(gamut) = Gamut::new() else { return };
    let text = file(&gamut, "text", b"no kernel");
    for path in [text.to_str().unwrap(), "/proc/self/exe"] {
        let refused = gamut.call(&["kernel", "import", path]);
        refused.refused(1, &["no kernel", "hint: "]);
    }
    let no_source = ["kernel", "build", "--source", gamut.dir().to_str().unwrap()];
    gamut.call(&no_source).refused(1, &["hint: "]);
    let kernels = gamut.root().join("kernels");
    let left = std::fs::read_dir(kernels).map_or(0, Iterator::count);
    assert_eq!(left, 0);
}

#[test]
fn a_containers_kernel_is_the_hosts() {
    let Some(gamut) = Gamut::new() else { return };
    let image = gamut.image("busybox");
    let words = [
        "run",
        "--rm",
        "--kernel",
        "x",
        "--isolation",
        "container",
        &image,
        "true",
    ];
    gamut
        .call(&words)
        .refused(125, &["`--kernel`", "--isolation microvm"]);
    gamut.assert_nothing_left();
}

#[test]
fn the_options_of_a_build_can_be_read() {
    let Some(gamut) = Gamut::new() else { return };
    let printed = gamut.call(&["kernel", "build", "--print-config"]).ok();
    assert!(printed.out.contains("CONFIG_VIRTIO_FS=y"), "{printed:?}");
}

/// Nothing is made, looked for or pulled for it.
#[test]
fn what_two_kernels_cannot_share_is_refused_by_name() {
    let Some(gamut) = Gamut::new() else { return };
    gamut.call(&["pull", "-q", &gamut.image("busybox")]).ok();
    let asked: [&[&str]; 14] = [
        &["--network", "host"],
        &["--network", "container:other"],
        &["--pid", "host"],
        &["--uts", "host"],
        &["--cgroupns", "host"],
        &["--ipc", "host"],
        &["--userns", "auto"],
        &["--device", "/dev/null"],
        &["--cpuset-cpus", "0"],
        &["--cpuset-mems", "0"],
        &["--blkio-weight", "300"],
        &["--blkio-weight-device", "/dev/vda:300"],
        &["--device-write-bps", "/dev/vda:1mb"],
        &["-v", "/tmp:/mnt:rshared"],
    ];
    let image = gamut.image("busybox");
    for flags in asked {
        let words = [&["run", "--rm", "--isolation", "microvm"], flags, &[&image]].concat();
        let refused = gamut.call(&words).code(125);
        let is_named = refused
            .err
            .contains("is not possible at the isolation level `microvm`");
        assert!(is_named, "{}", refused.told());
    }
    gamut.assert_untouched();
}

/// What a host without a kernel of ours has: one in /boot, its drivers in /lib/modules, and no word on its
/// command line that would tell of devices.
#[test]
fn a_distributions_kernel_is_a_guests() {
    let Some(gamut) = Gamut::new() else { return };
    let Some(kernel) = std::env::var_os("GAMUT_TEST_DISTRIBUTION").map(PathBuf::from) else {
        gamut_tests::skip::skipped("GAMUT_TEST_DISTRIBUTION names no distribution's kernel");
        return;
    };
    let modules = kernel.join("tree/lib/modules");
    let release = std::fs::read_dir(&modules)
        .unwrap()
        .next()
        .unwrap()
        .unwrap();
    let release = release.file_name().into_string().unwrap();
    // In this test's mounts only.
    std::fs::create_dir_all("/lib/modules").unwrap();
    program(
        "mount",
        &["--bind", modules.to_str().unwrap(), "/lib/modules"],
    );
    program("mount", &["-t", "tmpfs", "tmpfs", "/boot"]);
    let config = format!("config-{release}");
    let of_tree = kernel.join("tree/boot").join(&config);
    std::fs::copy(of_tree, format!("/boot/{config}")).unwrap();
    std::fs::copy(kernel.join("vmlinuz"), format!("/boot/vmlinuz-{release}")).unwrap();

    let image = gamut.image("busybox");
    let words = [
        "run",
        "--rm",
        "--isolation",
        "microvm",
        "-p",
        "8080:80",
        "-v",
        "data:/data",
        &image,
    ];
    let script = "uname -r; echo kept >/data/file; nproc; ip -4 addr show eth0 | grep -c inet; ls /sys/bus/acpi/devices | grep -c LNRO";
    let ran = gamut
        .call(&[&words[..], &["sh", "-c", script]].concat())
        .ok();
    let lines: Vec<&str> = ran.out.lines().collect();
    assert_eq!(lines[0], release, "{}", ran.told());
    assert_eq!(lines[2], "1", "{}", ran.told());
    let again = [
        "run",
        "--rm",
        "--network",
        "none",
        "-v",
        "data:/data",
        &image,
        "cat",
        "/data/file",
    ];
    gamut.call(&again).ok().prints("kept");
    gamut.assert_nothing_left();
}
