//! Forgetting connections that the kernel still tracks (`linux/netfilter/nfnetlink_conntrack.h`).
//!
//! Address translation is decided by a connection's first packet and remembered. UDP has no first
//! packet: a client that keeps sending would go on to reach whatever was behind the port before.

use std::net::{IpAddr, SocketAddr};

use gamut_sys::netlink::{Message, Requests, Socket};
use rustix::io::Errno;

use crate::error::NetworkError;

/// `NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_DELETE`.
const DELETE: u16 = 1 << 8 | 2;
const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_IP: u16 = 1;
const CTA_TUPLE_PROTO: u16 = 2;
const CTA_IP_V4_DST: u16 = 2;
const CTA_IP_V6_DST: u16 = 4;
const CTA_PROTO_NUM: u16 = 1;
const CTA_PROTO_DST_PORT: u16 = 3;
const CTA_FILTER: u16 = 25;
const CTA_FILTER_ORIG_FLAGS: u16 = 1;
/// Which parts of the tuple count (`CTA_FILTER_F_CTA_*`, `net/netfilter/nf_internals.h`).
const BY_IP_DST: u32 = 1 << 1;
const BY_PROTO_NUM: u32 = 1 << 3;
const BY_PROTO_DST_PORT: u32 = 1 << 5;
const IPPROTO_UDP: u8 = 17;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// Forgets every UDP exchange that somebody began with one of these addresses of the host (the
/// unspecified address: with the port on any address, so that a few unrelated exchanges with that
/// port elsewhere are forgotten too, and translated anew with their next packet).
///
/// One request for all. Kernels before 6.9 cannot delete by a filter and refuse; that is no error:
/// such entries run out after 30 seconds of silence, or 120 where both sides have spoken.
pub(crate) fn forget_udp(socket: &mut Socket, hosts: &[SocketAddr]) -> Result<(), NetworkError> {
    if hosts.is_empty() {
        return Ok(());
    }
    let mut requests = Requests::new();
    for host in hosts {
        requests.add(DELETE, 0, |message| write(message, host));
    }
    let refusals = socket.run(&mut requests);
    let refusals = refusals.map_err(NetworkError::Conntrack)?;
    let harmless = [Errno::NOENT, Errno::INVAL, Errno::OPNOTSUPP];
    match refusals
        .into_iter()
        .find(|one| !harmless.contains(&one.errno))
    {
        Some(refusal) => Err(NetworkError::Conntrack(refusal.into())),
        None => Ok(()),
    }
}

fn write(message: &mut Message<'_>, host: &SocketAddr) {
    let family = match host.ip() {
        IpAddr::V4(_) => AF_INET,
        IpAddr::V6(_) => AF_INET6,
    };
    message.raw(&[family, 0, 0, 0]);
    let mut by = BY_PROTO_NUM | BY_PROTO_DST_PORT;
    message.nest(CTA_TUPLE_ORIG, |message| {
        if !host.ip().is_unspecified() {
            by |= BY_IP_DST;
            message.nest(CTA_TUPLE_IP, |message| match host.ip() {
                IpAddr::V4(ip) => message.bytes(CTA_IP_V4_DST, &ip.octets()),
                IpAddr::V6(ip) => message.bytes(CTA_IP_V6_DST, &ip.octets()),
            });
        }
        message.nest(CTA_TUPLE_PROTO, |message| {
            message.byte(CTA_PROTO_NUM, IPPROTO_UDP);
            message.be16(CTA_PROTO_DST_PORT, host.port());
        });
    });
    message.nest(CTA_FILTER, |message| {
        message.u32(CTA_FILTER_ORIG_FLAGS, by);
    });
}
