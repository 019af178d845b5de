//! A server that tells each caller the address it is seen from: one line over TCP once the caller has
//! sent something or closed, a datagram back over UDP. IPv4 and IPv6 on one port.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;

/// Serves on `port` until the process ends, in threads of the calling thread's network namespace.
pub fn serve(port: u16) -> io::Result<()> {
    let any = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port);
    let listener = TcpListener::bind(any)?;
    let socket = UdpSocket::bind(any)?;
    thread::spawn(move || {
        listener
            .incoming()
            .flatten()
            .for_each(|stream| drop(thread::spawn(move || answer(&stream))))
    });
    thread::spawn(move || {
        let mut hello = [0; 2048];
        while let Ok((_, peer)) = socket.recv_from(&mut hello) {
            // A lost answer is the caller's to notice.
            let _ = socket.send_to(line(peer).as_bytes(), peer);
        }
    });
    Ok(())
}

fn answer(mut stream: &TcpStream) -> io::Result<()> {
    let peer = stream.peer_addr()?;
    BufReader::new(stream).fill_buf()?;
    stream.write_all(line(peer).as_bytes())
}

fn line(peer: SocketAddr) -> String {
    format!("{}\n", peer.ip().to_canonical())
}
