//! Compiled programs against the plain reading of their policies, call by call.

use gamut_sys::seccomp::{MAX_INSTRUCTIONS, Program};

use super::interp::{Answer, Call, run};
use super::{
    Action, Arch, Condition, KernelVersion, Policy, Rule, SeccompError, Subject, Syscall, Test,
    compile,
};
use crate::caps::{CapSet, Capability};

fn subject(caps: CapSet, arch: Arch) -> Subject {
    Subject {
        caps,
        arch,
        kernel: KernelVersion {
            version: 6,
            patchlevel: 18,
        },
    }
}

/// A small generator with a fixed start: the same cases in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.roll() >> 33).unwrap() % end
    }

    fn one_of<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    /// A value near one that a test may be about.
    fn value(&mut self) -> u64 {
        let base = self.one_of(&[
            0,
            1,
            8,
            40,
            0x2_0000,
            0x7e02_0000,
            0xffff_ffff,
            0x1_0000_0000,
            0x1_0000_0028,
            0x7fff_ffff_ffff_ffff,
            u64::MAX,
        ]);
        match self.below(4) {
            0 => base.wrapping_add(1),
            1 => base.wrapping_sub(1),
            2 => self.roll() >> self.below(64),
            _ => base,
        }
    }

    fn test(&mut self) -> Test {
        let value = self.value();
        match self.below(7) {
            0 => Test::Eq(value),
            1 => Test::Ne(value),
            2 => Test::Lt(value),
            3 => Test::Le(value),
            4 => Test::Gt(value),
            5 => Test::Ge(value),
            _ => {
                let mask = self.value().max(1);
                let value = if self.below(2) == 0 { 0 } else { value & mask };
                Test::Masked { mask, value }
            }
        }
    }

    fn action(&mut self) -> Action {
        self.one_of(&[
            Action::Allow,
            Action::Allow,
            Action::Errno(1),
            Action::Errno(38),
            Action::Log,
            Action::Trace(7),
            Action::Notify,
            Action::Trap,
            Action::KillThread,
            Action::KillProcess,
        ])
    }

    fn policy(&mut self, rules: usize) -> Policy {
        let native = self.one_of(&[Arch::X86_64, Arch::Aarch64, Arch::X86]);
        let mut policy = Policy::new(
            native,
            self.one_of(&[Action::Allow, Action::Errno(1), Action::Trap]),
        );
        for arch in native.companions() {
            if self.below(3) > 0 {
                policy.arches.push(*arch);
            }
        }
        let calls: Vec<Syscall> = Syscall::all().collect();
        let few = 1 + self.below(calls.len());
        let one_argument = self.below(2) == 0;
        for _ in 0..rules {
            let count = self.one_of(&[0, 0, 1, 1, 2, 3]);
            let first = u8::try_from(self.below(6)).unwrap();
            let conditions = (0..count)
                .map(|at| Condition {
                    argument: if one_argument { 0 } else { (first + at) % 6 },
                    test: self.test(),
                })
                .take(if one_argument { 1 } else { 3 })
                .collect();
            policy.rules.push(Rule {
                call: calls[self.below(few)],
                action: self.action(),
                conditions,
            });
        }
        policy
    }
}

/// Every jump stays inside and every path ends with a verdict, as the kernel demands.
fn assert_sound(program: &Program) {
    let code = program.instructions();
    assert_eq!(code.last().unwrap().code, 0x06);
    for (at, instruction) in code.iter().enumerate() {
        let left = code.len() - at - 1;
        match instruction.code {
            0x06 => {}
            0x05 => assert!((instruction.k as usize) < left, "{at}"),
            code if code & 0x07 == 0x05 => {
                assert!(
                    usize::from(instruction.jt) < left && usize::from(instruction.jf) < left,
                    "{at}"
                );
            }
            _ => assert!(left > 0),
        }
    }
}

/// Numbers worth asking about: all that exist, and the borders of the word.
fn numbers(arch: Arch) -> impl Iterator<Item = u32> {
    let private = [0xf_0001, 0xf_0005, 0xf_0006, 0xf_0007];
    let borders = [0x3fff_ffff, 0xbfff_ffff];
    (0..600)
        .chain(private)
        .chain(borders)
        .map(move |number| arch.base() + number)
}

fn assert_same(
    policy: &Policy,
    program: &Program,
    audit: u32,
    number: u32,
    arguments: [u64; 6],
) -> Answer {
    let call = Call {
        audit,
        number,
        arguments,
    };
    let answer = run(program.instructions(), &call);
    let expected = policy.evaluate(audit, number, &arguments);
    assert_eq!(answer.value, expected.value(), "{call:x?}: {expected:?}");
    answer
}

/// Arguments as `arch` can pass them: some near the tests of the rules, some at random.
fn arguments(dice: &mut Dice, policy: &Policy, arch: Arch) -> [u64; 6] {
    std::array::from_fn(|_| {
        let near = (!policy.rules.is_empty() && dice.below(2) == 0)
            .then(|| dice.below(policy.rules.len()))
            .and_then(|rule| policy.rules[rule].conditions.first())
            .map(|condition| match condition.test {
                Test::Eq(value)
                | Test::Ne(value)
                | Test::Lt(value)
                | Test::Le(value)
                | Test::Gt(value)
                | Test::Ge(value)
                | Test::Masked { value, .. } => value,
            });
        let value = match near {
            Some(value) => value
                .wrapping_add(u64::try_from(dice.below(3)).unwrap())
                .wrapping_sub(1),
            None => dice.value(),
        };
        if arch.has_narrow_arguments() {
            value & 0xffff_ffff
        } else {
            value
        }
    })
}

fn assert_agrees(policy: &Policy, dice: &mut Dice, rounds: usize) {
    let program = compile(policy).unwrap();
    assert_sound(&program);
    for arch in Arch::ALL {
        for number in numbers(arch) {
            for _ in 0..rounds {
                let arguments = arguments(dice, policy, arch);
                assert_same(policy, &program, arch.audit(), number, arguments);
            }
        }
    }
    for number in [0, u32::MAX] {
        assert_same(policy, &program, Arch::X86_64.audit(), number, [0; 6]);
        assert_same(policy, &program, 0x1234, number, [0; 6]);
    }
}

#[test]
fn the_default_agrees_for_every_call() {
    let mut dice = Dice(1);
    for caps in [
        CapSet::DOCKER_DEFAULT,
        CapSet::EMPTY,
        CapSet::ALL,
        CapSet::of(&[Capability::SysAdmin]),
        CapSet::of(&[Capability::SysPtrace, Capability::Bpf, Capability::SysTime]),
    ] {
        for arch in [Arch::X86_64, Arch::Aarch64] {
            assert_agrees(&Policy::docker_default(&subject(caps, arch)), &mut dice, 2);
        }
    }
}

#[test]
fn random_policies_agree() {
    let mut dice = Dice(2);
    for rules in [0, 1, 2, 3, 5, 8, 20, 60, 150, 300] {
        for _ in 0..6 {
            let policy = dice.policy(rules);
            match compile(&policy) {
                Ok(_) => assert_agrees(&policy, &mut dice, 1),
                Err(error) => assert!(matches!(error, SeccompError::TooLong(_)), "{error}"),
            }
        }
    }
}

/// Far jumps: more code between a branch and its targets than 8 bits can skip.
#[test]
fn long_programs_agree() {
    let mut dice = Dice(3);
    let mut policy = Policy::new(Arch::X86_64, Action::Errno(1));
    policy.arches.push(Arch::X86);
    for (at, call) in Syscall::all().enumerate().filter(|(at, _)| at % 2 == 0) {
        for argument in 0..2 {
            policy.rules.push(Rule {
                call,
                action: if at % 3 == 0 {
                    Action::Log
                } else {
                    Action::Allow
                },
                conditions: vec![Condition {
                    argument,
                    test: Test::Eq(0x1_0000_0000 + at as u64),
                }],
            });
        }
    }
    let length = compile(&policy).unwrap().instructions().len();
    assert!(length > 2000, "{length}");
    assert_agrees(&policy, &mut dice, 2);
}

#[test]
fn a_program_that_is_too_long_is_refused() {
    let mut policy = Policy::new(Arch::X86_64, Action::Errno(1));
    for (at, call) in Syscall::all().enumerate() {
        for value in 0..2 {
            let test = |argument| Condition {
                argument,
                test: Test::Eq(at as u64 * 4 + value),
            };
            policy.rules.push(Rule {
                call,
                action: Action::Allow,
                conditions: vec![test(0), test(1)],
            });
        }
    }
    let error = compile(&policy).unwrap_err();
    assert!(
        error.to_string().contains("the kernel takes 4096"),
        "{error}"
    );
    assert!(matches!(error, SeccompError::TooLong(count) if count > MAX_INSTRUCTIONS));
}

/// The kernel skips the filter for calls of which it can see beforehand that they are allowed:
/// those decided by architecture and number alone.
#[test]
fn unconditional_calls_are_constant_and_short() {
    for arch in [Arch::X86_64, Arch::Aarch64] {
        let policy = Policy::docker_default(&subject(CapSet::DOCKER_DEFAULT, arch));
        let program = compile(&policy).unwrap();
        let (mut steps, mut calls, mut conditional) = (0, 0, 0);
        for call in Syscall::all() {
            let Some(number) = call.number(arch) else {
                continue;
            };
            let answer = assert_same(&policy, &program, arch.audit(), number, [0; 6]);
            let looks = ["clone", "personality", "socket"].contains(&call.name());
            assert_eq!(answer.is_constant, !looks, "{}", call.name());
            if looks {
                conditional += answer.steps;
            } else {
                assert!(answer.steps <= 14, "{} walks {}", call.name(), answer.steps);
                steps += answer.steps;
                calls += 1;
            }
        }
        assert!(steps <= 12 * calls, "on average {steps}/{calls}");
        let length = program.instructions().len();
        eprintln!("{arch}: {length} instructions, {steps} for {calls} calls, {conditional} for 3");
        assert!(length < 800, "{length}");
    }
}

/// A change here changes what cached programs must say: raise `REVISION` in `default.rs` (the data)
/// or in `cache.rs` (the compiler), then put the new sum here.
#[test]
fn cached_programs_of_this_revision_are_these() {
    let policy = Policy::docker_default(&subject(CapSet::DOCKER_DEFAULT, Arch::X86_64));
    let sum = compile(&policy)
        .unwrap()
        .instructions()
        .iter()
        .flat_map(|one| {
            [
                u64::from(one.code),
                u64::from(one.jt),
                u64::from(one.jf),
                u64::from(one.k),
            ]
        })
        .fold(0xcbf2_9ce4_8422_2325_u64, |sum, part| {
            (sum ^ part).wrapping_mul(0x100_0000_01b3)
        });
    assert_eq!(sum, 0x4073_c970_7862_1791, "{sum:#x}");
}
