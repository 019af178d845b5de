//! A server that tells each caller the address it is seen from: one line over TCP once the caller has
//! sent something or closed, a datagram back over UDP. IPv4 and IPv6 on one port.

use crate::listening::{Listening, wake};
use std::io::{self, BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::thread;

/// The running server. It goes away with the value.
#[derive(Debug)]
pub struct Whoami {
    _tcp: Listening,
    udp: Arc<UdpSocket>,
}

impl Drop for Whoami {
    fn drop(&mut self) {
        wake(&*self.udp);
    }
}

/// Serves on `port`, in threads of the calling thread's network namespace.
pub fn serve(port: u16) -> io::Result<Whoami> {
    let any = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port);
    let listener = TcpListener::bind(any)?;
    let udp = Arc::new(UdpSocket::bind(any)?);
    let _tcp = Listening::start(listener, |stream| {
        thread::spawn(move || answer(&stream));
    });
    let socket = Arc::clone(&udp);
    thread::spawn(move || {
        let mut hello = [0; 2048];
        while let Ok((_, peer)) = socket.recv_from(&mut hello) {
            // A lost answer is the caller's to notice.
            let _ = socket.send_to(line(peer).as_bytes(), peer);
        }
    });
    Ok(Whoami { _tcp, udp })
}

fn answer(mut stream: &TcpStream) -> io::Result<()> {
    let peer = stream.peer_addr()?;
    BufReader::new(stream).fill_buf()?;
    stream.write_all(line(peer).as_bytes())
}

fn line(peer: SocketAddr) -> String {
    format!("{}\n", peer.ip().to_canonical())
}
