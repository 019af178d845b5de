//! Compact indexes: packs of 16 in 32 bytes, or of two in eight. A pack is fields of equal length, of a few
//! bits each, and the address of the block before its first physical cluster; what the full form says of
//! each cluster follows from its neighbours (`unpack_compacted_index` in the kernel's fs/erofs/zmap.c).

use crate::erofs::format::{BLOCK_COUNT, ClusterIndex, Head};

/// Bytes of the address at the end of a pack.
const ADDRESS_BYTES: usize = 4;
/// Bits of a field's value, at least: [`BLOCK_COUNT`] is one of them.
const VALUE_BITS: u32 = 12;

/// See the module.
#[derive(Debug)]
pub(super) struct Pack<'p> {
    bytes: &'p [u8],
    /// Fields.
    count: usize,
    /// Bits of each.
    field_bits: usize,
    /// Bits of its value; two of type come after them.
    value_bits: u32,
    /// Physical clusters may have several blocks.
    big: bool,
}

/// A field: what is in a cluster, and where the extent begins or how far away it does.
#[derive(Debug, Clone, Copy)]
enum Field {
    Head(Head, u16),
    Inside(u16),
}

impl<'p> Pack<'p> {
    /// A pack of 32 bytes or of 8. `cluster_bits` is log2 of the bytes of a logical cluster.
    pub(super) fn new(bytes: &'p [u8], cluster_bits: u32, big: bool) -> Self {
        let count = if bytes.len() == 32 { 16 } else { 2 };
        Self {
            bytes,
            count,
            field_bits: (bytes.len() - ADDRESS_BYTES) * 8 / count,
            value_bits: cluster_bits.max(VALUE_BITS),
            big,
        }
    }

    /// What the pack says of one of its clusters. `None`: it contradicts itself.
    pub(super) fn index(&self, number: usize) -> Option<ClusterIndex> {
        let value = match self.field(number) {
            Field::Head(head, offset) => {
                return Some(ClusterIndex::Head {
                    head,
                    partial: false,
                    offset,
                    block: self.address()?.checked_add(self.blocks_before(number)?)?,
                });
            }
            Field::Inside(value) => value,
        };
        let is_last = number + 1 == self.count;
        let back = match value & BLOCK_COUNT {
            // The last one has the way ahead instead; the way back is that of the one before, and one.
            0 if is_last => match self.field(number - 1) {
                Field::Head(..) => 1,
                Field::Inside(value) if value & BLOCK_COUNT != 0 => 2,
                Field::Inside(value) => value + 1,
            },
            _ => value,
        };
        let ahead = self.ahead(number);
        Some(ClusterIndex::Inside { back, ahead })
    }

    fn field(&self, number: usize) -> Field {
        let bit = number * self.field_bits;
        let word = self.bytes[bit / 8..].first_chunk::<4>();
        // There are four bytes after the fields.
        let bits = word.map_or(0, |word| u32::from_le_bytes(*word)) >> (bit % 8);
        // At most 14 bits.
        let value = (bits & ((1 << self.value_bits) - 1)) as u16;
        match bits >> self.value_bits & 3 {
            0 => Field::Head(Head::Plain, value),
            1 => Field::Head(Head::First, value),
            2 => Field::Inside(value),
            _ => Field::Head(Head::Second, value),
        }
    }

    fn address(&self) -> Option<u32> {
        let address = self.bytes.last_chunk::<ADDRESS_BYTES>()?;
        Some(u32::from_le_bytes(*address))
    }

    /// How far ahead the next head is, as far as the pack knows.
    fn ahead(&self, number: usize) -> u16 {
        let mut ahead = 0;
        for number in number..self.count {
            match self.field(number) {
                Field::Head(..) => break,
                Field::Inside(value) if number + 1 == self.count && value & BLOCK_COUNT == 0 => {
                    ahead += value;
                }
                Field::Inside(_) => ahead += 1,
            }
        }
        ahead
    }

    /// Blocks between the pack's address and a head's physical cluster.
    fn blocks_before(&self, number: usize) -> Option<u32> {
        let mut at = number;
        let mut blocks = u32::from(!self.big);
        while at > 0 {
            at -= 1;
            match self.field(at) {
                Field::Head(..) => blocks += 1,
                Field::Inside(value) if !self.big => {
                    // The head, which is a block, if it is in this pack.
                    match at.checked_sub(value.into()) {
                        Some(head) => (at, blocks) = (head, blocks + 1),
                        None => break,
                    }
                }
                // The one before is the head, wherever it is.
                Field::Inside(value) if value & BLOCK_COUNT != 0 => {
                    blocks += u32::from(value & !BLOCK_COUNT);
                    at = at.saturating_sub(1);
                }
                // To the one after the head, which counts.
                Field::Inside(value) => {
                    at = at.saturating_sub(usize::from(value).checked_sub(2)?);
                }
            }
        }
        Some(blocks)
    }
}
