//! The first process of the guest: it does as it is told over vsock, a line each way.

use std::fs::File;
use std::io::{BufRead, BufReader, Seek, Write};
use std::os::unix::fs::FileExt;

use super::PORT;

/// The host's CID.
const HOST: u32 = 2;

/// The guest's first process.
#[test]
#[ignore = "is run inside of the guest"]
fn inside() {
    if std::process::id() != 1 {
        eprintln!("skipped: this is not the first process of a guest");
        return;
    }
    let mounted = rustix::mount::mount("devtmpfs", "/dev", "devtmpfs", flags(), None);
    mounted.expect("/dev");
    let mounted = rustix::mount::mount("sysfs", "/sys", "sysfs", flags(), None);
    mounted.expect("/sys");
    let host: File = gamut_sys::guest::connect_vsock(HOST, PORT)
        .expect("the host")
        .into();
    let mut lines = BufReader::new(host.try_clone().expect("a handle")).lines();
    let answer = |text: String| writeln!(&host, "{text}").expect("said");
    let cpus = std::fs::read_to_string("/sys/devices/system/cpu/online").expect("read");
    answer(format!("cpus {}", cpus.trim()));
    while let Some(Ok(line)) = lines.next() {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["read", device] => answer(first_bytes(device)),
            ["write", device, text] => {
                let disk = File::options().write(true).open(device).expect("a disk");
                disk.write_all_at(&[text.as_bytes(), &[0; 4096]].concat()[..4096], 0)
                    .expect("written");
                disk.sync_all().expect("synced");
                answer("written".to_owned());
            }
            ["show", path] => {
                let text = std::fs::read_to_string(path).unwrap_or_else(|error| error.to_string());
                answer(text.trim().to_owned());
            }
            ["mount", tag] => {
                let mounted = rustix::mount::mount(tag, "/run", "virtiofs", flags(), None);
                answer(format!("{mounted:?}"));
            }
            ["make", path, text] => {
                let made = std::fs::write(path, text);
                answer(format!("{:?}", made.map_err(|error| error.to_string())));
            }
            ["end"] => break,
            _ => answer(line),
        }
    }
    let end = rustix::system::reboot(rustix::system::RebootCommand::Restart);
    unreachable!("the machine is reset: {end:?}");
}

fn flags() -> rustix::mount::MountFlags {
    rustix::mount::MountFlags::empty()
}

fn first_bytes(device: &str) -> String {
    let mut bytes = [0; 16];
    let disk = File::open(device).expect("a disk");
    disk.read_exact_at(&mut bytes, 0).expect("read");
    let length = disk
        .try_clone()
        .and_then(|mut disk| disk.seek(std::io::SeekFrom::End(0)));
    let text = String::from_utf8_lossy(&bytes);
    let text = text.trim_end_matches('\0');
    format!("{text} {}", length.expect("a length"))
}
