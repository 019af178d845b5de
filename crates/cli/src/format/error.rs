//! What can be wrong with a template, and where.

use gamut_spec::{Fault, Kind};

/// A problem at a place in the template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("template line {line}, column {column}: {problem}")]
pub struct TemplateError {
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    pub problem: TemplateProblem,
}

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateProblem {
    #[error("the action is not closed; `}}}}` is missing")]
    UnclosedAction,
    #[error("the comment is not closed")]
    UnclosedComment,
    #[error("the quotation is not closed")]
    UnclosedString,
    #[error("the parenthesis is not closed")]
    UnclosedParenthesis,
    #[error("`{0}` is not a number")]
    Number(String),
    #[error("the escape sequence is not known")]
    Escape,
    #[error("unexpected `{0}`")]
    Unexpected(String),
    #[error("something is missing here")]
    Missing,
    #[error("`{0}` has no `end`")]
    NoEnd(&'static str),
    #[error("`{0}` is not supported")]
    Unsupported(String),
    #[error("`{0}` stands outside of a `range`")]
    OutsideRange(String),
    #[error("nested too deeply")]
    TooDeep,
    #[error("function `{0}` is not known")]
    UnknownFunction(String),
    #[error("variable `${0}` is not known")]
    UnknownVariable(String),
    #[error("there is no field `{0}`")]
    NoField(String, Vec<String>),
    #[error("a {1} has no field `{0}`")]
    FieldOf(String, &'static str),
    #[error("`{0}` takes no arguments")]
    TakesNoArguments(String),
    #[error("`{function}` takes {wanted}, not {given}")]
    Arguments {
        function: String,
        wanted: &'static str,
        given: usize,
    },
    #[error("`{function}` cannot take a {given}")]
    Type {
        function: String,
        given: &'static str,
    },
    #[error("`{0}`: the values cannot be compared")]
    Incomparable(String),
    #[error("the index {0} is out of range")]
    Index(String),
    #[error("cannot range over a {0}")]
    Range(&'static str),
    #[error("the template makes too much output or takes too long")]
    TooMuch,
}

impl Fault for TemplateError {
    fn kind(&self) -> Kind {
        Kind::Invalid
    }

    fn hint(&self) -> Option<String> {
        match &self.problem {
            TemplateProblem::NoField(_, known) if !known.is_empty() => {
                Some(format!("there are {}", known.join(", ")))
            }
            TemplateProblem::UnclosedAction | TemplateProblem::UnclosedString => Some(
                "put the template in single quotes, so that the shell leaves it alone".to_owned(),
            ),
            _ => None,
        }
    }
}

/// A problem at a byte offset, before it is given a line and a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) at: usize,
    pub(super) problem: TemplateProblem,
}

impl Found {
    pub(super) fn new(at: usize, problem: TemplateProblem) -> Self {
        Self { at, problem }
    }

    pub(super) fn locate(self, source: &str) -> TemplateError {
        let before = source.get(..self.at).unwrap_or(source);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        TemplateError {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            problem: self.problem,
        }
    }
}
