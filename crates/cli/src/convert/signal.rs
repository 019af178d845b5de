//! Signals by name (`TERM`, `SIGTERM`, `RTMIN+1`) or number.

use gamut_plan::request::Signal;
use gamut_plan::signal;

use super::ArgumentError;

/// A name in either case, with or without `SIG`, or a number from 1 to 64.
pub fn parse_signal(text: &str) -> Result<Signal, ArgumentError> {
    signal::number(text)
        .and_then(|number| u8::try_from(number).ok())
        .map(Signal)
        .ok_or_else(|| ArgumentError::Signal {
            text: text.to_owned(),
        })
}

/// `SIGTERM`, `SIGRTMIN+2`.
pub fn signal_name(signal: Signal) -> String {
    signal::name(i32::from(signal.0))
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
