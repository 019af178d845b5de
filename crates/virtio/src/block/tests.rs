//! Requests as a driver makes them, and as none should.

use std::io::{Read, Write};
use std::os::unix::fs::FileExt;

use super::*;
use crate::driver::{Driver, Part};
use crate::mmio::{F_EVENT_IDX, F_INDIRECT_DESC};
use crate::rate::Limit;

const SECTORS: u64 = 64;

/// Each sector is full of its number.
fn file() -> File {
    let mut file = tempfile::tempfile().expect("a file");
    for sector in 0..SECTORS {
        file.write_all(&[sector as u8; 512]).expect("written");
    }
    file
}

fn disk(file: &File) -> Disk {
    Disk {
        image: file.try_clone().expect("a descriptor").into(),
        access: Access::ReadWrite,
        cache: Cache::Writeback,
        id: "a disk of a name that is too long".to_owned(),
        queues: 1,
        limiter: Limiter::unlimited().expect("a timer"),
    }
}

fn started(disk: Disk) -> Driver<Block> {
    Driver::started(Block::new(disk).expect("a disk"), u64::MAX)
}

fn header(kind: u32, sector: u64) -> Vec<u8> {
    let mut header = kind.to_le_bytes().to_vec();
    header.extend([0; 4]);
    header.extend(sector.to_le_bytes());
    header
}

/// The length, the data and the status.
fn ask(
    driver: &mut Driver<Block>,
    kind: u32,
    sector: u64,
    parts: &[Part<'_>],
) -> (u32, Vec<u8>, u8) {
    let header = header(kind, sector);
    let mut all = vec![Part::Out(&header)];
    all.extend(parts.iter().cloned());
    all.push(Part::In(1));
    let (length, mut bytes) = driver.request(0, &all);
    let status = bytes.pop().expect("a status");
    (length, bytes, status)
}

fn range(sector: u64, sectors: u32, flags: u32) -> Vec<u8> {
    let mut range = sector.to_le_bytes().to_vec();
    range.extend(sectors.to_le_bytes());
    range.extend(flags.to_le_bytes());
    range
}

#[test]
fn sectors_are_read_and_written() {
    let file = file();
    let mut driver = started(disk(&file));
    assert_eq!(driver.config::<8>(0), SECTORS.to_le_bytes());
    let (length, bytes, status) = ask(&mut driver, 0, 3, &[Part::In(512), Part::In(1024)]);
    assert_eq!((length, status), (1537, 0));
    assert_eq!(bytes, [vec![3; 512], vec![4; 512], vec![5; 512]].concat());
    let data = [0xab; 1024];
    let (length, _, status) = ask(&mut driver, 1, 62, &[Part::Out(&data)]);
    assert_eq!((length, status), (1, 0));
    let mut read = [0; 1024];
    file.read_exact_at(&mut read, 62 * 512).expect("read");
    assert_eq!(read, data);
    assert_eq!(ask(&mut driver, 4, 0, &[]).2, 0);
    assert_eq!(driver.counter("read_bytes"), 1536);
    assert_eq!(driver.counter("written_bytes"), 1024);
    assert_eq!(driver.counter("flushes"), 1);
}

#[test]
fn what_is_out_of_range_or_no_whole_sector_is_refused() {
    let file = file();
    let mut driver = started(disk(&file));
    let two = [1; 1024];
    for (kind, sector, part) in [
        (0, SECTORS, Part::In(512)),
        (0, u64::MAX, Part::In(512)),
        (0, u64::MAX / 512, Part::In(512)),
        (0, SECTORS - 1, Part::In(1024)),
        (0, 0, Part::In(511)),
        (1, SECTORS - 1, Part::Out(&two)),
        (1, 0, Part::Out(&two[..700])),
    ] {
        let (length, _, status) = ask(&mut driver, kind, sector, std::slice::from_ref(&part));
        assert_eq!((length, status), (1, 1), "{kind} {sector} {part:?}");
    }
    assert_eq!(ask(&mut driver, 77, 0, &[Part::In(512)]).2, 2);
    let mut content = Vec::new();
    let mut whole = &file;
    std::io::Seek::rewind(&mut whole).expect("rewound");
    whole.read_to_end(&mut content).expect("read");
    assert_eq!(content.len() as u64, SECTORS * 512, "it has not grown");
    assert_eq!(content[SECTORS as usize * 512 - 512..], [63; 512]);
    assert_eq!(driver.counter("errors"), 7);
    assert_eq!(driver.counter("unsupported"), 1);
    // Without a header, without a place for the status.
    assert_eq!(driver.request(0, &[Part::Out(b"short"), Part::In(1)]).0, 0);
    assert_eq!(driver.request(0, &[Part::Out(&header(0, 0))]).0, 0);
}

#[test]
fn a_read_only_disk_is_not_written() {
    let file = file();
    let mut driver = started(Disk {
        access: Access::ReadOnly,
        ..disk(&file)
    });
    assert_ne!(driver.features & F_RO, 0);
    assert_eq!(driver.features & (F_DISCARD | F_WRITE_ZEROES), 0);
    assert_eq!(ask(&mut driver, 1, 0, &[Part::Out(&[7; 512])]).2, 1);
    let zero = range(0, 1, 0);
    assert_eq!(ask(&mut driver, 13, 0, &[Part::Out(&zero)]).2, 1);
    assert_eq!(ask(&mut driver, 0, 1, &[Part::In(512)]).1, [1; 512]);
    assert_eq!(ask(&mut driver, 4, 0, &[]).2, 0);
}

#[test]
fn a_disk_without_a_cache_to_flush_says_so() {
    let file = file();
    let mut driver = started(Disk {
        cache: Cache::Unsafe,
        ..disk(&file)
    });
    assert_eq!(driver.features & F_FLUSH, 0);
    assert_eq!(ask(&mut driver, 4, 0, &[]).2, 2);
}

#[test]
fn it_has_an_identity_of_twenty_bytes() {
    let file = file();
    let mut driver = started(disk(&file));
    let (length, bytes, status) = ask(&mut driver, 8, 0, &[Part::In(20)]);
    assert_eq!((length, status), (21, 0));
    assert_eq!(bytes, b"a disk of a name tha");
    assert_eq!(ask(&mut driver, 8, 0, &[Part::In(19)]).2, 1);
}

#[test]
fn ranges_are_cleared() {
    let file = file();
    let mut driver = started(disk(&file));
    let both = [range(1, 2, 1), range(5, 1, 0)].concat();
    assert_eq!(ask(&mut driver, 13, 0, &[Part::Out(&both)]).2, 0);
    for (sector, byte) in [(0, 0), (1, 0), (2, 0), (3, 3), (4, 4), (5, 0), (6, 6)] {
        let (_, bytes, _) = ask(&mut driver, 0, sector, &[Part::In(512)]);
        assert_eq!(bytes, [byte; 512], "{sector}");
    }
    let discard = range(8, 16, 0);
    assert_eq!(ask(&mut driver, 11, 0, &[Part::Out(&discard)]).2, 0);
    assert_eq!(ask(&mut driver, 0, 8, &[Part::In(512)]).1, [0; 512]);
    for (kind, bytes, status) in [
        (11, range(8, 1, 1), 2),
        (13, range(8, 1, 2), 2),
        (13, range(63, 2, 0), 1),
        (13, range(u64::MAX, 1, 0), 1),
        (13, range(0, u32::MAX, 0), 1),
        // The first is good, and is not done.
        (13, [range(30, 1, 0), range(64, 1, 0)].concat(), 1),
        (13, range(0, 1, 0)[..15].to_vec(), 1),
        (13, range(0, 0, 0).repeat(17), 1),
        (13, Vec::new(), 1),
    ] {
        let answer = ask(&mut driver, kind, 0, &[Part::Out(&bytes)]);
        assert_eq!(answer.2, status, "{kind} {bytes:?}");
    }
    assert_eq!(ask(&mut driver, 0, 30, &[Part::In(512)]).1, [30; 512]);
}

#[test]
fn another_file_takes_its_place() {
    let first = file();
    let mut driver = started(disk(&first));
    let generation = driver.get(0x0fc);
    let second = tempfile::tempfile().expect("a file");
    second.set_len(1 << 20).expect("grown");
    driver.mmio.device_mut().replace(second).expect("a size");
    assert_ne!(driver.get(0x0fc), generation);
    assert_eq!(driver.get(0x060), 2);
    assert_eq!(driver.config::<8>(0), 2048_u64.to_le_bytes());
    assert_eq!(ask(&mut driver, 0, 2047, &[Part::In(512)]).2, 0);
}

#[test]
fn a_file_that_shrinks_is_an_error_and_no_signal() {
    let file = file();
    let mut driver = started(disk(&file));
    file.set_len(512).expect("cut");
    assert_eq!(ask(&mut driver, 0, 1, &[Part::In(512)]).2, 1);
    assert_eq!(ask(&mut driver, 0, 0, &[Part::In(512)]).2, 0);
}

#[test]
fn several_queues_are_served_and_all_wait_for_one_limit() {
    let file = file();
    let operations = Limit {
        size: 1,
        one_time_burst: 0,
        refill_time_ms: 2,
    };
    let limiter = Limiter::new(Limit::default(), operations).expect("a timer");
    let disk = Disk {
        queues: 4,
        limiter,
        ..disk(&file)
    };
    let mut driver = started(disk);
    assert_eq!(driver.config::<2>(34), [4, 0]);
    let request = header(0, 9);
    let parts = [Part::Out(&request), Part::In(512), Part::In(1)];
    for queue in 0..4 {
        driver.add(queue, &parts);
        driver.add(queue, &parts);
        driver.kick(queue);
    }
    let mut answers = [0; 4];
    while answers != [2; 4] {
        let before = answers;
        for (queue, answers) in answers.iter_mut().enumerate() {
            while let Some((_, length, bytes)) = driver.used(queue as u16) {
                assert_eq!((length, bytes[0], bytes[512]), (513, 9, 0));
                *answers += 1;
            }
        }
        if answers == before {
            driver.wait();
        }
    }
    assert!(driver.counter("throttled") >= 1);
}

#[test]
fn many_requests_pass_with_every_way_of_notifying() {
    for features in [0, F_EVENT_IDX, F_INDIRECT_DESC | F_EVENT_IDX] {
        let file = file();
        let mut driver = Driver::started(Block::new(disk(&file)).expect("a disk"), features);
        // The rings go round, and their indexes past 65535 would take longer than it teaches.
        for round in 0..1000_u64 {
            let sector = round % SECTORS;
            let (length, bytes, status) = ask(&mut driver, 0, sector, &[Part::In(512)]);
            assert_eq!((length, status), (513, 0));
            assert_eq!(bytes, [sector as u8; 512]);
        }
    }
}

/// Sectors of one disk, by one request.
fn sectors(driver: &mut Driver<Block>, first: u64, count: u64) -> Vec<u8> {
    let bytes = (count * SECTOR_BYTES) as u32;
    let (_, bytes, status) = ask(driver, 0, first, &[Part::In(bytes)]);
    assert_eq!(status, 0);
    bytes
}

#[test]
fn files_are_partitions_of_one_disk_that_tools_know() {
    let files: Vec<_> = [5000, 3 << 20, 512].into_iter().zip(1_u8..).collect();
    let files = files.into_iter().map(|(length, number)| {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(&vec![number; length]).expect("written");
        file
    });
    let image = Image::partitions(files.collect()).expect("an image");
    let disk = Disk {
        image,
        ..disk(&file())
    };
    let mut driver = started(disk);
    let total = u64::from_le_bytes(driver.config(0));
    // The end of the first, what is between, and the beginning of the second: 5000 bytes are 9.8 sectors.
    let first = sectors(&mut driver, 2048 + 8, 3);
    assert_eq!(first[..904], [1; 904]);
    assert_eq!(first[904..], [0; 632]);
    let second = sectors(&mut driver, 4095, 2);
    assert_eq!([&second[..512], &second[512..]], [[0; 512], [2; 512]]);
    let (_, _, status) = ask(&mut driver, 1, 2048, &[Part::Out(&[0; 512])]);
    assert_eq!(status, 1, "it is not for writing");
    let (_, _, status) = ask(&mut driver, 0, total - 1, &[Part::In(1024)]);
    assert_eq!(status, 1, "behind its end");

    // As another program sees it.
    let mut whole = tempfile::NamedTempFile::new().expect("a file");
    for first in (0..total).step_by(64) {
        let bytes = sectors(&mut driver, first, 64.min(total - first));
        whole.as_file_mut().write_all(&bytes).expect("written");
    }
    let run = std::process::Command::new("sfdisk")
        .arg("--dump")
        .arg(whole.path())
        .output();
    let Ok(output) = run else {
        return eprintln!("skipped: no sfdisk here");
    };
    let text = String::from_utf8_lossy(&output.stdout);
    let problems = String::from_utf8_lossy(&output.stderr);
    assert_eq!(problems, "", "{text}");
    let lines: Vec<_> = text
        .lines()
        .filter(|line| line.contains("start="))
        .collect();
    for (line, place) in lines.iter().zip([(2048, 16), (4096, 6144), (10_240, 8)]) {
        let place = format!("start={:>12}, size={:>12}", place.0, place.1);
        assert!(line.contains(&place), "{line}, not {place}");
    }
    assert_eq!(lines.len(), 3);
}

#[test]
fn no_disk_of_no_files_or_too_many() {
    let empty = || tempfile::tempfile().expect("a file");
    let refused = |files| Image::partitions(files).expect_err("refused");
    assert_eq!(refused(Vec::new()), ImageError::Count { count: 0 });
    let many = (0..129).map(|_| empty()).collect();
    assert_eq!(refused(many), ImageError::Count { count: 129 });
    assert_eq!(refused(vec![empty()]), ImageError::Empty { number: 1 });
}
