//! An interpreter for the classic BPF that the compiler writes: the oracle of its tests.

use gamut_sys::seccomp::Instruction;

/// What a program is shown: `struct seccomp_data` without the instruction pointer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call {
    pub audit: u32,
    pub number: u32,
    pub arguments: [u64; 6],
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Answer {
    /// The verdict.
    pub value: u32,
    /// Instructions walked.
    pub steps: usize,
    /// Whether only the architecture and the number were looked at, so that the kernel can know
    /// the verdict beforehand (`seccomp_is_const_allow`).
    pub is_constant: bool,
}

/// Runs `program` on `call`; panics where the kernel would refuse the program.
pub(super) fn run(program: &[Instruction], call: &Call) -> Answer {
    let (mut at, mut steps, mut accumulator, mut is_constant) = (0, 0, 0_u32, true);
    loop {
        let Instruction { code, jt, jf, k } = program[at];
        steps += 1;
        at += 1;
        let jump = |condition: bool| usize::from(if condition { jt } else { jf });
        match code {
            0x20 => {
                is_constant &= k == 0 || k == 4;
                accumulator = load(call, k);
            }
            0x54 => accumulator &= k,
            0x05 => at += k as usize,
            0x15 => at += jump(accumulator == k),
            0x25 => at += jump(accumulator > k),
            0x35 => at += jump(accumulator >= k),
            0x45 => at += jump(accumulator & k != 0),
            0x06 => {
                return Answer {
                    value: k,
                    steps,
                    is_constant,
                };
            }
            _ => panic!("instruction {code:#x} at {at}"),
        }
    }
}

fn load(call: &Call, offset: u32) -> u32 {
    assert!(offset.is_multiple_of(4) && offset < 64);
    match offset {
        0 => call.number,
        4 => call.audit,
        8 | 12 => panic!("the instruction pointer is not looked at"),
        _ => {
            let bytes = call.arguments[(offset as usize - 16) / 8].to_ne_bytes();
            let from = offset as usize % 8;
            u32::from_ne_bytes(bytes[from..from + 4].try_into().unwrap())
        }
    }
}
