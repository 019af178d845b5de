//! What a workload was kept from, as the packet filter shows it: the first bytes of each packet that was
//! denied, by way of `nfnetlink_log` (`linux/netfilter/nfnetlink_log.h`).

use std::fmt;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};

use gamut_sys::netlink::{Error, Protocol as Netlink, Refusal, Reply, Requests, Socket};
use rustix::io::Errno;

use crate::error::NetworkError;

/// `NFNL_SUBSYS_ULOG`, `NFULNL_MSG_PACKET`, `NFULNL_MSG_CONFIG`.
const PACKET: u16 = 4 << 8;
const CONFIG: u16 = 4 << 8 | 1;
/// `NFULA_CFG_CMD` with `NFULNL_CFG_CMD_BIND`; `NFULA_CFG_MODE` with a length, `NFULNL_COPY_PACKET` and a pad.
const COMMAND: u16 = 1;
const BIND: u8 = 1;
const MODE: u16 = 2;
const SHOW_128_BYTES: [u8; 6] = [0, 0, 0, 128, 2, 0];
/// `NFULA_CFG_QTHRESH`: each packet by itself, at once.
const AT_ONCE: u16 = 5;
/// `NFULA_PACKET_HDR`, `NFULA_PAYLOAD`.
const HEADER: u16 = 1;
const PAYLOAD: u16 = 9;
const NFGENMSG_BYTES: usize = 4;
/// How many groups are tried: each keeper has one of the host's 65,536.
const ATTEMPTS: u16 = 256;

const TCP: u8 = 6;
const UDP: u8 = 17;
const SCTP: u8 = 132;

/// Hears of one workload's denials; readable when there are some.
#[derive(Debug)]
pub struct Denials {
    socket: Socket,
    group: u16,
}

/// One packet that was denied.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Denied {
    /// `None`: it is of no internet protocol.
    pub destination: Option<IpAddr>,
    pub port: Option<u16>,
    pub protocol: Transport,
}

/// What a packet carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Transport {
    /// By its number (`IPPROTO_*`).
    Internet(u8),
    /// By the frame's type (`ETH_P_*`).
    Frame(u16),
}

impl fmt::Display for Transport {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Transport::Internet(TCP) => to.write_str("tcp"),
            Transport::Internet(UDP) => to.write_str("udp"),
            Transport::Internet(SCTP) => to.write_str("sctp"),
            Transport::Internet(1) => to.write_str("icmp"),
            Transport::Internet(58) => to.write_str("icmpv6"),
            Transport::Internet(number) => write!(to, "{number}"),
            Transport::Frame(0x0806) => to.write_str("arp"),
            Transport::Frame(kind) => write!(to, "ethertype {kind:#06x}"),
        }
    }
}

impl Denials {
    /// Opens a group of its own in the calling thread's network namespace. Which one it is begins to be
    /// looked for at `seed`.
    pub fn open(seed: u16) -> Result<Denials, NetworkError> {
        let mut socket = crate::home::socket(Netlink::Netfilter).map_err(NetworkError::Denials)?;
        let mut last = None;
        for attempt in 0..ATTEMPTS {
            let group = seed.wrapping_add(attempt);
            match bind(&mut socket, group).map_err(NetworkError::Denials)? {
                None => return Ok(Denials { socket, group }),
                // Somebody else's.
                Some(refusal) if matches!(refusal.errno, Errno::PERM | Errno::BUSY) => {
                    last = Some(refusal);
                }
                Some(refusal) => return Err(NetworkError::Denials(refusal.into())),
            }
        }
        let source = last.map_or(Error::Unanswered, Error::Refused);
        Err(NetworkError::Denials(source))
    }

    pub(super) fn group(&self) -> u16 {
        self.group
    }

    /// What was denied since the last time.
    pub fn read(&mut self) -> Vec<Denied> {
        let mut all = Vec::new();
        // What is lost when too many come is not told of.
        let _ = self.socket.heard(|reply| {
            if reply.kind == PACKET {
                all.extend(denied(reply));
            }
            Ok(())
        });
        all
    }
}

impl AsFd for Denials {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn bind(socket: &mut Socket, group: u16) -> Result<Option<Refusal>, Error> {
    let [high, low] = group.to_be_bytes();
    let mut requests = Requests::new();
    requests.add(CONFIG, 0, |message| {
        message.raw(&[0, 0, high, low]);
        message.byte(COMMAND, BIND);
        message.bytes(MODE, &SHOW_128_BYTES);
        message.be32(AT_ONCE, 1);
    });
    Ok(socket.run(&mut requests)?.into_iter().next())
}

fn denied(reply: &Reply<'_>) -> Option<Denied> {
    let attributes = reply.attributes(NFGENMSG_BYTES);
    let header = attributes.find(HEADER)?.payload;
    let frame = u16::from_be_bytes([*header.first()?, *header.get(1)?]);
    let payload = attributes.find(PAYLOAD).map(|one| one.payload);
    Some(read(frame, payload.unwrap_or_default()))
}

/// What a frame of this type says of where it goes.
fn read(frame: u16, packet: &[u8]) -> Denied {
    let of_frame = Denied {
        destination: None,
        port: None,
        protocol: Transport::Frame(frame),
    };
    match frame {
        0x0800 => read4(packet),
        0x86dd => read6(packet),
        _ => None,
    }
    .unwrap_or(of_frame)
}

fn read4(packet: &[u8]) -> Option<Denied> {
    let destination: [u8; 4] = packet.get(16..20)?.try_into().ok()?;
    let protocol = *packet.get(9)?;
    let words = usize::from(*packet.first()? & 0x0f);
    let is_first = packet
        .get(6..8)?
        .iter()
        .zip([0x1f, 0xff])
        .all(|(b, m)| b & m == 0);
    let port = is_first.then(|| port(protocol, packet.get(words * 4..)?));
    Some(Denied {
        destination: Some(destination.into()),
        port: port.flatten(),
        protocol: Transport::Internet(protocol),
    })
}

/// A header that is not the last is told as what it is.
fn read6(packet: &[u8]) -> Option<Denied> {
    let destination: [u8; 16] = packet.get(24..40)?.try_into().ok()?;
    let protocol = *packet.get(6)?;
    Some(Denied {
        destination: Some(destination.into()),
        port: port(protocol, packet.get(40..)?),
        protocol: Transport::Internet(protocol),
    })
}

fn port(protocol: u8, transport: &[u8]) -> Option<u16> {
    let has_ports = [TCP, UDP, SCTP].contains(&protocol);
    let bytes: [u8; 2] = transport.get(2..4).filter(|_| has_ports)?.try_into().ok()?;
    Some(u16::from_be_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_say_where_they_go() {
        let mut packet = vec![0; 24];
        packet[0] = 0x45;
        packet[9] = TCP;
        packet[16..20].copy_from_slice(&[192, 0, 2, 2]);
        packet[22..24].copy_from_slice(&443_u16.to_be_bytes());
        let told = read(0x0800, &packet);
        assert_eq!(told.destination, Some("192.0.2.2".parse().unwrap()));
        assert_eq!(
            (told.port, told.protocol.to_string()),
            (Some(443), "tcp".into())
        );
        let mut later = packet.clone();
        later[7] = 1;
        assert_eq!(read(0x0800, &later).port, None);
        let mut six = vec![0; 44];
        six[6] = UDP;
        six[39] = 1;
        six[42..44].copy_from_slice(&53_u16.to_be_bytes());
        let told = read(0x86dd, &six);
        assert_eq!(told.destination, Some("::1".parse().unwrap()));
        assert_eq!(
            (told.port, told.protocol.to_string()),
            (Some(53), "udp".into())
        );
    }

    #[test]
    fn what_is_cut_off_is_no_panic() {
        for length in 0..24 {
            for first in [0x40, 0x4f] {
                let mut packet = vec![0xff; length];
                if let Some(byte) = packet.first_mut() {
                    *byte = first;
                }
                read(0x0800, &packet);
                read(0x86dd, &packet);
            }
        }
        assert_eq!(read(0x88cc, &[]).protocol.to_string(), "ethertype 0x88cc");
    }
}
