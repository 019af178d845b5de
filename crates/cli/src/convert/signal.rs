//! Signals by name (`TERM`, `SIGTERM`, `RTMIN+1`) or number.

use super::ArgumentError;
use gamut_plan::request::Signal;

/// Names in the order of their numbers from 1, on every architecture gamut runs on (signal(7)).
#[rustfmt::skip]
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
    "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
    "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];
/// The C library keeps 32 and 33 for itself; programs count their real-time signals from 34.
const REALTIME_FIRST: u8 = 34;
const LAST: u8 = 64;

/// A name in either case, with or without `SIG`, or a number from 1 to 64.
pub fn parse_signal(text: &str) -> Result<Signal, ArgumentError> {
    by_number(text)
        .or_else(|| by_name(text))
        .map(Signal)
        .ok_or_else(|| ArgumentError::Signal {
            text: text.to_owned(),
        })
}

/// `SIGTERM`, `SIGRTMIN+2`.
pub fn signal_name(signal: Signal) -> String {
    match NAMES.get(usize::from(signal.0.wrapping_sub(1))) {
        Some(name) => format!("SIG{name}"),
        None if signal.0 == REALTIME_FIRST => "SIGRTMIN".to_owned(),
        None if signal.0 > REALTIME_FIRST => format!("SIGRTMIN+{}", signal.0 - REALTIME_FIRST),
        None => format!("signal {}", signal.0),
    }
}

fn by_number(text: &str) -> Option<u8> {
    text.parse()
        .ok()
        .filter(|number| (1..=LAST).contains(number))
}

fn by_name(text: &str) -> Option<u8> {
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(index) = NAMES.iter().position(|known| *known == name) {
        return u8::try_from(index + 1).ok();
    }
    match name {
        "IOT" => return Some(6),
        "CLD" => return Some(17),
        "POLL" => return Some(29),
        "RTMIN" => return Some(REALTIME_FIRST),
        "RTMAX" => return Some(LAST),
        _ => {}
    }
    let number = if let Some(above) = name.strip_prefix("RTMIN+") {
        REALTIME_FIRST.checked_add(above.parse().ok()?)?
    } else {
        LAST.checked_sub(name.strip_prefix("RTMAX-")?.parse().ok()?)?
    };
    (REALTIME_FIRST..=LAST).contains(&number).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_mean_the_same() {
        for (text, number) in [
            ("9", 9),
            ("KILL", 9),
            ("sigterm", 15),
            ("Winch", 28),
            ("POLL", 29),
            ("RTMIN", 34),
            ("SIGRTMIN+3", 37),
            ("RTMAX-1", 63),
            ("64", 64),
        ] {
            assert_eq!(parse_signal(text), Ok(Signal(number)), "{text}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "", "0", "65", "-9", "TERMX", "SIG", "RTMIN+31", "RTMAX-31", "RTMIN+", "300",
        ] {
            assert!(parse_signal(text).is_err(), "{text}");
        }
    }

    #[test]
    fn numbers_have_names() {
        assert_eq!(signal_name(Signal(15)), "SIGTERM");
        assert_eq!(signal_name(Signal(36)), "SIGRTMIN+2");
        assert_eq!(signal_name(Signal(33)), "signal 33");
    }
}
