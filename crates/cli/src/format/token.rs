//! The words of a template.

/// One token and the byte offset where it starts.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Token {
    pub(super) at: usize,
    pub(super) kind: TokenKind,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum TokenKind {
    /// Text outside of actions, trimmed.
    Text(String),
    /// `{{`
    Open,
    /// `}}`
    Close,
    /// `.`
    Dot,
    /// `.Name`; `glued` when no space divides it from what is before.
    Field {
        name: String,
        glued: bool,
    },
    /// `$name`, without the `$`.
    Variable(String),
    Word(String),
    String(String),
    Integer(i64),
    Float(f64),
    Pipe,
    LeftParenthesis,
    RightParenthesis,
    Comma,
    /// `:=`
    Declare,
    /// `=`
    Assign,
}
