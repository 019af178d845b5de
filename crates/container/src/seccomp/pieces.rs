//! Functions that are constant over ranges: of call numbers, of an argument, of half an argument.

use super::rule::{Action, Case, Test};

/// A function of a word: `(where a range begins, its value)`, ascending, the first from 0; a range
/// ends where the next begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pieces<W, V>(Vec<(W, V)>);

impl<W: Copy + Ord, V: PartialEq> Pieces<W, V> {
    pub(super) const fn new() -> Self {
        Self(Vec::new())
    }

    /// From `start` on it is `value`. `start` is not below any earlier one; an equal one is
    /// replaced.
    pub(super) fn push(&mut self, start: W, value: V) {
        if self.0.last().is_some_and(|last| last.0 == start) {
            self.0.pop();
        }
        if self.0.last().is_none_or(|last| last.1 != value) {
            self.0.push((start, value));
        }
    }

    pub(super) fn as_slice(&self) -> &[(W, V)] {
        &self.0
    }
}

/// The cases of a call as a function of one argument: which argument, and its pieces. `None`
/// unless every case is a plain comparison of that one argument.
pub(super) fn of_argument(
    cases: &[Case<'_>],
    default: Action,
) -> Option<(u8, Pieces<u64, Action>)> {
    let argument = cases.first()?.conditions.first()?.argument;
    let mut starts = vec![0];
    for case in cases {
        let [condition] = &*case.conditions else {
            return None;
        };
        if condition.argument != argument {
            return None;
        }
        match condition.test {
            Test::Eq(value) | Test::Ne(value) => {
                starts.push(value);
                starts.extend(value.checked_add(1));
            }
            Test::Lt(value) | Test::Ge(value) => starts.push(value),
            Test::Le(value) | Test::Gt(value) => starts.extend(value.checked_add(1)),
            Test::Masked { .. } => return None,
        }
    }
    starts.sort_unstable();
    starts.dedup();
    let mut pieces = Pieces::new();
    for start in starts {
        let decides = cases
            .iter()
            .find(|case| case.conditions[0].test.holds(start));
        pieces.push(start, decides.map_or(default, |case| case.action));
    }
    Some((argument, pieces))
}

/// What the upper half of a 64-bit argument leaves open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Lower {
    /// Nothing: this is the verdict.
    Fixed(Action),
    /// The lower half decides.
    Open(Pieces<u32, Action>),
}

/// A function of 64 bits as a function of the upper half whose values are functions of the lower.
pub(super) fn by_halves(pieces: &Pieces<u64, Action>) -> Pieces<u32, Lower> {
    let halves = |value: u64| ((value >> 32) as u32, value as u32);
    let mut upper = Pieces::new();
    let mut at = 0;
    let slice = pieces.as_slice();
    while let Some(&(start, _)) = slice.get(at) {
        let (high, _) = halves(start);
        let mut lower = Pieces::new();
        if let Some(before) = at.checked_sub(1) {
            lower.push(0, slice[before].1);
        }
        while let Some(&(start, action)) = slice.get(at).filter(|piece| halves(piece.0).0 == high) {
            lower.push(halves(start).1, action);
            at += 1;
        }
        let after = slice[at - 1].1;
        let fixed = match lower.as_slice() {
            [(_, only)] => Some(*only),
            _ => None,
        };
        upper.push(high, fixed.map_or(Lower::Open(lower), Lower::Fixed));
        let next_is_own = slice
            .get(at)
            .is_some_and(|piece| halves(piece.0).0 == high.wrapping_add(1));
        if high != u32::MAX && !next_is_own {
            upper.push(high + 1, Lower::Fixed(after));
        }
    }
    upper
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seccomp::Condition;
    use std::borrow::Cow;

    const NO: Action = Action::Errno(1);

    fn case(test: Test, action: Action) -> Case<'static> {
        Case {
            conditions: Cow::Owned(vec![Condition { argument: 2, test }]),
            action,
        }
    }

    #[test]
    fn neighbours_of_one_value_join() {
        let cases = [
            case(Test::Lt(12), Action::Allow),
            case(Test::Eq(12), Action::Allow),
            case(Test::Eq(14), Action::Log),
            case(Test::Ge(14), Action::Trap),
        ];
        let (argument, pieces) = of_argument(&cases, NO).unwrap();
        assert_eq!(argument, 2);
        assert_eq!(
            pieces.as_slice(),
            [
                (0, Action::Allow),
                (13, NO),
                (14, Action::Log),
                (15, Action::Trap)
            ]
        );
    }

    #[test]
    fn the_edges_of_64_bits() {
        let cases = [case(Test::Eq(u64::MAX), Action::Allow)];
        let (_, pieces) = of_argument(&cases, NO).unwrap();
        assert_eq!(pieces.as_slice(), [(0, NO), (u64::MAX, Action::Allow)]);
        let halves = by_halves(&pieces);
        assert_eq!(halves.as_slice().len(), 2);
        let (_, always) = of_argument(&[case(Test::Le(u64::MAX), Action::Allow)], NO).unwrap();
        assert_eq!(always.as_slice(), [(0, Action::Allow)]);
        let (_, never) = of_argument(&[case(Test::Gt(u64::MAX), Action::Allow)], NO).unwrap();
        assert_eq!(never.as_slice(), [(0, NO)]);
    }

    #[test]
    fn halves_say_the_same() {
        let edges = [
            0,
            1,
            5,
            0xffff_ffff,
            0x1_0000_0000,
            0x1_0000_0001,
            0x2_0000_0000,
            0x5_0000_0000,
            0x5_0000_0007,
            u64::MAX,
        ];
        for &from in &edges {
            for &to in &edges {
                let cases = [
                    case(Test::Lt(from), Action::Allow),
                    case(Test::Ge(to), Action::Log),
                    case(Test::Eq(0x5_0000_0003), Action::Trap),
                ];
                let (_, pieces) = of_argument(&cases, NO).unwrap();
                let halves = by_halves(&pieces);
                for &edge in &edges {
                    for value in [edge.saturating_sub(1), edge, edge.saturating_add(1)] {
                        assert_eq!(at_halves(&halves, value), at(&pieces, value), "{value:#x}");
                    }
                }
            }
        }
    }

    fn at<W: Copy + Ord, V: Clone + PartialEq>(pieces: &Pieces<W, V>, value: W) -> V {
        let slice = pieces.as_slice();
        slice[slice.partition_point(|piece| piece.0 <= value) - 1]
            .1
            .clone()
    }

    fn at_halves(halves: &Pieces<u32, Lower>, value: u64) -> Action {
        match at(halves, (value >> 32) as u32) {
            Lower::Fixed(action) => action,
            Lower::Open(lower) => at(&lower, value as u32),
        }
    }
}
