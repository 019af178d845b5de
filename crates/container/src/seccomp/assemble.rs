//! A classic BPF assembler that works from the last instruction to the first. Every jump goes
//! forward, so that a target's distance is known when the jump is written; where it is too far for
//! the 8 bits of a conditional jump, a nearer copy of the target or a long jump to it is put in.
//!
//! Source: `Documentation/networking/filter.rst` and seccomp(2) of the kernel.

use gamut_sys::seccomp::{Instruction, Program};

use super::{Action, SeccompError};

const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
const AND: u16 = 0x54; // BPF_ALU | BPF_AND | BPF_K
const JUMP: u16 = 0x05; // BPF_JMP | BPF_JA
const RETURN: u16 = 0x06; // BPF_RET | BPF_K

/// A comparison of the accumulator with a constant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compare {
    /// Equal (`BPF_JEQ`).
    Eq = 0x15,
    /// Greater (`BPF_JGT`).
    Gt = 0x25,
    /// Greater or equal (`BPF_JGE`).
    Ge = 0x35,
    /// Some bit in common (`BPF_JSET`).
    AnyBit = 0x45,
}

/// 32 bits of `struct seccomp_data`, by their offset in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Word(u32);

impl Word {
    pub(super) const NUMBER: Self = Self(0);
    pub(super) const ARCH: Self = Self(4);

    /// The lower half of an argument (0 to 5).
    pub(super) const fn low(argument: u8) -> Self {
        Self(Self::argument(argument) + if cfg!(target_endian = "big") { 4 } else { 0 })
    }

    /// The upper half of an argument.
    pub(super) const fn high(argument: u8) -> Self {
        Self(Self::argument(argument) + if cfg!(target_endian = "big") { 0 } else { 4 })
    }

    const fn argument(argument: u8) -> u32 {
        16 + 8 * argument as u32
    }
}

/// A place to go on at, and what the accumulator must hold there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    /// The instruction, counted from the end of the program.
    label: usize,
    needs: Option<Word>,
}

/// The program so far, backwards.
#[derive(Debug, Default)]
pub(super) struct Assembler {
    code: Vec<Instruction>,
    /// The nearest return of each verdict.
    returns: Vec<(u32, usize)>,
}

impl Assembler {
    /// The verdict.
    pub(super) fn verdict(&mut self, action: Action) -> Entry {
        let value = action.value();
        let known = self.returns.iter().find(|(of, _)| *of == value);
        let label = match known {
            Some(&(_, label)) => label,
            None => self.push_return(value),
        };
        Entry { label, needs: None }
    }

    /// `then` if the word compares so with `operand`, else `other`.
    pub(super) fn branch(
        &mut self,
        word: Word,
        compare: Compare,
        operand: u32,
        then: Entry,
        other: Entry,
    ) -> Entry {
        debug_assert!(
            [then, other]
                .iter()
                .all(|e| e.needs.is_none_or(|needs| needs == word))
        );
        Entry {
            label: self.push_branch(compare, operand, then, other),
            needs: Some(word),
        }
    }

    /// `then` if the bits of `mask` in the word are exactly `value`, else `other`.
    pub(super) fn masked(
        &mut self,
        word: Word,
        mask: u32,
        value: u32,
        then: Entry,
        other: Entry,
    ) -> Entry {
        if mask == u32::MAX {
            return self.branch(word, Compare::Eq, value, then, other);
        }
        if value == 0 {
            return self.branch(word, Compare::AnyBit, mask, other, then);
        }
        debug_assert!([then, other].iter().all(|e| e.needs.is_none()));
        self.push_branch(Compare::Eq, value, then, other);
        Entry {
            label: self.push(AND, 0, 0, mask),
            needs: Some(word),
        }
    }

    /// The same place for an accumulator that holds `word`.
    pub(super) fn with(&mut self, entry: Entry, word: Word) -> Entry {
        if entry.needs == Some(word) {
            entry
        } else {
            self.anyhow(entry)
        }
    }

    /// The same place for an accumulator that holds anything.
    pub(super) fn anyhow(&mut self, entry: Entry) -> Entry {
        let Some(word) = entry.needs else {
            return entry;
        };
        self.fall_to(entry.label);
        Entry {
            label: self.push(LOAD, 0, 0, word.0),
            needs: None,
        }
    }

    /// The program that begins at `entry`.
    pub(super) fn finish(mut self, entry: Entry) -> Result<Program, SeccompError> {
        let start = self.anyhow(entry);
        self.fall_to(start.label);
        self.code.reverse();
        Ok(Program::new(self.code)?)
    }

    fn push(&mut self, code: u16, jt: u8, jf: u8, k: u32) -> usize {
        self.code.push(Instruction { code, jt, jf, k });
        self.code.len() - 1
    }

    fn push_return(&mut self, value: u32) -> usize {
        let label = self.push(RETURN, 0, 0, value);
        self.returns.retain(|(of, _)| *of != value);
        self.returns.push((value, label));
        label
    }

    fn push_branch(&mut self, compare: Compare, operand: u32, then: Entry, other: Entry) -> usize {
        let (mut then, mut other) = (then.label, other.label);
        loop {
            // Bringing one near can move the other out of reach by one; then it gets a copy too.
            then = self.near(then);
            other = self.near(other);
            if let (Some(jt), Some(jf)) = (self.short(then), self.short(other)) {
                return self.push(compare as u16, jt, jf, operand);
            }
        }
    }

    /// How many instructions a jump written now skips to get to `label`.
    fn distance(&self, label: usize) -> usize {
        self.code.len() - 1 - label
    }

    fn short(&self, label: usize) -> Option<u8> {
        u8::try_from(self.distance(label)).ok()
    }

    /// `label`, or what leads there from within a conditional jump's reach.
    fn near(&mut self, label: usize) -> usize {
        if self.short(label).is_some() {
            return label;
        }
        match self.code[label] {
            Instruction {
                code: RETURN, k, ..
            } => self.push_return(k),
            _ => self.push_jump(label),
        }
    }

    /// Makes what is written next run on to `label`.
    fn fall_to(&mut self, label: usize) {
        if self.distance(label) > 0 {
            self.push_jump(label);
        }
    }

    fn push_jump(&mut self, label: usize) -> usize {
        // A program that is too long for 32 bits is refused by `finish` for its length.
        let skip = u32::try_from(self.distance(label)).unwrap_or(u32::MAX);
        self.push(JUMP, 0, 0, skip)
    }
}
