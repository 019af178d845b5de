//! The one table from what went wrong to the exit status of the process, Docker's numbers.

use gamut_spec::Kind;

/// What was asked for, as far as the exit status depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// `run`: its status is that of the workload, so the engine's own failures are 125.
    Run,
    /// `exec`, and `start` with a terminal: the workload's status, but failures are 1.
    Attached,
    /// `exists`: 1 is an answer, so failures are 125.
    Question,
    /// Everything else.
    Other,
}

/// How far it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The words on the command line could not be understood.
    Flags,
    /// The engine could not do it.
    Engine,
    /// The workload's own command could not be started.
    Command,
}

/// The status of success.
pub const SUCCESS: u8 = 0;

/// The exit status for a failure.
pub fn status(verb: Verb, stage: Stage, kind: Kind) -> u8 {
    match (stage, verb, kind) {
        (Stage::Command, Verb::Run | Verb::Attached, Kind::NotFound) => 127,
        (Stage::Command, Verb::Run | Verb::Attached, _) => 126,
        (Stage::Flags, ..) | (_, Verb::Run | Verb::Question, _) => 125,
        (_, Verb::Attached | Verb::Other, _) => 1,
    }
}

/// The shell's status for a process that a signal ended.
pub fn of_signal(signal: u8) -> u8 {
    128u8.saturating_add(signal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dockers_numbers() {
        assert_eq!(status(Verb::Run, Stage::Engine, Kind::NotFound), 125);
        assert_eq!(status(Verb::Run, Stage::Command, Kind::NotFound), 127);
        assert_eq!(status(Verb::Run, Stage::Command, Kind::Denied), 126);
        assert_eq!(status(Verb::Attached, Stage::Command, Kind::NotFound), 127);
        assert_eq!(status(Verb::Attached, Stage::Engine, Kind::NotFound), 1);
        assert_eq!(status(Verb::Other, Stage::Engine, Kind::Unavailable), 1);
        assert_eq!(status(Verb::Other, Stage::Flags, Kind::Invalid), 125);
        assert_eq!(
            status(Verb::Question, Stage::Engine, Kind::Unavailable),
            125
        );
        assert_eq!(of_signal(9), 137);
    }
}
