//! A slow line: passes connections on and lets so many bytes a second come back, over all of them together.
//! For `benches/lazy`.
//!
//! ```text
//! lab-throttle ADDRESS BYTES-PER-SECOND     prints its own address, and goes on until it is killed
//! ```
#![forbid(unsafe_code)]

use std::error::Error;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Bytes that are passed on at once: few, or one connection would have the line to itself for long.
const PIECE_BYTES: usize = 16 << 10;

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [address, rate] = words.as_slice() else {
        return Err("usage: lab-throttle ADDRESS BYTES-PER-SECOND".into());
    };
    let line = Arc::new(Line {
        bytes_per_second: rate.parse()?,
        free: Mutex::new(Instant::now()),
    });
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    println!("{}", listener.local_addr()?);
    io::stdout().flush()?;
    for client in listener.incoming().flatten() {
        let Ok(server) = TcpStream::connect(address) else {
            continue;
        };
        let (to_client, from_server) = (client.try_clone()?, server.try_clone()?);
        thread::spawn(move || pass(&client, &server, |_| {}));
        let line = line.clone();
        thread::spawn(move || pass(&from_server, &to_client, |bytes| line.take(bytes)));
    }
    Ok(())
}

/// What all connections share.
struct Line {
    bytes_per_second: f64,
    /// When it has carried all that it was given.
    free: Mutex<Instant>,
}

impl Line {
    /// Waits until it has carried so many bytes.
    fn take(&self, bytes: usize) {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let time = Duration::from_secs_f64(bytes as f64 / self.bytes_per_second);
        *free = (*free).max(Instant::now()) + time;
        let until = *free;
        drop(free);
        thread::sleep(until.saturating_duration_since(Instant::now()));
    }
}

/// Passes bytes on until either side ends.
fn pass(mut from: &TcpStream, mut to: &TcpStream, before: impl Fn(usize)) {
    let mut piece = [0; PIECE_BYTES];
    while let Ok(count @ 1..) = from.read(&mut piece) {
        before(count);
        if to.write_all(&piece[..count]).is_err() {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
