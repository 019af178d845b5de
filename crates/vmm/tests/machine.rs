//! Machines with a program of some bytes: what it says on the serial port, and how it ends.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;

use gamut_virtio::balloon::{Balloon, OutOfMemory, Reporting, Rubber, Statistics};
use gamut_virtio::entropy::Entropy;
use gamut_virtio::memory::Pages;
use gamut_virtio::rate::Limiter;
use gamut_vmm::boot::{Boot, Discovery, Loading};
use gamut_vmm::machine::{End, Machine, Running, Size};
use gamut_vmm::probe::{Support, probe};
use gamut_vmm::seccomp::Filter;
use rustix::event::{PollFd, PollFlags};

use crate::payloads::*;

const SIZE: Size = Size {
    vcpus: 1,
    memory_mib: 16,
    pages: Pages::Base,
};

/// `None`, with a word about it, where there is no KVM.
fn machine(size: Size) -> Option<(Machine, std::io::PipeReader)> {
    if let missing @ (Support::Missing | Support::Denied) = probe() {
        eprintln!("skipped: no KVM here: {missing:?}");
        return None;
    }
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let machine = Machine::new(size, Some(OwnedFd::from(writer))).expect("a machine");
    Some((machine, reader))
}

/// An ELF file with one segment, at the first MiB's end; with a note, it is entered by PVH.
pub(crate) fn elf(program: &[u8], entry: Entry) -> File {
    const ADDRESS: u64 = 1 << 20;
    let mut note = [4_u32, 4, 18].map(u32::to_le_bytes).concat();
    note.extend(b"Xen\0");
    note.extend((ADDRESS as u32).to_le_bytes());
    let segment = |kind: u32, at: u64, length: u64| {
        let mut segment = [kind, 7].map(u32::to_le_bytes).concat();
        let numbers = [at, ADDRESS, ADDRESS, length, length, 4096];
        segment.extend(numbers.map(u64::to_le_bytes).concat());
        segment
    };
    let segments = if entry == Entry::Pvh { 2 } else { 1 };
    let (note_at, program_at) = (64 + 2 * 56, 64 + 2 * 56 + note.len() as u64);
    let mut elf = b"\x7fELF\x02\x01\x01".to_vec();
    elf.resize(16, 0);
    elf.extend([2_u16, 62].map(u16::to_le_bytes).concat());
    elf.extend(1_u32.to_le_bytes());
    elf.extend([ADDRESS, 64, 0].map(u64::to_le_bytes).concat());
    elf.extend(0_u32.to_le_bytes());
    elf.extend(
        [64_u16, 56, segments, 0, 0, 0]
            .map(u16::to_le_bytes)
            .concat(),
    );
    elf.extend(segment(1, program_at, program.len() as u64));
    elf.extend(segment(4, note_at, note.len() as u64));
    elf.extend(note);
    elf.extend(program);
    // No kernel is shorter than its headers.
    elf.resize(elf.len().max(4096), 0);
    let mut file = tempfile::tempfile().expect("a file");
    file.write_all(&elf).expect("written");
    file
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entry {
    Long,
    Pvh,
}

fn load(machine: &mut Machine, program: &[u8], entry: Entry) {
    let boot = Boot {
        discovery: Discovery::CommandLine,
        kernel_loading: Loading::Read,
        initramfs_loading: Loading::Read,
        kernel: elf(program, entry),
        initramfs: None,
        command_line: "quiet -- init".to_owned(),
    };
    machine.load(boot).expect("loaded");
}

fn start(machine: Machine) -> Running {
    let mut running = machine
        .start(&Filter::vcpu().expect("a filter"))
        .expect("started");
    running.resume();
    running
}

fn wait(running: &mut Running) -> End {
    loop {
        let mut fds = [PollFd::from_borrowed_fd(running.events(), PollFlags::IN)];
        rustix::event::poll(&mut fds, None).expect("poll");
        if let Some(end) = running.dispatch().expect("dispatched") {
            return end;
        }
    }
}

/// All that it says, and how it ends.
fn run(mut machine: Machine, mut said: impl Read, program: &[u8], entry: Entry) -> (Vec<u8>, End) {
    load(&mut machine, program, entry);
    let mut running = start(machine);
    let end = wait(&mut running);
    drop(running);
    let mut all = Vec::new();
    said.read_to_end(&mut all).expect("read");
    (all, end)
}

fn attach_two(machine: &mut Machine) {
    let limiter = Limiter::unlimited().expect("a timer");
    let balloon = Balloon::new(Rubber {
        target_pages: 0,
        out_of_memory: OutOfMemory::Deflate,
        reporting: Reporting::Free,
        statistics: Statistics::Unwanted,
    });
    machine
        .attach("entropy", Entropy::new(limiter))
        .expect("attached");
    machine.attach("balloon", balloon).expect("attached");
}

#[test]
fn a_program_in_long_mode_says_hi_and_resets() {
    let Some((machine, said)) = machine(SIZE) else {
        return;
    };
    let (said, end) = run(machine, said, HELLO, Entry::Long);
    assert_eq!((said.as_slice(), end), (&b"hi"[..], End::Reset));
}

#[test]
fn a_program_entered_by_pvh_finds_what_it_was_told() {
    let Some((mut machine, said)) = machine(SIZE) else {
        return;
    };
    attach_two(&mut machine);
    let (said, end) = run(machine, said, PVH, Entry::Pvh);
    let line = b"\x78\xc5\x6e\x33quiet acpi=off pci=off virtio_mmio.device=4K@0xd0000000:5 virtio_mmio.device=4K@0xd0001000:6 -- init";
    assert_eq!(
        String::from_utf8_lossy(&said),
        String::from_utf8_lossy(line)
    );
    assert_eq!(end, End::Reset);
}

#[test]
fn a_program_in_long_mode_finds_its_command_line() {
    let Some((machine, said)) = machine(SIZE) else {
        return;
    };
    let (said, end) = run(machine, said, LINE, Entry::Long);
    assert_eq!(
        (said.as_slice(), end),
        (&b"quiet acpi=off pci=off -- init"[..], End::Reset)
    );
}

#[test]
fn devices_are_where_they_are_said_to_be() {
    let Some((mut machine, said)) = machine(SIZE) else {
        return;
    };
    attach_two(&mut machine);
    let (said, end) = run(machine, said, REGISTERS, Entry::Long);
    assert_eq!((said.as_slice(), end), (&b"virt5\xff"[..], End::Reset));
}

#[test]
fn an_eventfd_interrupts_the_guest() {
    let Some((machine, said)) = machine(SIZE) else {
        return;
    };
    let (said, end) = run(machine, said, INTERRUPT, Entry::Long);
    assert_eq!((said.as_slice(), end), (&b"i"[..], End::Reset));
}

#[test]
fn the_first_processor_starts_the_second() {
    let Some((machine, said)) = machine(Size { vcpus: 2, ..SIZE }) else {
        return;
    };
    let (said, end) = run(machine, said, PROCESSORS, Entry::Long);
    assert_eq!((said.as_slice(), end), (&b"AB"[..], End::Reset));
}

#[test]
fn a_triple_fault_is_an_end() {
    let Some((machine, said)) = machine(SIZE) else {
        return;
    };
    let (said, end) = run(machine, said, FAULT, Entry::Long);
    assert_eq!((said.as_slice(), end), (&b""[..], End::TripleFault));
}

#[test]
fn any_registers_in_any_order_do_no_harm() {
    let Some((mut machine, said)) = machine(SIZE) else {
        return;
    };
    attach_two(&mut machine);
    let (said, end) = run(machine, said, HOSTILE, Entry::Long);
    assert_eq!((said.as_slice(), end), (&b"e"[..], End::Reset));
}

#[test]
fn held_vcpus_do_nothing_and_go_on_when_they_may() {
    let Some((mut machine, _said)) = machine(SIZE) else {
        return;
    };
    load(&mut machine, COUNT, Entry::Long);
    let memory = machine.memory().clone();
    let count = || {
        let mut bytes = [0; 4];
        memory.read(2 << 20, &mut bytes).expect("read");
        u32::from_le_bytes(bytes)
    };
    let beyond = |last| {
        while count() <= last {
            std::thread::yield_now();
        }
    };
    let mut running = machine
        .start(&Filter::vcpu().expect("a filter"))
        .expect("started");
    assert_eq!(count(), 0, "they wait at first");
    for _ in 0..20 {
        let last = count();
        running.resume();
        beyond(last);
        running.pause();
        running.pause();
        let held = count();
        std::thread::sleep(std::time::Duration::from_millis(1));
        assert_eq!(count(), held);
    }
    let metrics = running.metrics();
    assert_eq!(metrics.last().expect("the vCPUs").0, "vcpus");
    // Held or not, it can be done away with.
    running.resume();
}

#[test]
fn what_is_no_kernel_or_does_not_fit_is_refused() {
    let Some((mut machine, _)) = machine(Size {
        memory_mib: 2,
        ..SIZE
    }) else {
        return;
    };
    let mut refused = |content: &[u8], initramfs: &[u8]| {
        let file = |bytes: &[u8]| {
            let mut file = tempfile::tempfile().expect("a file");
            file.write_all(bytes).expect("written");
            file
        };
        let mut whole = Vec::new();
        if content.is_empty() {
            let mut kernel = elf(HELLO, Entry::Long);
            std::io::Seek::rewind(&mut kernel).expect("rewound");
            kernel.read_to_end(&mut whole).expect("read");
        } else {
            whole.extend(content);
        }
        let boot = Boot {
            discovery: Discovery::CommandLine,
            kernel_loading: Loading::Read,
            initramfs_loading: Loading::Read,
            kernel: file(&whole),
            initramfs: (!initramfs.is_empty()).then(|| file(initramfs)),
            command_line: String::new(),
        };
        machine.load(boot).expect_err("refused").to_string()
    };
    let unknown = "the kernel is neither an ELF file nor a bzImage";
    assert_eq!(refused(b"short", b""), unknown);
    assert_eq!(refused(&[0; 4096], b""), unknown);
    let mut broken = [0; 4096];
    broken[..4].copy_from_slice(b"\x7fELF");
    let text = refused(&broken, b"");
    assert_eq!(
        text,
        "the kernel is broken: an ELF file, but not for x86-64"
    );
    let text = refused(b"", &vec![1; 1 << 20]);
    assert_eq!(
        text,
        "2 MiB of memory are too little for the kernel and its initramfs"
    );
}
