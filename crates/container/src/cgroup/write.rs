//! A limit as the kernel wants it: which file gets which value, and what if there is no such file.

use std::borrow::Cow;

use super::dir::Dir;
use super::error::{CgroupError, Warning};

/// One write of one value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Write {
    /// What the user calls it; stands in the warning.
    pub limit: &'static str,
    pub file: Cow<'static, str>,
    pub value: String,
    pub if_missing: IfMissing,
}

/// What to do on a kernel that lacks the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum IfMissing {
    /// The workload runs without this limit, and the user is told.
    Warn,
    /// Nothing is lost: the value says "no limit".
    Ignore,
    /// Another file does it too.
    Try(Box<Write>),
}

impl Write {
    pub(super) fn new(limit: &'static str, file: &'static str, value: impl ToString) -> Self {
        Self {
            limit,
            file: Cow::Borrowed(file),
            value: value.to_string(),
            if_missing: IfMissing::Warn,
        }
    }

    pub(super) fn or_ignore(mut self) -> Self {
        self.if_missing = IfMissing::Ignore;
        self
    }

    pub(super) fn or_try(mut self, other: Self) -> Self {
        self.if_missing = IfMissing::Try(Box::new(other));
        self
    }

    fn carry_out(&self, dir: &Dir, warnings: &mut Vec<Warning>) -> Result<(), CgroupError> {
        match dir.write(&self.file, &self.value) {
            Err(error) if error.is_missing_file() || error.is_missing_scheduler() => {
                match &self.if_missing {
                    IfMissing::Ignore => Ok(()),
                    IfMissing::Try(other) => other.carry_out(dir, warnings),
                    IfMissing::Warn => {
                        warnings.push(Warning::NoFile {
                            limit: self.limit.to_owned(),
                            file: self.file.clone().into_owned(),
                        });
                        Ok(())
                    }
                }
            }
            written => written,
        }
    }
}

/// Carries all of `writes` out. Files of one controller bound each other (memory and memory with
/// swap, quota and period and burst), and which must move first depends on what they hold now:
/// so a value that is refused is tried again after the others, as long as that helps.
pub(super) fn carry_out(
    dir: &Dir,
    writes: &[Write],
    warnings: &mut Vec<Warning>,
) -> Result<(), CgroupError> {
    let mut open: Vec<&Write> = writes.iter().collect();
    while !open.is_empty() {
        let mut refused = Vec::new();
        let mut first_error = None;
        for &write in &open {
            match write.carry_out(dir, warnings) {
                Err(error) if error.is_refused_value() => {
                    first_error.get_or_insert(error);
                    refused.push(write);
                }
                written => written?,
            }
        }
        if let Some(error) = first_error
            && refused.len() == open.len()
        {
            return Err(error);
        }
        open = refused;
    }
    Ok(())
}
