//! Numbers of `linux/netfilter/nf_tables.h` and `linux/netfilter/nfnetlink.h`.

/// The subsystem's number, and what a message of it begins with (`struct nfgenmsg`) for the
/// family `inet`, which holds IPv4 and IPv6 alike.
pub(super) const NFNL_SUBSYS_NFTABLES: u8 = 10;
pub(super) const NFGENMSG_INET: [u8; 4] = [1, 0, 0, 0];
/// The same for the family `netdev`: what one link receives and sends.
pub(super) const NFGENMSG_NETDEV: [u8; 4] = [5, 0, 0, 0];
pub(super) const NFGENMSG_BYTES: usize = 4;

/// The `nlmsg_type` of a message of the subsystem.
pub(super) const fn kind(message: u16) -> u16 {
    (NFNL_SUBSYS_NFTABLES as u16) << 8 | message
}

pub(super) const NEWTABLE: u16 = kind(0);
pub(super) const GETTABLE: u16 = kind(1);
pub(super) const DELTABLE: u16 = kind(2);
pub(super) const NEWCHAIN: u16 = kind(3);
pub(super) const GETCHAIN: u16 = kind(4);
pub(super) const NEWRULE: u16 = kind(6);
pub(super) const DELRULE: u16 = kind(8);
pub(super) const NEWSET: u16 = kind(9);
pub(super) const NEWSETELEM: u16 = kind(12);
pub(super) const GETSETELEM: u16 = kind(13);
pub(super) const DELSETELEM: u16 = kind(14);
pub(super) const NEWGEN: u16 = kind(15);
pub(super) const GETGEN: u16 = kind(16);

/// `enum nft_list_attributes`.
pub(super) const LIST_ELEM: u16 = 1;

/// `enum nft_table_attributes`.
pub(super) mod table {
    pub(in crate::nft) const NAME: u16 = 1;
    pub(in crate::nft) const FLAGS: u16 = 2;
}

/// `enum nft_chain_attributes`, `enum nft_hook_attributes`.
pub(super) mod chain {
    pub(in crate::nft) const TABLE: u16 = 1;
    pub(in crate::nft) const NAME: u16 = 3;
    pub(in crate::nft) const HOOK: u16 = 4;
    pub(in crate::nft) const POLICY: u16 = 5;
    pub(in crate::nft) const TYPE: u16 = 7;
    pub(in crate::nft) const HOOK_NUMBER: u16 = 1;
    pub(in crate::nft) const HOOK_PRIORITY: u16 = 2;
    pub(in crate::nft) const HOOK_DEVICE: u16 = 3;
}

/// `enum nft_rule_attributes`.
pub(super) mod rule {
    pub(in crate::nft) const TABLE: u16 = 1;
    pub(in crate::nft) const CHAIN: u16 = 2;
    pub(in crate::nft) const EXPRESSIONS: u16 = 4;
}

/// `enum nft_set_attributes`, `enum nft_set_flags`.
pub(super) mod set {
    pub(in crate::nft) const TABLE: u16 = 1;
    pub(in crate::nft) const NAME: u16 = 2;
    pub(in crate::nft) const FLAGS: u16 = 3;
    pub(in crate::nft) const KEY_TYPE: u16 = 4;
    pub(in crate::nft) const KEY_LEN: u16 = 5;
    pub(in crate::nft) const DATA_TYPE: u16 = 6;
    pub(in crate::nft) const DATA_LEN: u16 = 7;
    pub(in crate::nft) const DESCRIPTION: u16 = 9;
    pub(in crate::nft) const DESCRIPTION_SIZE: u16 = 1;
    pub(in crate::nft) const ID: u16 = 10;
    pub(in crate::nft) const USERDATA: u16 = 13;
    pub(in crate::nft) const FLAG_TIMEOUT: u32 = 0x10;
    pub(in crate::nft) const FLAG_EVAL: u32 = 0x20;
    pub(in crate::nft) const FLAG_INTERVAL: u32 = 0x4;
    pub(in crate::nft) const FLAG_MAP: u32 = 0x8;
}

/// `enum nft_set_elem_list_attributes`, `enum nft_set_elem_attributes`, `enum nft_data_attributes`.
pub(super) mod element {
    pub(in crate::nft) const LIST_TABLE: u16 = 1;
    pub(in crate::nft) const LIST_SET: u16 = 2;
    pub(in crate::nft) const LIST_ELEMENTS: u16 = 3;
    pub(in crate::nft) const KEY: u16 = 1;
    pub(in crate::nft) const DATA: u16 = 2;
    pub(in crate::nft) const FLAGS: u16 = 3;
    pub(in crate::nft) const TIMEOUT: u16 = 4;
    pub(in crate::nft) const USERDATA: u16 = 6;
    pub(in crate::nft) const FLAG_INTERVAL_END: u32 = 0x1;
    pub(in crate::nft) const VALUE: u16 = 1;
    /// The comment within user data, as the program `nft` writes and shows it
    /// (`NFTNL_UDATA_SET_ELEM_COMMENT` in libnftnl): type, length, text with its NUL.
    pub(in crate::nft) const USERDATA_COMMENT: u8 = 0;
}

/// `enum nft_gen_attributes`.
pub(super) mod generation {
    pub(in crate::nft) const ID: u16 = 1;
}
