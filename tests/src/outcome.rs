//! What a finished command left: its exit status, its two streams, and checks that print all of it.

use serde_json::Value;

/// A finished command.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The command line, for messages.
    pub line: String,
    /// The exit code; 128+n if signal n ended the command itself.
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Outcome {
    /// It succeeded.
    #[track_caller]
    pub fn ok(self) -> Self {
        self.code(0)
    }

    /// It ended with exactly this code.
    #[track_caller]
    pub fn code(self, code: i32) -> Self {
        assert!(
            self.code == code,
            "expected exit code {code}, got {}\n{}",
            self.code,
            self.told()
        );
        self
    }

    /// It failed, with `code`, an `error:` line that holds each of `words`, and no panic or trace.
    #[track_caller]
    pub fn refused(self, code: i32, words: &[&str]) -> Self {
        let it = self.code(code);
        assert!(it.err.contains("error: "), "no error line\n{}", it.told());
        let lower = it.err.to_lowercase();
        for word in words {
            assert!(
                lower.contains(&word.to_lowercase()),
                "the error does not say {word:?}\n{}",
                it.told()
            );
        }
        assert!(!it.err.contains("panicked at"), "a panic\n{}", it.told());
        it
    }

    /// The error comes with a hint.
    #[track_caller]
    pub fn hinted(self) -> Self {
        assert!(self.err.contains("hint: "), "no hint\n{}", self.told());
        self
    }

    /// Standard output is exactly `text` plus one newline.
    #[track_caller]
    pub fn prints(self, text: &str) -> Self {
        assert!(
            self.out == format!("{text}\n"),
            "expected {text:?} on standard output\n{}",
            self.told()
        );
        self
    }

    /// Standard output without surrounding white space.
    pub fn text(&self) -> &str {
        self.out.trim()
    }

    /// Standard output as lines.
    pub fn lines(&self) -> Vec<&str> {
        self.out.lines().collect()
    }

    /// Standard output as one JSON document.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out)
            .unwrap_or_else(|error| panic!("not JSON: {error}\n{}", self.told()))
    }

    /// Standard output as one JSON document per line.
    #[track_caller]
    pub fn json_lines(&self) -> Vec<Value> {
        let parse = |line| {
            serde_json::from_str(line)
                .unwrap_or_else(|error| panic!("not JSON: {error}\n{}", self.told()))
        };
        self.out.lines().map(parse).collect()
    }

    /// Everything there is to know, for a message.
    pub fn told(&self) -> String {
        format!(
            "$ {}\nexit code: {}\n--- stdout\n{}--- stderr\n{}---",
            self.line, self.code, self.out, self.err
        )
    }
}
