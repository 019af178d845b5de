//! Netlink: how the kernel is told about links, addresses, routes and packet filters.
//!
//! [`Requests`] builds one or many messages, [`Socket`] sends them in a single system call and
//! checks every answer, [`Messages`] and [`Attributes`] read what comes back. The protocols that
//! ride on it (rtnetlink, nf_tables, conntrack) belong to the room `net`; nothing here knows them.
//!
//! Sources: netlink(7), `linux/netlink.h`, `linux/netfilter/nfnetlink.h`.

mod error;
mod message;
mod namespace;
mod parse;
mod socket;

pub use error::{Error, Refusal};
pub use message::{Message, Requests};
pub use namespace::{own_network_namespace, unshare_network};
pub use parse::{Attribute, Attributes, Malformed, Messages, Reply};
pub use socket::{Protocol, Socket};

/// Flags of a message header (`nlmsg_flags`, netlink(7)).
pub mod flag {
    /// This is a request; every message to the kernel carries it.
    pub const REQUEST: u16 = 0x1;
    /// One of several datagrams that [`kind::DONE`](super::kind::DONE) ends.
    pub const MULTI: u16 = 0x2;
    /// Answer with an error message of code 0 when done.
    pub const ACK: u16 = 0x4;
    /// The dump changed under way and must be asked for again.
    pub const DUMP_INTR: u16 = 0x10;
    /// On requests that read: every object, not one.
    pub const DUMP: u16 = 0x300;
    /// On requests that write: refuse with `EEXIST` what exists already.
    pub const EXCL: u16 = 0x200;
    /// On requests that write: create what does not exist.
    pub const CREATE: u16 = 0x400;
    /// On requests that write: put at the end of the list.
    pub const APPEND: u16 = 0x800;
    /// In an acknowledgement: the refused request's payload was left out (`NETLINK_CAP_ACK`).
    pub const CAPPED: u16 = 0x100;
    /// In an acknowledgement: attributes with the reason follow (`NETLINK_EXT_ACK`).
    pub const ACK_TLVS: u16 = 0x200;
}

/// Message types that every netlink protocol shares (`nlmsg_type`, netlink(7)).
pub mod kind {
    /// Nothing.
    pub const NOOP: u16 = 0x1;
    /// An acknowledgement or a refusal.
    pub const ERROR: u16 = 0x2;
    /// The end of a dump.
    pub const DONE: u16 = 0x3;
    /// Opens an nfnetlink transaction (`NFNL_MSG_BATCH_BEGIN`).
    pub const BATCH_BEGIN: u16 = 0x10;
    /// Commits an nfnetlink transaction (`NFNL_MSG_BATCH_END`).
    pub const BATCH_END: u16 = 0x11;
}

/// Length of `struct nlmsghdr`.
const HEADER_BYTES: usize = 16;

/// Messages and attributes begin on multiples of four bytes (`NLMSG_ALIGNTO`, `NLA_ALIGNTO`).
const fn aligned(length: usize) -> usize {
    length.saturating_add(3) & !3
}
