//! Numbers of rtnetlink(7), `linux/rtnetlink.h`, `linux/if_link.h`, `linux/if_addr.h`,
//! `linux/veth.h`, and the fixed headers of its messages.

pub(super) const RTM_NEWLINK: u16 = 16;
pub(super) const RTM_DELLINK: u16 = 17;
pub(super) const RTM_GETLINK: u16 = 18;
pub(super) const RTM_NEWADDR: u16 = 20;
pub(super) const RTM_GETADDR: u16 = 22;
pub(super) const RTM_NEWROUTE: u16 = 24;
pub(super) const RTM_GETROUTE: u16 = 26;

pub(super) const IFLA_ADDRESS: u16 = 1;
pub(super) const IFLA_IFNAME: u16 = 3;
pub(super) const IFLA_MTU: u16 = 4;
pub(super) const IFLA_MASTER: u16 = 10;
pub(super) const IFLA_LINKINFO: u16 = 18;
pub(super) const IFLA_STATS64: u16 = 23;
pub(super) const IFLA_NET_NS_FD: u16 = 28;
pub(super) const IFLA_EXT_MASK: u16 = 29;
pub(super) const IFLA_NUM_TX_QUEUES: u16 = 31;
pub(super) const IFLA_NUM_RX_QUEUES: u16 = 32;
pub(super) const IFLA_INFO_KIND: u16 = 1;
pub(super) const IFLA_INFO_DATA: u16 = 2;
pub(super) const IFLA_INFO_SLAVE_KIND: u16 = 4;
pub(super) const IFLA_INFO_SLAVE_DATA: u16 = 5;
/// Hairpin.
pub(super) const IFLA_BRPORT_MODE: u16 = 4;
pub(super) const IFLA_BR_FORWARD_DELAY: u16 = 1;
pub(super) const IFLA_BR_STP_STATE: u16 = 5;
pub(super) const VETH_INFO_PEER: u16 = 1;
/// Leaves the counters out of a listing.
pub(super) const RTEXT_FILTER_SKIP_STATS: u32 = 1 << 3;

pub(super) const IFA_ADDRESS: u16 = 1;
pub(super) const IFA_LOCAL: u16 = 2;
pub(super) const IFA_BROADCAST: u16 = 4;
/// No duplicate address detection: the address is usable at once.
pub(super) const IFA_F_NODAD: u8 = 0x02;

pub(super) const RTA_DST: u16 = 1;
pub(super) const RTA_OIF: u16 = 4;
pub(super) const RTA_GATEWAY: u16 = 5;
pub(super) const RT_TABLE_MAIN: u8 = 254;
pub(super) const RTPROT_BOOT: u8 = 3;
/// Learnt from a router advertisement.
pub(super) const RTPROT_RA: u8 = 9;
pub(super) const RTN_UNICAST: u8 = 1;

pub(super) const AF_INET: u8 = 2;
pub(super) const AF_INET6: u8 = 10;

/// The loopback is the first interface of every network namespace (`LOOPBACK_IFINDEX`).
pub(super) const LOOPBACK_INDEX: u32 = 1;

/// Lengths of the fixed headers.
pub(super) const IFINFOMSG_BYTES: usize = 16;
pub(super) const IFADDRMSG_BYTES: usize = 8;
pub(super) const RTMSG_BYTES: usize = 12;

/// What an interface's header asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Leave it as it is.
    Same,
    /// Put it up.
    Up,
}

/// `struct ifinfomsg`.
pub(super) fn ifinfomsg(index: u32, state: State) -> [u8; IFINFOMSG_BYTES] {
    let mut header = [0; IFINFOMSG_BYTES];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    if state == State::Up {
        // `ifi_flags` and `ifi_change`: IFF_UP.
        header[8..12].copy_from_slice(&1_u32.to_ne_bytes());
        header[12..16].copy_from_slice(&1_u32.to_ne_bytes());
    }
    header
}

/// `struct ifaddrmsg` of an address with global scope.
pub(super) fn ifaddrmsg(family: u8, bits: u8, flags: u8, index: u32) -> [u8; IFADDRMSG_BYTES] {
    let [a, b, c, d] = index.to_ne_bytes();
    [family, bits, flags, 0, a, b, c, d]
}

/// `struct rtmsg` of a default route in the main table.
pub(super) fn rtmsg_default(family: u8) -> [u8; RTMSG_BYTES] {
    let mut header = [0; RTMSG_BYTES];
    header[0] = family;
    header[4] = RT_TABLE_MAIN;
    header[5] = RTPROT_BOOT;
    header[7] = RTN_UNICAST;
    header
}
