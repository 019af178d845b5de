//! What other tables of the host do to forwarded packets. An `accept` of ours ends our chain only:
//! where Docker or a firewall drops by default what is forwarded, containers stay cut off.

use gamut_sys::netlink::{Malformed, Reply, Socket, flag};

use super::Table;
use super::uapi::{GETCHAIN, NFGENMSG_BYTES, chain};
use crate::error::NetworkError;

/// `NF_INET_FORWARD`.
const FORWARD: u32 = 2;
/// `NF_DROP`.
const DROP: u32 = 0;

/// A chain that is not ours and drops what is forwarded unless it has a rule to the contrary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DroppingChain {
    /// `ip`, `ip6` or `inet`.
    pub family: &'static str,
    pub table: String,
    pub chain: String,
}

/// The chains of the host whose policy is to drop what is forwarded. Rules of the older iptables
/// (`iptables-legacy`) are not among them: the kernel keeps those elsewhere.
pub fn dropping_chains() -> Result<Vec<DroppingChain>, NetworkError> {
    let mut table = Table::open("")?;
    list(&mut table.socket).map_err(|source| NetworkError::List {
        object: "the packet filter's chains",
        source,
    })
}

fn list(socket: &mut Socket) -> Result<Vec<DroppingChain>, gamut_sys::netlink::Error> {
    let mut all = Vec::new();
    socket.dump(
        |requests| {
            requests.add(GETCHAIN, flag::DUMP, |message| {
                message.raw(&[0; NFGENMSG_BYTES]);
            });
        },
        |reply| {
            match reply {
                Some(reply) => all.extend(read(reply)?),
                None => all.clear(),
            }
            Ok(())
        },
    )?;
    Ok(all)
}

fn read(reply: &Reply<'_>) -> Result<Option<DroppingChain>, Malformed> {
    let family = match reply.payload.first() {
        Some(1) => "inet",
        Some(2) => "ip",
        Some(10) => "ip6",
        Some(_) => return Ok(None),
        None => return Err(Malformed::Content),
    };
    let attributes = reply.attributes(NFGENMSG_BYTES);
    let hook = attributes.find(chain::HOOK);
    let hook = hook.and_then(|hook| hook.nested().find(chain::HOOK_NUMBER)?.be32());
    let policy = attributes
        .find(chain::POLICY)
        .and_then(|policy| policy.be32());
    if (hook, policy) != (Some(FORWARD), Some(DROP)) {
        return Ok(None);
    }
    let name = |kind| {
        let attribute = attributes.find(kind).ok_or(Malformed::Content)?;
        let name = String::from_utf8_lossy(attribute.payload);
        Ok(name.trim_end_matches('\0').to_owned())
    };
    Ok(Some(DroppingChain {
        family,
        table: name(chain::TABLE)?,
        chain: name(chain::NAME)?,
    }))
}
