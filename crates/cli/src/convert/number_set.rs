//! Lists of CPUs and memory nodes in the kernel's form: `0-3,5` (cpuset(7), "List format").

use std::collections::BTreeSet;

use super::ArgumentError;

/// The numbers of one `--cpuset-…`. A type of its own because clap reads a set as "many values".
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NumberSet(pub BTreeSet<u32>);

/// The largest `CONFIG_NR_CPUS` is 8,192.
const CPU_MAXIMUM: u32 = 8_191;
/// The largest `CONFIG_NODES_SHIFT` is 10.
const NODE_MAXIMUM: u32 = 1_023;

/// CPUs; an empty text is an empty set, which limits nothing.
pub fn parse_cpu_set(text: &str) -> Result<NumberSet, ArgumentError> {
    parse(text, CPU_MAXIMUM)
}

/// Memory nodes.
pub fn parse_node_set(text: &str) -> Result<NumberSet, ArgumentError> {
    parse(text, NODE_MAXIMUM)
}

fn parse(text: &str, maximum: u32) -> Result<NumberSet, ArgumentError> {
    let invalid = || ArgumentError::NumberSet {
        text: text.to_owned(),
    };
    let number = |part: &str| -> Result<u32, ArgumentError> {
        if part.is_empty() || !part.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(invalid());
        }
        let number: u64 = part.parse().map_err(|_| invalid())?;
        match u32::try_from(number) {
            Ok(small) if small <= maximum => Ok(small),
            _ => Err(ArgumentError::NumberSetTooLarge {
                text: text.to_owned(),
                number,
                maximum,
            }),
        }
    };
    let mut set = BTreeSet::new();
    for part in text.split(',').filter(|_| !text.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (number(first.trim())?, number(last.trim())?);
        if first > last {
            return Err(invalid());
        }
        set.extend(first..=last);
    }
    Ok(NumberSet(set))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_and_single_numbers_mix() {
        let set = parse_cpu_set("0-2,5,5").unwrap();
        assert_eq!(set.0, BTreeSet::from([0, 1, 2, 5]));
        assert_eq!(parse_cpu_set(""), Ok(NumberSet::default()));
    }

    #[test]
    fn nonsense_is_refused_without_filling_memory() {
        for text in ["a", "1-", "-1", "3-1", "1,,2", "0-4294967295", "8192"] {
            assert!(parse_cpu_set(text).is_err(), "{text}");
        }
        assert!(parse_node_set("1024").is_err());
    }
}
