//! Signal names and numbers of Linux on x86-64 and arm64, signal(7).

/// SIGTERM.
pub const TERM: i32 = 15;
/// SIGKILL.
pub const KILL: i32 = 9;

const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
    "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
    "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

const FIRST_REALTIME: i32 = 34;
const LAST_REALTIME: i32 = 64;

/// The number of a signal given as `9`, `KILL`, `SIGKILL`, `RTMIN+3` or `RTMAX-1`, in any case.
#[must_use]
pub fn number(text: &str) -> Option<i32> {
    if let Ok(number) = text.parse::<i32>() {
        return (1..=LAST_REALTIME).contains(&number).then_some(number);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let realtime = |rest: &str, sign: char, base: i32, step: i32| {
        let offset = if rest.is_empty() {
            0
        } else {
            rest.strip_prefix(sign)?.parse::<i32>().ok()?
        };
        Some(base + step * offset).filter(|n| (FIRST_REALTIME..=LAST_REALTIME).contains(n))
    };
    if let Some(rest) = name.strip_prefix("RTMIN") {
        return realtime(rest, '+', FIRST_REALTIME, 1);
    }
    if let Some(rest) = name.strip_prefix("RTMAX") {
        return realtime(rest, '-', LAST_REALTIME, -1);
    }
    match name {
        "CLD" => Some(17),
        "POLL" => Some(29),
        "IOT" => Some(6),
        _ => NAMES
            .iter()
            .position(|n| *n == name)
            .map(|at| at as i32 + 1),
    }
}

/// `SIGTERM`, or `SIGRTMIN+3`. The C library keeps 32 and 33 for itself: they have a number only.
#[must_use]
pub fn name(number: i32) -> String {
    let named = usize::try_from(number - 1)
        .ok()
        .and_then(|at| NAMES.get(at));
    match named {
        Some(name) => format!("SIG{name}"),
        None if number == FIRST_REALTIME => "SIGRTMIN".to_owned(),
        None if number > FIRST_REALTIME => format!("SIGRTMIN+{}", number - FIRST_REALTIME),
        None => format!("signal {number}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        for (text, expected) in [
            ("9", 9),
            ("KILL", 9),
            ("sigterm", 15),
            ("SIGRTMIN+3", 37),
            ("RTMAX-1", 63),
            ("RTMIN", 34),
            ("SYS", 31),
        ] {
            assert_eq!(number(text), Some(expected), "{text}");
        }
        for text in ["", "0", "65", "NOPE", "RTMIN+99", "RTMIN3", "-1"] {
            assert_eq!(number(text), None, "{text}");
        }
        assert_eq!(name(15), "SIGTERM");
        assert_eq!(name(37), "SIGRTMIN+3");
    }
}
