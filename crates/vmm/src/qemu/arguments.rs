//! QEMU's command line.

use std::ffi::OsString;
use std::os::fd::OwnedFd;

use gamut_virtio::memory::Pages;

use super::{Handed, Machine, Model, Shared, Version};
use crate::boot::{Boot, Discovery};
use crate::machine::Size;

/// How much translated code is kept, in MiB. Left to itself QEMU takes up to 1 GiB.
const CODE_MIB: u32 = 128;

/// The first QEMU whose processors may run at the same time. With an older one, a processor now and then goes
/// on with code that another has changed, and Linux changes its own: both then wait for ever (seen with 7.2).
const PARALLEL: Version = Version { major: 8, minor: 1 };

/// QEMU's identifier of the balloon.
pub(super) const BALLOON: &str = "balloon";

/// The arguments, the descriptors that they name, and the devices to be served. `control` is QEMU's end of
/// its monitor.
pub(super) fn of(
    machine: Machine,
    boot: Boot,
    control: OwnedFd,
    version: Version,
) -> (Vec<OsString>, Handed, Vec<(String, Shared)>) {
    let mut handed = Handed::default();
    let mut arguments = Arguments(Vec::new());
    arguments.all(&["-name gamut -nodefaults -no-user-config -display none -no-reboot -S"]);
    // Whoever breaks out of the guest finds a process that can start none, and gain nothing; and if it may
    // change its root, no files but those that are open, either. That directory has no other name by then.
    if rustix::process::geteuid().is_root() {
        arguments.pair("-chroot", "/proc/self/fdinfo");
    }
    arguments.pair(
        "-sandbox",
        "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
    );
    machine_itself(&mut arguments, machine.size, boot.discovery, version);
    let number = handed.add(control);
    arguments.pair("-chardev", format!("socket,id=control,fd={number}"));
    arguments.pair("-mon", "chardev=control,mode=control");
    // Standard output. Standard input is empty: nobody types.
    arguments.pair("-chardev", "stdio,id=serial,signal=off");
    arguments.pair("-serial", "chardev:serial");
    let devices = devices(&mut arguments, machine, &mut handed);
    arguments.pair("-kernel", handed.add_file(boot.kernel));
    if let Some(initramfs) = boot.initramfs {
        arguments.pair("-initrd", handed.add_file(initramfs));
    }
    arguments.pair("-append", with_frequency(boot.command_line));
    (arguments.0, handed, devices)
}

/// A kernel that has no other clock measures the processor's by an emulated timer; on a busy host it fails, and
/// with ACPI's tables, which QEMU leaves without that timer's interrupt, it waits for ever then. The guest's
/// counter is the host's.
fn with_frequency(command_line: String) -> String {
    match gamut_sys::tsc::measure_khz() {
        Some(khz) => format!("{command_line} tsc_early_khz={khz}"),
        None => command_line,
    }
}

fn machine_itself(arguments: &mut Arguments, size: Size, discovery: Discovery, version: Version) {
    let acpi = match discovery {
        Discovery::CommandLine => "off",
        Discovery::Acpi => "on",
    };
    arguments.pair(
        "-machine",
        format!("microvm,acpi={acpi},rtc=on,pit=on,pic=on,isa-serial=on,memory-backend=memory"),
    );
    let huge = match size.pages {
        Pages::Base => "",
        Pages::Huge => ",hugetlb=on,hugetlbsize=2M",
    };
    let memory_mib = size.memory_mib;
    arguments.pair(
        "-object",
        format!("memory-backend-memfd,id=memory,size={memory_mib}M,share=on{huge}"),
    );
    arguments.pair("-m", format!("{memory_mib}M"));
    arguments.pair("-smp", size.vcpus.to_string());
    let threads = if version < PARALLEL {
        "single"
    } else {
        "multi"
    };
    let accelerator = format!("tcg,tb-size={CODE_MIB},thread={threads}");
    arguments.pair("-accel", accelerator);
    arguments.pair("-cpu", "max");
    // VIRTIO 1, which is all that our devices speak.
    arguments.pair("-global", "virtio-mmio.force-legacy=off");
}

fn devices(
    arguments: &mut Arguments,
    machine: Machine,
    handed: &mut Handed,
) -> Vec<(String, Shared)> {
    let mut devices = Vec::new();
    for (index, served) in machine.served.into_iter().enumerate() {
        let number = handed.add(served.socket);
        arguments.pair("-chardev", format!("socket,id=device{index},fd={number}"));
        devices.push((served.name, served.device));
        let device = match served.model {
            Model::Disk => "vhost-user-blk,num-queues=1",
            Model::Vsock => "vhost-user-vsock-device",
        };
        arguments.pair("-device", format!("{device},chardev=device{index}"));
    }
    if let Some((tag, socket)) = machine.share {
        let number = handed.add(socket);
        arguments.pair("-chardev", format!("socket,id=share,fd={number}"));
        arguments.pair(
            "-device",
            format!("vhost-user-fs-device,chardev=share,tag={tag},queue-size=1024"),
        );
    }
    if let Some((network, tap)) = machine.network {
        let number = handed.add(tap);
        let [a, b, c, d, e, f] = network.mac;
        let mac = format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}");
        arguments.pair("-netdev", format!("tap,id=network,fd={number}"));
        arguments.pair(
            "-device",
            format!(
                "virtio-net-device,netdev=network,mac={mac},host_mtu={}",
                network.mtu
            ),
        );
    }
    arguments.pair("-object", "rng-builtin,id=random");
    arguments.pair("-device", "virtio-rng-device,rng=random");
    arguments.pair(
        "-device",
        format!("virtio-balloon-device,id={BALLOON},deflate-on-oom=on,free-page-reporting=on"),
    );
    devices
}

struct Arguments(Vec<OsString>);

impl Arguments {
    fn all(&mut self, words: &[&str]) {
        let words = words.iter().flat_map(|words| words.split(' '));
        self.0.extend(words.map(OsString::from));
    }

    fn pair(&mut self, option: &str, value: impl Into<OsString>) {
        self.0.push(option.into());
        self.0.push(value.into());
    }
}
