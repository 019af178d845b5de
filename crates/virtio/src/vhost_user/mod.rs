//! Devices across processes: the vhost-user protocol, as QEMU's `docs/interop/vhost-user.rst` has it.
//!
//! [`server`] serves any device of this room to a machine in another process, which is QEMU; [`front`] is a
//! device whose queues another process serves, which is the file system's server. Both are by hand and not
//! the crate `vhost`'s: a dozen messages of fixed shape, and here they neither wait for the other side nor
//! need a second idea of guest memory.
//!
//! A front end has the guest's memory and the driver's wishes, a back end has the device. Guest memory and
//! notifications are descriptors that come along with messages of a stream socket.

pub mod front;
mod message;
mod ring;
pub mod server;
mod socket;
mod table;

pub use message::Request;
pub use socket::SocketError;

/// Offered by a back end among the device's features: what follows is spoken of with
/// [`message::Request::GetProtocolFeatures`]. The driver never sees it.
const F_PROTOCOL_FEATURES: u64 = 1 << 30;

// Protocol features.
/// [`message::Request::GetQueueNum`].
const P_MQ: u64 = 1 << 0;
/// Any message may ask to be answered.
const P_REPLY_ACK: u64 = 1 << 3;
/// The back end has the configuration.
const P_CONFIG: u64 = 1 << 9;

#[cfg(test)]
mod tests;
