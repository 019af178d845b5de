//! A [`DevicePolicy`] as an eBPF program, for cgroup v2, which has no devices controller.
//!
//! The kernel runs the program on each open and mknod of a device and gives it
//! `struct bpf_cgroup_dev_ctx` (include/uapi/linux/bpf.h): three 32-bit words, the first with the
//! kind in its low and the access in its high half, then major and minor. It returns 1 to allow.

use gamut_sys::bpf::Insn;

use super::device_policy::{Access, DeviceKind, DevicePolicy, DeviceRule, Verdict};

/// Instruction classes and operations (Documentation/bpf/standardization/instruction-set.rst).
const LOAD_WORD: u8 = 0x61; // LDX | MEM | W
const AND_CONSTANT: u8 = 0x54; // ALU (32 bits) | AND | K
const SHIFT_RIGHT: u8 = 0x74; // ALU | RSH | K
const MOVE_REGISTER: u8 = 0xbc; // ALU | MOV | X
const MOVE_CONSTANT: u8 = 0xb4; // ALU | MOV | K
const JUMP_EQUAL: u8 = 0x16; // JMP32 | JEQ | K
const JUMP_UNEQUAL: u8 = 0x56; // JMP32 | JNE | K
const JUMP_UNEQUAL_REGISTER: u8 = 0x5e; // JMP32 | JNE | X
const EXIT: u8 = 0x95;

/// Registers: r0 is the result, r1 the context.
const RESULT: u8 = 0;
const CONTEXT: u8 = 1;
const KIND: u8 = 2;
const ACCESS: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;
const SCRATCH: u8 = 6;

/// `BPF_DEVCG_DEV_*` and `BPF_DEVCG_ACC_*`.
const DEV_BLOCK: i32 = 1;
const DEV_CHAR: i32 = 2;
const ACC_MKNOD: i32 = 1;
const ACC_READ: i32 = 2;
const ACC_WRITE: i32 = 4;

/// Writes the program. Its length is linear in the number of exceptions.
pub(super) fn assemble(policy: &DevicePolicy) -> Vec<Insn> {
    let mut program = vec![
        register(LOAD_WORD, KIND, CONTEXT, 0),
        register(MOVE_REGISTER, ACCESS, KIND, 0),
        constant(AND_CONSTANT, KIND, 0xffff),
        constant(SHIFT_RIGHT, ACCESS, 16),
        register(LOAD_WORD, MAJOR, CONTEXT, 4),
        register(LOAD_WORD, MINOR, CONTEXT, 8),
    ];
    let otherwise = i32::from(policy.verdict == Verdict::Allow);
    for rule in &policy.exceptions {
        exception(&mut program, rule, policy.verdict);
    }
    program.push(constant(MOVE_CONSTANT, RESULT, otherwise));
    program.push(constant(EXIT, 0, 0));
    program
}

/// Returns the opposite verdict if the rule matches, and falls through if it doesn't.
fn exception(program: &mut Vec<Insn>, rule: &DeviceRule, verdict: Verdict) {
    let start = program.len();
    let kind = match rule.kind {
        DeviceKind::Block => DEV_BLOCK,
        DeviceKind::Char => DEV_CHAR,
    };
    program.push(constant(JUMP_UNEQUAL, KIND, kind));
    if rule.access != Access::ALL {
        program.push(register(MOVE_REGISTER, SCRATCH, ACCESS, 0));
        program.push(constant(AND_CONSTANT, SCRATCH, access_bits(rule.access)));
        program.push(match verdict {
            // All of the access must be in the rule.
            Verdict::Deny => register(JUMP_UNEQUAL_REGISTER, SCRATCH, ACCESS, 0),
            // Any of it is too much.
            Verdict::Allow => constant(JUMP_EQUAL, SCRATCH, 0),
        });
    }
    // An immediate is compared as 32 bits, so a number above i32::MAX keeps its bits.
    let numbers = [(MAJOR, rule.major), (MINOR, rule.minor)];
    for (place, number) in numbers {
        program.extend(number.map(|number| constant(JUMP_UNEQUAL, place, number as i32)));
    }
    let result = i32::from(verdict == Verdict::Deny);
    program.push(constant(MOVE_CONSTANT, RESULT, result));
    program.push(constant(EXIT, 0, 0));
    let end = program.len();
    for (at, insn) in program.iter_mut().enumerate().skip(start) {
        if matches!(insn.code, JUMP_EQUAL | JUMP_UNEQUAL | JUMP_UNEQUAL_REGISTER) {
            // At most eight instructions away.
            insn.offset = (end - at - 1) as i16;
        }
    }
}

fn access_bits(access: Access) -> i32 {
    let mut bits = 0;
    for (one, bit) in [
        (Access::MKNOD, ACC_MKNOD),
        (Access::READ, ACC_READ),
        (Access::WRITE, ACC_WRITE),
    ] {
        if access.covers(one) {
            bits |= bit;
        }
    }
    bits
}

fn constant(code: u8, destination: u8, immediate: i32) -> Insn {
    Insn {
        code,
        registers: destination,
        offset: 0,
        immediate,
    }
}

fn register(code: u8, destination: u8, source: u8, offset: i16) -> Insn {
    Insn {
        code,
        registers: destination | source << 4,
        offset,
        immediate: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::super::device_policy::default_rules;
    use super::*;

    /// Runs a program on a context of three words.
    fn interpret(program: &[Insn], context: [u32; 3]) -> u64 {
        let mut registers = [0u64; 11];
        let mut at = 0usize;
        loop {
            let insn = program[at];
            at += 1;
            let destination = (insn.registers & 15) as usize;
            let source = (insn.registers >> 4) as usize;
            let low = registers[destination] as u32;
            let jump = match insn.code {
                LOAD_WORD => {
                    assert_eq!(source, CONTEXT as usize);
                    registers[destination] = context[insn.offset as usize / 4].into();
                    false
                }
                AND_CONSTANT => {
                    registers[destination] = (low & insn.immediate as u32).into();
                    false
                }
                SHIFT_RIGHT => {
                    registers[destination] = (low >> insn.immediate).into();
                    false
                }
                MOVE_REGISTER => {
                    registers[destination] = registers[source] as u32 as u64;
                    false
                }
                MOVE_CONSTANT => {
                    registers[destination] = insn.immediate as u32 as u64;
                    false
                }
                JUMP_EQUAL => low == insn.immediate as u32,
                JUMP_UNEQUAL => low != insn.immediate as u32,
                JUMP_UNEQUAL_REGISTER => low != registers[source] as u32,
                EXIT => return registers[0],
                code => panic!("unknown instruction {code:#x}"),
            };
            if jump {
                at += insn.offset as usize;
            }
        }
    }

    fn policies() -> Vec<DevicePolicy> {
        let rule = |kind, major, minor, access| DeviceRule {
            kind,
            major,
            minor,
            access,
        };
        let (block, char) = (DeviceKind::Block, DeviceKind::Char);
        let exceptions = vec![
            rule(char, Some(1), Some(3), Access::ALL),
            rule(char, Some(u32::MAX), None, Access::READ),
            rule(block, None, Some(7), Access::READ | Access::MKNOD),
            rule(block, Some(8), None, Access::WRITE),
            rule(char, None, None, Access::MKNOD),
        ];
        vec![
            DevicePolicy::from_oci(&default_rules()).expect("the defaults"),
            DevicePolicy {
                verdict: Verdict::Deny,
                exceptions: exceptions.clone(),
            },
            DevicePolicy {
                verdict: Verdict::Allow,
                exceptions,
            },
            DevicePolicy {
                verdict: Verdict::Deny,
                exceptions: Vec::new(),
            },
            DevicePolicy {
                verdict: Verdict::Allow,
                exceptions: Vec::new(),
            },
        ]
    }

    #[test]
    fn the_program_decides_as_the_policy_does() {
        let numbers = [0, 1, 3, 5, 7, 8, 136, 0x8000_0000, u32::MAX];
        for policy in policies() {
            let program = assemble(&policy);
            for kind in [DeviceKind::Block, DeviceKind::Char] {
                let kind_bits = match kind {
                    DeviceKind::Block => DEV_BLOCK,
                    DeviceKind::Char => DEV_CHAR,
                } as u32;
                for major in numbers {
                    for minor in numbers {
                        for bits in 1..8u8 {
                            let mut access = Access::NONE;
                            for (one, bit) in
                                [(Access::READ, 1), (Access::WRITE, 2), (Access::MKNOD, 4)]
                            {
                                if bits & bit != 0 {
                                    access = access | one;
                                }
                            }
                            let word = kind_bits | (access_bits(access) as u32) << 16;
                            let allowed = interpret(&program, [word, major, minor]) == 1;
                            let expected = policy.allows(kind, major, minor, access);
                            assert_eq!(
                                allowed, expected,
                                "{kind:?} {major}:{minor} {access} under {policy:?}"
                            );
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn the_kernels_verifier_takes_every_program() {
        for policy in policies() {
            match gamut_sys::bpf::load_device_program(&assemble(&policy)) {
                Ok(_) => {}
                Err(refused)
                    if matches!(
                        refused.error.raw_os_error(),
                        Some(libc::EPERM | libc::ENOSYS)
                    ) =>
                {
                    eprintln!("skipped: bpf(2) is not for us here: {refused}");
                    return;
                }
                Err(refused) => panic!("{policy:?}: {refused}\n{}", refused.log),
            }
        }
    }
}
