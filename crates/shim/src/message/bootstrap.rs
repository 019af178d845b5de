//! What `start` and `-info` read and answer: `api/runtime/bootstrap/v1/bootstrap.proto` (containerd 2.3 and
//! later; before, `start` reads an `Any` and answers JSON) and `api/types/introspection.proto`.

use super::Any;

/// `containerd.runtime.bootstrap.v1.BootstrapParams`, as far as we read it; the rest comes as flags too.
#[derive(Clone, PartialEq, prost::Message)]
pub struct BootstrapParams {
    #[prost(string, tag = "1")]
    pub instance_id: String,
    #[prost(string, tag = "2")]
    pub namespace: String,
    #[prost(string, tag = "5")]
    pub ttrpc_address: String,
    #[prost(string, tag = "6")]
    pub grpc_address: String,
    #[prost(message, repeated, tag = "8")]
    pub extensions: Vec<Extension>,
    /// Where the shim puts its socket; empty: `/run/containerd/s`.
    #[prost(string, tag = "9")]
    pub socket_dir: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Extension {
    #[prost(message, optional, tag = "1")]
    pub value: Option<Any>,
}

/// `BootstrapResult`; before containerd 2.3 the same in JSON.
#[derive(Clone, PartialEq, prost::Message, serde::Serialize)]
pub struct BootstrapResult {
    #[prost(int32, tag = "1")]
    pub version: i32,
    #[prost(string, tag = "2")]
    pub address: String,
    #[prost(string, tag = "3")]
    pub protocol: String,
}

/// `containerd.types.RuntimeInfo`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RuntimeInfo {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(message, optional, tag = "2")]
    pub version: Option<RuntimeVersion>,
    #[prost(message, optional, tag = "3")]
    pub options: Option<Any>,
    /// A `features` document of the OCI runtime specification, in JSON.
    #[prost(message, optional, tag = "4")]
    pub features: Option<Any>,
}

#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct RuntimeVersion {
    #[prost(string, tag = "1")]
    pub version: String,
    #[prost(string, tag = "2")]
    pub revision: String,
}
