//! From the numbers of the OCI runtime specification, which are those of cgroup v1, to v2's.

use super::error::CgroupError;

/// `cpu.shares` (2 to 262144, usually 1024) as `cpu.weight` (1 to 10000, usually 100).
///
/// This is the conversion of runc ≥ 1.3.2 and crun ≥ 1.23
/// (<https://github.com/opencontainers/cgroups/pull/20>): the power of ten of a quadratic in
/// log2(shares) that meets minimum, usual value and maximum. The linear one it replaced made 39
/// of 1024, so that every container had a third of the weight of a process beside it.
pub(crate) fn cpu_weight(shares: u64) -> u64 {
    if shares <= 2 {
        return 1;
    }
    if shares >= 262_144 {
        return 10_000;
    }
    let log = (shares as f64).log2();
    let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
    (10f64.powf(exponent).ceil() as u64).clamp(1, 10_000)
}

/// `blkio.weight` (10 to 1000) as `io.weight` (1 to 10000), linear as in runc and crun
/// (`ConvertBlkIOToIOWeightValue`). `io.bfq.weight` takes the v1 number unchanged.
pub(crate) fn io_weight(weight: u16) -> u64 {
    1 + (u64::from(weight.clamp(10, 1000)) - 10) * 9999 / 990
}

/// What a limit in bytes, pages or tasks says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bound {
    Unlimited,
    At(u64),
}

impl Bound {
    /// OCI: -1 is unlimited; 0 and nothing at all leave the limit as it is (`None`).
    pub(crate) fn from_oci(
        limit: &'static str,
        value: Option<i64>,
    ) -> Result<Option<Self>, CgroupError> {
        match value {
            None | Some(0) => Ok(None),
            Some(-1) => Ok(Some(Self::Unlimited)),
            Some(value) => match u64::try_from(value) {
                Ok(value) => Ok(Some(Self::At(value))),
                Err(_) => Err(CgroupError::InvalidLimit {
                    limit,
                    value: value.to_string(),
                    problem: "only -1 (unlimited) may be negative",
                }),
            },
        }
    }

    pub(super) fn v1(self) -> String {
        match self {
            Self::Unlimited => "-1".to_owned(),
            Self::At(value) => value.to_string(),
        }
    }

    pub(super) fn v2(self) -> String {
        match self {
            Self::Unlimited => "max".to_owned(),
            Self::At(value) => value.to_string(),
        }
    }
}

/// v2's `memory.swap.max`, which counts swap alone, from OCI's sum of memory and swap.
/// `memory` is the limit of memory that holds or will hold.
pub(crate) fn swap_alone(total: Bound, memory: Bound) -> Result<Bound, CgroupError> {
    match (total, memory) {
        (Bound::Unlimited, _) => Ok(Bound::Unlimited),
        // No sum can be taken; runc and crun use the number as it is.
        (Bound::At(total), Bound::Unlimited) => Ok(Bound::At(total)),
        (Bound::At(total), Bound::At(memory)) => match total.checked_sub(memory) {
            Some(swap) => Ok(Bound::At(swap)),
            None => Err(CgroupError::InvalidLimit {
                limit: "memory swap limit",
                value: total.to_string(),
                problem: "it counts memory and swap together, so it cannot be below the memory \
                          limit",
            }),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_meet_the_ends_and_the_usual_value() {
        // The table of opencontainers/cgroups' TestConvertCPUSharesToCgroupV2Value.
        let table = [
            (0, 1),
            (1, 1),
            (2, 1),
            (1024, 100),
            (2000, 170),
            (262_144, 10_000),
        ];
        for (shares, weight) in table {
            assert_eq!(cpu_weight(shares), weight, "{shares}");
        }
        assert_eq!(cpu_weight(u64::MAX), 10_000);
        let weights: Vec<u64> = (2..20_000).map(cpu_weight).collect();
        assert!(weights.is_sorted());
    }

    #[test]
    fn block_weights_meet_both_ends() {
        assert_eq!(io_weight(10), 1);
        assert_eq!(io_weight(1000), 10_000);
        assert_eq!(io_weight(500), 4950);
        assert_eq!(io_weight(0), 1);
    }

    #[test]
    fn swap_is_the_sum_less_memory() {
        let mib = |n: u64| Bound::At(n << 20);
        assert_eq!(swap_alone(mib(300), mib(100)).ok(), Some(mib(200)));
        assert_eq!(swap_alone(mib(100), mib(100)).ok(), Some(Bound::At(0)));
        assert_eq!(
            swap_alone(Bound::Unlimited, mib(100)).ok(),
            Some(Bound::Unlimited)
        );
        assert_eq!(swap_alone(mib(100), Bound::Unlimited).ok(), Some(mib(100)));
        assert!(swap_alone(mib(99), mib(100)).is_err());
    }

    #[test]
    fn zero_is_unset_and_minus_one_unlimited() {
        assert_eq!(Bound::from_oci("x", Some(0)).ok(), Some(None));
        assert_eq!(Bound::from_oci("x", None).ok(), Some(None));
        assert_eq!(
            Bound::from_oci("x", Some(-1)).ok(),
            Some(Some(Bound::Unlimited))
        );
        assert!(Bound::from_oci("x", Some(-2)).is_err());
    }
}
