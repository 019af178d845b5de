//! The same API in front of a real machine, with a kernel of some bytes.

mod metadata;

use std::io::{BufRead, BufReader, Write};
use std::path::Path;

use gamut_firecracker::kvm::{Confinement, Kvm};
use gamut_firecracker::process::{self, Options};
use gamut_vmm::probe::{Support, probe};
use serde_json::Value;

use crate::rig::{Client, options};

/// `mov dx, 0x3f8`; `h` and `i` out of it; `mov al, 0xfe`, `out 0x64, al`: reset; `hlt`.
const HELLO: &[u8] = &[
    0x66, 0xba, 0xf8, 0x03, 0xb0, b'h', 0xee, 0xb0, b'i', 0xee, 0xb0, 0xfe, 0xe6, 0x64, 0xf4,
];
/// Until the balloon's configuration wants a page (its registers are the first ones, at 0xd0000000; VIRTIO
/// 1.2, 4.2.2, and 5.5.4): `mov ebx, 0xd0000100`, `cmp dword [rbx], 0`, `je` back; then as above, without a word.
const UNTIL_BALLOON: &[u8] = &[
    0xbb, 0x00, 0x01, 0x00, 0xd0, 0x8b, 0x03, 0x85, 0xc0, 0x74, 0xfa, 0xb0, 0xfe, 0xe6, 0x64, 0xf4,
];

/// Until the keyboard has something: `in al, 0x64`, `test al, 1`, `jz` back; then `in al, 0x60` and out of the
/// serial port, four times; then as above.
const ECHO_KEYS: &[u8] = &[
    0x66, 0xba, 0xf8, 0x03, 0xb9, 4, 0, 0, 0, 0xe4, 0x64, 0xa8, 0x01, 0x74, 0xfa, 0xe4, 0x60, 0xee,
    0xff, 0xc9, 0x75, 0xf3, 0xb0, 0xfe, 0xe6, 0x64, 0xf4,
];

/// An ELF file with one segment at the first MiB's end, which begins with the program.
fn elf(program: &[u8]) -> Vec<u8> {
    const ADDRESS: u64 = 1 << 20;
    const HEADERS_BYTES: u64 = 64 + 56;
    let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    // An executable, for x86-64.
    elf.extend([2_u16, 62].map(u16::to_le_bytes).concat());
    elf.extend(1_u32.to_le_bytes());
    elf.extend([ADDRESS, 64, 0].map(u64::to_le_bytes).concat());
    elf.extend(0_u32.to_le_bytes());
    elf.extend([64_u16, 56, 1, 0, 0, 0].map(u16::to_le_bytes).concat());
    elf.extend([1_u32, 7].map(u32::to_le_bytes).concat());
    let length = program.len() as u64;
    let segment = [HEADERS_BYTES, ADDRESS, ADDRESS, length, length, 4096];
    elf.extend(segment.map(u64::to_le_bytes).concat());
    elf.extend(program);
    // No kernel is shorter than its headers.
    elf.resize(elf.len().max(4096), 0);
    elf
}

fn has_kvm() -> bool {
    match probe() {
        missing @ (Support::Missing | Support::Denied) => {
            eprintln!("skipped: no KVM here: {missing:?}");
            false
        }
        _ => true,
    }
}

/// Asks, while the instance runs; what it ended with.
fn run(program: &[u8], confinement: Confinement, ask: impl FnOnce(&Client, &Path)) {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("kernel"), elf(program)).expect("a file");
    std::fs::write(folder.path().join("disk"), [0; 4096]).expect("a file");
    let options: Options = options(&folder);
    let client = Client::new(folder.path());
    let instance = std::thread::spawn(move || {
        let ended = process::run(options, Box::new(Kvm::new(confinement)));
        ended.map_err(|error| error.to_string())
    });
    ask(&client, folder.path());
    assert_eq!(instance.join().expect("no panic"), Ok(()));
}

fn configure(client: &Client) {
    client
        .put("/machine-config", "{'vcpu_count': 1, 'mem_size_mib': 16}")
        .is_done();
    client
        .put(
            "/boot-source",
            "{'kernel_image_path': 'DIR/kernel', 'boot_args': 'quiet'}",
        )
        .is_done();
    client
        .put("/serial", "{'serial_out_path': 'DIR/serial'}")
        .is_done();
    client
        .put(
            "/balloon",
            "{'amount_mib': 0, 'deflate_on_oom': true, 'stats_polling_interval_s': 1}",
        )
        .is_done();
    let drive = "{'drive_id': 'root', 'path_on_host': 'DIR/disk', 'is_root_device': true}";
    client.put("/drives/root", drive).is_done();
    client
        .put("/vsock", "{'guest_cid': 3, 'uds_path': 'DIR/v.sock'}")
        .is_done();
    client.put("/entropy", "{}").is_done();
    client
        .put("/metrics", "{'metrics_path': 'DIR/metrics'}")
        .is_done();
}

#[test]
fn a_guest_says_hi_and_shuts_down() {
    if !has_kvm() {
        return;
    }
    run(HELLO, Confinement::Filtered, |client, folder| {
        configure(client);
        client
            .put("/actions", "{'action_type': 'InstanceStart'}")
            .is_done();
        let began = std::time::Instant::now();
        while std::fs::read_to_string(folder.join("serial")).expect("a file") != "hi" {
            assert!(began.elapsed().as_secs() < 60);
            std::thread::yield_now();
        }
    });
}

#[test]
fn a_guest_is_paused_changed_and_asked() {
    if !has_kvm() {
        return;
    }
    run(UNTIL_BALLOON, Confinement::Filtered, |client, folder| {
        configure(client);
        client
            .put("/actions", "{'action_type': 'InstanceStart'}")
            .is_done();
        client.patch("/vm", "{'state': 'Paused'}").is_done();
        client.patch("/vm", "{'state': 'Paused'}").is_done();
        assert_eq!(client.get("/").document()["state"], "Paused");
        client.patch("/vm", "{'state': 'Resumed'}").is_done();
        std::fs::write(folder.join("other"), [0; 8192]).expect("a file");
        let update = "{'drive_id': 'root', 'path_on_host': 'DIR/other', 'rate_limiter': {'ops': {'size': 9, 'refill_time': 1}}}";
        client.patch("/drives/root", update).is_done();
        assert_eq!(
            client.get("/balloon/statistics").document()["target_mib"],
            0
        );
        client
            .put("/actions", "{'action_type': 'FlushMetrics'}")
            .is_done();
        let metrics = std::fs::read_to_string(folder.join("metrics")).expect("a file");
        let last: Value =
            serde_json::from_str(metrics.lines().last().expect("a line")).expect("JSON");
        assert_eq!(last["block_root"]["read_bytes"], 0, "{last}");
        assert!(last["vcpu"]["register_exits"].is_u64(), "{last}");
        client.patch("/balloon", "{'amount_mib': 4}").is_done();
    });
}

#[test]
fn a_guest_sees_ctrl_alt_del() {
    if !has_kvm() {
        return;
    }
    let kept = std::cell::OnceCell::new();
    run(ECHO_KEYS, Confinement::Filtered, |client, path| {
        configure(client);
        client
            .put("/actions", "{'action_type': 'InstanceStart'}")
            .is_done();
        let serial = std::fs::File::open(path.join("serial")).expect("a file");
        client
            .put("/actions", "{'action_type': 'SendCtrlAltDel'}")
            .is_done();
        kept.set(serial).expect("once");
    });
    let mut said = Vec::new();
    let mut serial = kept.into_inner().expect("set");
    std::io::Read::read_to_end(&mut serial, &mut said).expect("read");
    assert_eq!(said, [0x14, 0x11, 0xe0, 0x71]);
}

#[test]
fn what_the_machine_cannot_be_is_said_and_can_be_mended() {
    if !has_kvm() {
        return;
    }
    run(HELLO, Confinement::Free, |client, folder| {
        configure(client);
        std::fs::write(folder.join("text"), "no kernel").expect("a file");
        client
            .put("/boot-source", "{'kernel_image_path': 'DIR/text'}")
            .is_done();
        let start = "{'action_type': 'InstanceStart'}";
        let fault = client.put("/actions", start);
        assert_eq!(
            fault.fault(),
            "Start microvm error: the kernel is neither an ELF file nor a bzImage"
        );
        client
            .put("/boot-source", "{'kernel_image_path': 'DIR/kernel'}")
            .is_done();
        client.put("/actions", start).is_done();
    });
}

/// Kernel and initramfs for a machine in this folder, if there are any and a processor for them.
fn real_kernel(folder: &Path) -> bool {
    let names = ["GAMUT_TEST_KERNEL", "GAMUT_TEST_GUEST"].map(std::env::var_os);
    let [Some(kernel), Some(guest)] = names else {
        eprintln!("skipped: no GAMUT_TEST_KERNEL and GAMUT_TEST_GUEST (lab/kvm has them)");
        return false;
    };
    match probe() {
        Support::Usable => {}
        other => {
            eprintln!("skipped: no KVM for kernels here: {other:?}");
            return false;
        }
    }
    let guest = std::fs::read(guest).expect("the guest");
    let archive = gamut_vmm::initramfs::build(&guest, &[]).expect("an initramfs");
    std::fs::write(folder.join("initrd"), archive).expect("a file");
    std::fs::copy(kernel, folder.join("vmlinux")).expect("a file");
    true
}

/// If there is a real kernel, it is started with these requests besides, and talked to.
fn with_linux(
    requests: &[(&str, &str)],
    prepare: impl Fn(&Path),
    talk: impl Fn(&Client, &Path, &mut Guest),
) {
    let files = tempfile::tempdir().expect("a folder");
    if !real_kernel(files.path()) {
        return;
    }
    run(HELLO, Confinement::Filtered, |client, folder| {
        configure(client);
        for name in ["vmlinux", "initrd"] {
            std::fs::rename(files.path().join(name), folder.join(name)).expect("moved");
        }
        prepare(folder);
        client
            .put("/machine-config", "{'vcpu_count': 2, 'mem_size_mib': 256}")
            .is_done();
        let boot = "{'kernel_image_path': 'DIR/vmlinux', 'initrd_path': 'DIR/initrd', \
                    'boot_args': 'console=ttyS0 reboot=t panic=-1'}";
        client.put("/boot-source", boot).is_done();
        for (path, body) in requests {
            client.put(path, body).is_done();
        }
        // What the guest reaches as port 1 of the host.
        let ear = std::os::unix::net::UnixListener::bind(folder.join("v.sock_1")).expect("bound");
        client
            .put("/actions", "{'action_type': 'InstanceStart'}")
            .is_done();
        let (guest, _) = ear.accept().expect("the guest");
        guest
            .set_read_timeout(Some(std::time::Duration::from_secs(60)))
            .expect("set");
        talk(client, folder, &mut Guest(BufReader::new(guest)));
        let serial = std::fs::read_to_string(folder.join("serial")).expect("a file");
        assert!(serial.contains("Linux version"), "{serial}");
        // It hears no more, and goes down.
    });
}

/// The first process in the machine, by vsock.
struct Guest(BufReader<std::os::unix::net::UnixStream>);

impl Guest {
    fn ask(&mut self, question: &str) -> String {
        writeln!(self.0.get_mut(), "{question}").expect("asked");
        let mut line = String::new();
        self.0.read_line(&mut line).expect("an answer");
        line.trim_end().to_owned()
    }
}

/// What the instance says of itself when it is asked now, since the last time.
fn metrics(client: &Client, folder: &Path) -> Value {
    client
        .put("/actions", "{'action_type': 'FlushMetrics'}")
        .is_done();
    let metrics = std::fs::read_to_string(folder.join("metrics")).expect("a file");
    serde_json::from_str(metrics.lines().last().expect("a line")).expect("JSON")
}

#[test]
fn linux_boots_is_asked_over_vsock_paused_and_goes_down() {
    let pmem = [
        ("/pmem/kept", "{'id': 'kept', 'path_on_host': 'DIR/kept'}"),
        (
            "/pmem/same",
            "{'id': 'same', 'path_on_host': 'DIR/other', 'read_only': true}",
        ),
    ];
    let prepare = |folder: &Path| {
        std::fs::write(folder.join("other"), [b'b'; 8192]).expect("a file");
        std::fs::write(folder.join("kept"), vec![b'k'; 3 << 20]).expect("a file");
    };
    with_linux(&pmem, prepare, |client, folder, guest| {
        assert_eq!(guest.ask("processors"), "2");
        client.patch("/vm", "{'state': 'Paused'}").is_done();
        client.patch("/vm", "{'state': 'Resumed'}").is_done();
        client
            .patch(
                "/drives/root",
                "{'drive_id': 'root', 'path_on_host': 'DIR/other'}",
            )
            .is_done();
        assert_eq!(guest.ask("read /dev/vda 5"), "bbbbb");
        files_are_memory(client, folder, guest);
        client.patch("/balloon", "{'amount_mib': 8}").is_done();
        let began = std::time::Instant::now();
        while client.get("/balloon/statistics").document()["actual_mib"] != 8 {
            assert!(began.elapsed().as_secs() < 60);
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        let statistics = client.get("/balloon/statistics").document();
        assert!(
            statistics["total_memory"].as_u64() > Some(64 << 20),
            "{statistics}"
        );
    });
}

/// One that may be written, and one that may not: Linux is not told so, but its flush fails.
fn files_are_memory(client: &Client, folder: &Path, guest: &mut Guest) {
    // Of 3 MiB, with zeroes to the next 2.
    assert_eq!(guest.ask("file /sys/block/pmem0/size"), "8192");
    assert_eq!(guest.ask("read /dev/pmem0 5"), "kkkkk");
    assert_eq!(guest.ask("write /dev/pmem0 hello"), "hello");
    let kept = std::fs::read(folder.join("kept")).expect("a file");
    assert_eq!(kept.len(), 3 << 20);
    assert_eq!(kept[..7], *b"hellokk");
    assert_eq!(guest.ask("read /dev/pmem1 5"), "bbbbb");
    let refused = guest.ask("write /dev/pmem1 hello");
    assert!(refused.ends_with("(os error 5)"), "{refused}");
    let other = std::fs::read(folder.join("other")).expect("a file");
    assert_eq!(other, [b'b'; 8192]);
    let metrics = metrics(client, folder);
    assert_eq!(metrics["pmem_kept"]["errors"], 0, "{metrics}");
    assert!(
        metrics["pmem_kept"]["flushes"].as_u64() > Some(0),
        "{metrics}"
    );
    assert!(
        metrics["pmem_same"]["errors"].as_u64() > Some(0),
        "{metrics}"
    );
}

/// An ext4 file system with a file `word` in it. DAX wants blocks as large as pages.
fn ext4(folder: &Path) {
    let tree = folder.join("tree");
    std::fs::create_dir(&tree).expect("made");
    std::fs::write(tree.join("word"), "of the host").expect("a file");
    let made = std::process::Command::new("mke2fs")
        .args(["-q", "-t", "ext4", "-b", "4096", "-d"])
        .args([&tree, &folder.join("files")])
        .arg("8M")
        .status();
    assert!(made.expect("mke2fs").success());
}

#[test]
fn linux_has_a_file_systems_files_without_a_copy() {
    let pmem = [(
        "/pmem/files",
        "{'id': 'files', 'path_on_host': 'DIR/files'}",
    )];
    with_linux(&pmem, ext4, |_, folder, guest| {
        // As /proc/mounts has it, and as statx(2) has the file.
        let mounted = guest.ask("dax ext4 /dev/pmem0");
        assert!(mounted.contains(",dax=always"), "{mounted}");
        assert!(mounted.ends_with("; word: DAX"), "{mounted}");
        assert_eq!(guest.ask("read /dax/word 11"), "of the host");
        assert_eq!(guest.ask("write /dax/word by-a-guest"), "by-a-guest");
        let files = std::fs::read(folder.join("files")).expect("a file");
        let mut blocks = files.chunks(4096);
        assert!(blocks.any(|block| block.starts_with(b"by-a-guest")));
    });
}
