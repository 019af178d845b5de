//! Protobuf messages, written by hand with `prost`'s derive: no protoc and no build script. Each file
//! names the `.proto` whose field numbers it has; fields that nobody here reads or writes are left out,
//! which protobuf allows.

pub mod bootstrap;
pub mod event;
pub mod metrics;
pub mod options;
pub mod rpc;
pub mod task;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// `google.protobuf.Any`: a message with its type's name. containerd also packs JSON documents that way
/// (`typeurl`).
#[derive(Clone, PartialEq, prost::Message)]
pub struct Any {
    #[prost(string, tag = "1")]
    pub type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    pub value: Vec<u8>,
}

impl Any {
    /// Packs `message` under `name`, its full protobuf name.
    pub fn pack(name: &str, message: &impl prost::Message) -> Any {
        Any {
            type_url: name.to_owned(),
            value: message.encode_to_vec(),
        }
    }

    /// The type's name without the host that some writers put before it (`type.googleapis.com/`).
    #[must_use]
    pub fn name(&self) -> &str {
        self.type_url.rsplit('/').next().unwrap_or_default()
    }
}

/// `google.protobuf.Timestamp`: since 1970, in UTC.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Timestamp {
    #[prost(int64, tag = "1")]
    pub seconds: i64,
    #[prost(int32, tag = "2")]
    pub nanos: i32,
}

impl Timestamp {
    #[must_use]
    pub fn now() -> Timestamp {
        let since: Duration = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Timestamp {
            seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
            nanos: i32::try_from(since.subsec_nanos()).unwrap_or(0),
        }
    }
}

/// `google.protobuf.Empty`.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Empty {}
