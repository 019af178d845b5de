//! From a policy to a program.
//!
//! The program asks for the architecture first, the machine's own before the others. Each kernel
//! architecture then has one tree over the 32 bits of the call's number, x32 being a range of
//! x86_64's. A tree's inner nodes are `number >= K`, chosen so that both sides cover about as many
//! existing numbers; its leaves are verdicts or, for the few calls whose arguments matter, blocks
//! that look at them. A block over one argument is a tree again, over the halves of the argument.

use gamut_sys::seccomp::Program;

use super::assemble::{Assembler, Compare, Entry, Word};
use super::pieces::{Lower, Pieces, by_halves, of_argument};
use super::rule::Case;
use super::{Action, Arch, Condition, Policy, SeccompError, Test};

/// The program that answers as [`Policy::evaluate`] does.
///
/// # Errors
/// [`SeccompError::TooLong`].
pub fn compile(policy: &Policy) -> Result<Program, SeccompError> {
    let mut compiler = Compiler {
        policy,
        assembler: Assembler::default(),
        lists: Vec::new(),
        blocks: Vec::new(),
    };
    let mut audits: Vec<u32> = Vec::new();
    for arch in &policy.arches {
        if !audits.contains(&arch.audit()) {
            audits.push(arch.audit());
        }
    }
    let mut entry = compiler.assembler.verdict(policy.foreign_action);
    for audit in audits.into_iter().rev() {
        let tree = compiler.numbers(audit);
        let tree = compiler.assembler.anyhow(tree);
        entry = compiler
            .assembler
            .branch(Word::ARCH, Compare::Eq, audit, tree, entry);
    }
    compiler.assembler.finish(entry)
}

/// What a range of numbers comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leaf {
    Fixed(Action),
    /// The arguments decide: an index into the compiler's lists.
    Cases(usize),
}

/// Cases of a call whose arguments matter, on an architecture with wide or narrow arguments.
#[derive(Debug, PartialEq)]
struct List<'a> {
    cases: Vec<Case<'a>>,
    is_narrow: bool,
}

struct Compiler<'a> {
    policy: &'a Policy,
    assembler: Assembler,
    lists: Vec<List<'a>>,
    /// Where the block of each list begins, if it has been written.
    blocks: Vec<Option<Entry>>,
}

/// Numbers that exist or will soon; only they count when a tree is balanced.
const POPULATED: u64 = 512;

impl<'a> Compiler<'a> {
    /// The tree over the numbers that come with `audit`.
    fn numbers(&mut self, audit: u32) -> Entry {
        let listed = |arch: &Arch| arch.audit() == audit;
        let arches: Vec<Arch> = self.policy.arches.iter().copied().filter(listed).collect();
        let mut pieces = Pieces::new();
        pieces.push(0, Leaf::Fixed(self.policy.foreign_action));
        let x32 = arches.contains(&Arch::X32);
        for arch in arches.iter().filter(|arch| **arch != Arch::X32) {
            self.arch(*arch, &mut pieces);
        }
        if x32 {
            self.arch(Arch::X32, &mut pieces);
        } else if arches.contains(&Arch::X86_64) {
            pieces.push(Arch::X32.base(), Leaf::Fixed(self.policy.foreign_action));
            pieces.push(u32::MAX, Leaf::Fixed(self.policy.default_action));
        }
        let weigh = |start: u32, end: u64| {
            let start = u64::from(start);
            1 + 64 * end.min(POPULATED).saturating_sub(start)
        };
        self.tree(Word::NUMBER, pieces.as_slice(), &weigh, &Self::leaf)
    }

    /// Appends what `arch` does with its numbers.
    fn arch(&mut self, arch: Arch, pieces: &mut Pieces<u32, Leaf>) {
        let policy = self.policy;
        let mut cases: Vec<(u32, Case<'a>)> = policy.cases(arch).collect();
        cases.sort_by_key(|(number, _)| *number); // stable: a number's cases stay in order
        let newest = policy.newest(arch);
        let unruled = |number: u32| match newest {
            Some(newest) if number > newest => Leaf::Fixed(policy.unheard_action()),
            _ => Leaf::Fixed(policy.default_action),
        };
        let base = arch.base();
        pieces.push(base, unruled(0));
        // Above the newest number the gaps change; arm's private calls may still follow.
        let mut change = newest.map(|newest| newest + 1);
        let mut cases = cases.into_iter().peekable();
        while let Some((number, first)) = cases.next() {
            let mut own = vec![first];
            while let Some((_, next)) = cases.next_if(|(of, _)| *of == number) {
                own.push(next);
            }
            if let Some(change) = change.take_if(|change| *change <= number) {
                pieces.push(base + change, unruled(change));
            }
            pieces.push(base + number, self.settle(own, arch));
            pieces.push(base + number + 1, unruled(number + 1));
        }
        if let Some(change) = change {
            pieces.push(base + change, unruled(change));
        }
    }

    /// What the cases of one number come to.
    fn settle(&mut self, cases: Vec<Case<'a>>, arch: Arch) -> Leaf {
        if let Some(always) = cases.iter().find(|case| case.conditions.is_empty()) {
            return Leaf::Fixed(always.action);
        }
        let list = List {
            cases,
            is_narrow: arch.has_narrow_arguments(),
        };
        let known = self.lists.iter().position(|other| *other == list);
        Leaf::Cases(known.unwrap_or_else(|| {
            self.lists.push(list);
            self.blocks.push(None);
            self.lists.len() - 1
        }))
    }

    /// A balanced tree over the ranges of a word.
    fn tree<V: PartialEq>(
        &mut self,
        word: Word,
        pieces: &[(u32, V)],
        weigh: &dyn Fn(u32, u64) -> u64,
        leaf: &dyn Fn(&mut Self, &V) -> Entry,
    ) -> Entry {
        self.subtree(word, pieces, 1 << 32, weigh, leaf)
    }

    /// The part of a tree over `pieces`, the last of which ends before `end`.
    fn subtree<V: PartialEq>(
        &mut self,
        word: Word,
        pieces: &[(u32, V)],
        end: u64,
        weigh: &dyn Fn(u32, u64) -> u64,
        leaf: &dyn Fn(&mut Self, &V) -> Entry,
    ) -> Entry {
        match pieces {
            [(_, only)] => {
                let entry = leaf(self, only);
                self.assembler.with(entry, word)
            }
            // An island of one number in a range: one comparison instead of two.
            [(_, sea), (island, inner), (after, same)] if sea == same && island + 1 == *after => {
                let other = leaf(self, sea);
                let other = self.assembler.with(other, word);
                let then = leaf(self, inner);
                let then = self.assembler.with(then, word);
                self.assembler
                    .branch(word, Compare::Eq, *island, then, other)
            }
            _ => {
                let at = split_point(pieces, end, weigh);
                let (below, above) = pieces.split_at(at);
                let border = above[0].0;
                let then = self.subtree(word, above, end, weigh, leaf);
                let other = self.subtree(word, below, u64::from(border), weigh, leaf);
                self.assembler
                    .branch(word, Compare::Ge, border, then, other)
            }
        }
    }

    fn leaf(&mut self, leaf: &Leaf) -> Entry {
        match *leaf {
            Leaf::Fixed(action) => self.assembler.verdict(action),
            Leaf::Cases(list) => {
                if let Some(entry) = self.blocks[list] {
                    return entry;
                }
                let entry = self.block(list);
                let entry = self.assembler.anyhow(entry);
                self.blocks[list] = Some(entry);
                entry
            }
        }
    }

    /// Looks at the arguments.
    fn block(&mut self, list: usize) -> Entry {
        let default = self.policy.default_action;
        let List { cases, is_narrow } = &self.lists[list];
        let is_narrow = *is_narrow;
        if let Some((argument, pieces)) = of_argument(cases, default) {
            return self.one_argument(argument, &pieces, is_narrow);
        }
        let cases = cases.clone();
        let mut entry = self.assembler.verdict(default);
        for case in cases.iter().rev() {
            let otherwise = entry;
            entry = self.assembler.verdict(case.action);
            for condition in case.conditions.iter().rev() {
                entry = self.condition(*condition, is_narrow, entry, otherwise);
                entry = self.assembler.anyhow(entry);
            }
        }
        entry
    }

    /// A tree over one argument: over its upper half, then over its lower one.
    fn one_argument(
        &mut self,
        argument: u8,
        pieces: &Pieces<u64, Action>,
        is_narrow: bool,
    ) -> Entry {
        let lower = |compiler: &mut Self, lower: &Lower| match lower {
            Lower::Fixed(action) => compiler.assembler.verdict(*action),
            Lower::Open(pieces) => compiler.tree(
                Word::low(argument),
                pieces.as_slice(),
                &|_, _| 1,
                &|compiler, action| compiler.assembler.verdict(*action),
            ),
        };
        let upper = by_halves(pieces);
        if is_narrow {
            // The upper half is always zero, and the first piece begins there.
            return lower(self, &upper.as_slice()[0].1);
        }
        self.tree(Word::high(argument), upper.as_slice(), &|_, _| 1, &lower)
    }

    /// `then` if the condition holds, else `other`; both take any accumulator.
    fn condition(
        &mut self,
        condition: Condition,
        is_narrow: bool,
        then: Entry,
        other: Entry,
    ) -> Entry {
        let argument = condition.argument;
        let (compare, value, then, other) = match condition.test {
            Test::Eq(value) => (Compare::Eq, value, then, other),
            Test::Ne(value) => (Compare::Eq, value, other, then),
            Test::Gt(value) => (Compare::Gt, value, then, other),
            Test::Le(value) => (Compare::Gt, value, other, then),
            Test::Ge(value) => (Compare::Ge, value, then, other),
            Test::Lt(value) => (Compare::Ge, value, other, then),
            Test::Masked { mask, value } => {
                return self.masked(argument, mask, value, is_narrow, then, other);
            }
        };
        let (high, low) = halves(value);
        if is_narrow && high != 0 {
            return other; // no 32-bit argument is equal to or above such a value
        }
        let assembler = &mut self.assembler;
        let entry = assembler.branch(Word::low(argument), compare, low, then, other);
        if is_narrow {
            return entry;
        }
        let entry = assembler.anyhow(entry);
        let word = Word::high(argument);
        let entry = assembler.branch(word, Compare::Eq, high, entry, other);
        if compare == Compare::Eq {
            return entry;
        }
        assembler.branch(word, Compare::Gt, high, then, entry)
    }

    fn masked(
        &mut self,
        argument: u8,
        mask: u64,
        value: u64,
        is_narrow: bool,
        then: Entry,
        other: Entry,
    ) -> Entry {
        let ((mask_high, mask_low), (high, low)) = (halves(mask), halves(value));
        if is_narrow && high != 0 {
            return other;
        }
        let mut entry = then;
        if mask_low != 0 {
            let word = Word::low(argument);
            entry = self.assembler.masked(word, mask_low, low, then, other);
        }
        if mask_high != 0 && !is_narrow {
            entry = self.assembler.anyhow(entry);
            let word = Word::high(argument);
            entry = self.assembler.masked(word, mask_high, high, entry, other);
        }
        entry
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the halves are what is wanted"
)]
const fn halves(value: u64) -> (u32, u32) {
    ((value >> 32) as u32, value as u32)
}

/// Where to cut `pieces` so that both sides weigh about the same; at least one stays on each side.
fn split_point<V>(pieces: &[(u32, V)], end: u64, weigh: &dyn Fn(u32, u64) -> u64) -> usize {
    let weights: Vec<u64> = pieces
        .iter()
        .enumerate()
        .map(|(at, (start, _))| {
            let next = pieces.get(at + 1).map_or(end, |next| u64::from(next.0));
            weigh(*start, next)
        })
        .collect();
    let total: u64 = weights.iter().sum();
    let mut below = 0;
    let mut best = (u64::MAX, 1);
    for (at, weight) in weights.iter().enumerate().take(pieces.len() - 1) {
        below += weight;
        best = best.min((below.abs_diff(total - below), at + 1));
    }
    best.1
}
