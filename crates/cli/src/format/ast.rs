//! The tree of a template.

use serde_json::Value;

#[derive(Debug, Clone)]
pub(super) enum Node {
    Text(String),
    /// A pipeline whose value is printed, unless it declares a variable.
    Print(Pipeline),
    If(Vec<Branch>),
    With(Vec<Branch>),
    Range {
        pipeline: Pipeline,
        body: Vec<Node>,
        otherwise: Vec<Node>,
    },
    Break,
    Continue,
}

/// One arm of `if`/`else if`/`else`; the last `else` has no condition.
#[derive(Debug, Clone)]
pub(super) struct Branch {
    pub(super) condition: Option<Pipeline>,
    pub(super) body: Vec<Node>,
}

#[derive(Debug, Clone)]
pub(super) struct Pipeline {
    pub(super) at: usize,
    /// `$x :=`, `$x =`, or `$key, $value :=` in a `range`; without the `$`.
    pub(super) variables: Vec<String>,
    pub(super) binding: Binding,
    /// At least one.
    pub(super) commands: Vec<Command>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Binding {
    Declare,
    Assign,
}

/// A function or a field with its arguments, or one operand alone; at least one word.
#[derive(Debug, Clone)]
pub(super) struct Command {
    pub(super) words: Vec<Operand>,
}

#[derive(Debug, Clone)]
pub(super) struct Operand {
    pub(super) at: usize,
    pub(super) base: Base,
    /// `.A.B` after the base.
    pub(super) fields: Vec<String>,
}

#[derive(Debug, Clone)]
pub(super) enum Base {
    Dot,
    Variable(String),
    Literal(Value),
    Function(String),
    Parenthesis(Box<Pipeline>),
}
