//! Tokens → tree, by recursive descent of bounded depth.

use serde_json::Value;

use super::ast::{Base, Binding, Branch, Command, Node, Operand, Pipeline};
use super::error::{Found, TemplateProblem as Problem};
use super::token::{Token, TokenKind};

/// Far beyond any template a person writes, far below what the stack can take.
const DEPTH_MAXIMUM: usize = 64;

pub(super) fn parse(tokens: &[Token]) -> Result<Vec<Node>, Found> {
    let mut parser = Parser {
        tokens,
        at: 0,
        depth: 0,
        ranges: 0,
    };
    let (nodes, end) = parser.nodes()?;
    match end {
        Stop::Template => Ok(nodes),
        Stop::Else(at) => Err(Found::new(at, Problem::Unexpected("else".to_owned()))),
        Stop::End(at) => Err(Found::new(at, Problem::Unexpected("end".to_owned()))),
    }
}

struct Parser<'a> {
    tokens: &'a [Token],
    at: usize,
    depth: usize,
    ranges: usize,
}

/// What ended a list of nodes; `else` and `end` by where they stand, already read up to their
/// own word.
enum Stop {
    Template,
    Else(usize),
    End(usize),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Block {
    If,
    With,
    Range,
}

impl Block {
    fn word(self) -> &'static str {
        match self {
            Self::If => "if",
            Self::With => "with",
            Self::Range => "range",
        }
    }
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<&'a TokenKind> {
        self.tokens.get(self.at).map(|token| &token.kind)
    }

    /// Where the next token stands, or the last one at the end.
    fn place(&self) -> usize {
        let token = self.tokens.get(self.at).or_else(|| self.tokens.last());
        token.map_or(0, |token| token.at)
    }

    fn deeper(&mut self) -> Result<(), Found> {
        self.depth += 1;
        match self.depth > DEPTH_MAXIMUM {
            true => Err(Found::new(self.place(), Problem::TooDeep)),
            false => Ok(()),
        }
    }

    fn unexpected(&self) -> Found {
        let problem = match self.peek() {
            None | Some(TokenKind::Close) => Problem::Missing,
            Some(kind) => Problem::Unexpected(describe(kind)),
        };
        Found::new(self.place(), problem)
    }

    fn close(&mut self) -> Result<(), Found> {
        match self.peek() {
            Some(TokenKind::Close) => {
                self.at += 1;
                Ok(())
            }
            _ => Err(self.unexpected()),
        }
    }

    fn nodes(&mut self) -> Result<(Vec<Node>, Stop), Found> {
        let mut nodes = Vec::new();
        while let Some(token) = self.tokens.get(self.at) {
            self.at += 1;
            if let TokenKind::Text(text) = &token.kind {
                if !text.is_empty() {
                    nodes.push(Node::Text(text.clone()));
                }
                continue;
            }
            // After text comes only `{{`.
            let word = match self.peek() {
                Some(TokenKind::Word(word)) => word.as_str(),
                _ => "",
            };
            match word {
                "else" | "end" => {
                    self.at += 1;
                    let end = match word {
                        "else" => Stop::Else(token.at),
                        _ => Stop::End(token.at),
                    };
                    return Ok((nodes, end));
                }
                _ => nodes.push(self.action(word, token.at)?),
            }
        }
        Ok((nodes, Stop::Template))
    }

    fn action(&mut self, word: &str, at: usize) -> Result<Node, Found> {
        let block = match word {
            "if" => Block::If,
            "with" => Block::With,
            "range" => Block::Range,
            "break" | "continue" => {
                self.at += 1;
                self.close()?;
                if self.ranges == 0 {
                    return Err(Found::new(at, Problem::OutsideRange(word.to_owned())));
                }
                return Ok(match word {
                    "break" => Node::Break,
                    _ => Node::Continue,
                });
            }
            "define" | "template" | "block" => {
                return Err(Found::new(at, Problem::Unsupported(word.to_owned())));
            }
            _ => {
                let pipeline = self.pipeline(Block::If)?;
                self.close()?;
                return Ok(Node::Print(pipeline));
            }
        };
        self.at += 1;
        self.deeper()?;
        let node = match block {
            Block::Range => self.range(at)?,
            _ => self.branches(block, at)?,
        };
        self.depth -= 1;
        Ok(node)
    }

    fn range(&mut self, at: usize) -> Result<Node, Found> {
        let pipeline = self.pipeline(Block::Range)?;
        self.close()?;
        self.ranges += 1;
        let (body, end) = self.nodes()?;
        self.ranges -= 1;
        let otherwise = match end {
            Stop::Template => return Err(Found::new(at, Problem::NoEnd("range"))),
            Stop::End(_) => Vec::new(),
            Stop::Else(_) => {
                self.close()?;
                let (otherwise, end) = self.nodes()?;
                if !matches!(end, Stop::End(_)) {
                    return Err(Found::new(at, Problem::NoEnd("range")));
                }
                otherwise
            }
        };
        self.close()?;
        Ok(Node::Range {
            pipeline,
            body,
            otherwise,
        })
    }

    fn branches(&mut self, block: Block, at: usize) -> Result<Node, Found> {
        let mut branches = Vec::new();
        let mut condition = Some(self.pipeline(block)?);
        loop {
            self.close()?;
            let last = condition.is_none();
            let (body, end) = self.nodes()?;
            branches.push(Branch { condition, body });
            match end {
                Stop::End(_) => break,
                Stop::Else(_) if !last => {}
                Stop::Else(at) => {
                    return Err(Found::new(at, Problem::Unexpected("else".to_owned())));
                }
                Stop::Template => return Err(Found::new(at, Problem::NoEnd(block.word()))),
            }
            condition = match self.peek() {
                Some(TokenKind::Word(word)) if word == block.word() => {
                    self.at += 1;
                    Some(self.pipeline(block)?)
                }
                _ => None,
            };
        }
        self.close()?;
        Ok(match block {
            Block::With => Node::With(branches),
            _ => Node::If(branches),
        })
    }

    fn pipeline(&mut self, block: Block) -> Result<Pipeline, Found> {
        let at = self.place();
        let (variables, binding) = self.variables(block)?;
        let mut commands = vec![self.command()?];
        while self.peek() == Some(&TokenKind::Pipe) {
            self.at += 1;
            let command = self.command()?;
            // Go: a value that is no function cannot receive one.
            let first = &command.words[0];
            if matches!(first.base, Base::Literal(_)) {
                return Err(Found::new(
                    first.at,
                    Problem::Unexpected("a constant".to_owned()),
                ));
            }
            commands.push(command);
        }
        Ok(Pipeline {
            at,
            variables,
            binding,
            commands,
        })
    }

    fn variables(&mut self, block: Block) -> Result<(Vec<String>, Binding), Found> {
        let kind = |index: usize| self.tokens.get(self.at + index).map(|token| &token.kind);
        let Some(TokenKind::Variable(first)) = kind(0) else {
            return Ok((Vec::new(), Binding::Declare));
        };
        let (names, next) = match (kind(1), kind(2)) {
            (Some(TokenKind::Comma), Some(TokenKind::Variable(second)))
                if block == Block::Range =>
            {
                (vec![first.clone(), second.clone()], 3)
            }
            _ => (vec![first.clone()], 1),
        };
        let binding = match kind(next) {
            Some(TokenKind::Declare) => Binding::Declare,
            Some(TokenKind::Assign) => Binding::Assign,
            _ => return Ok((Vec::new(), Binding::Declare)),
        };
        self.at += next + 1;
        Ok((names, binding))
    }

    fn command(&mut self) -> Result<Command, Found> {
        let mut words = Vec::new();
        while !matches!(
            self.peek(),
            None | Some(TokenKind::Close | TokenKind::Pipe | TokenKind::RightParenthesis)
        ) {
            words.push(self.operand()?);
        }
        match words.is_empty() {
            true => Err(self.unexpected()),
            false => Ok(Command { words }),
        }
    }

    fn operand(&mut self) -> Result<Operand, Found> {
        let at = self.place();
        let mut fields = Vec::new();
        let base = match self.peek() {
            Some(TokenKind::Dot) => Base::Dot,
            Some(TokenKind::Field { name, .. }) => {
                fields.push(name.clone());
                Base::Dot
            }
            Some(TokenKind::Variable(name)) => Base::Variable(name.clone()),
            Some(TokenKind::Word(word)) => match word.as_str() {
                "true" => Base::Literal(Value::Bool(true)),
                "false" => Base::Literal(Value::Bool(false)),
                "nil" => Base::Literal(Value::Null),
                name => Base::Function(name.to_owned()),
            },
            Some(TokenKind::String(text)) => Base::Literal(Value::String(text.clone())),
            Some(TokenKind::Integer(number)) => Base::Literal(Value::from(*number)),
            Some(TokenKind::Float(number)) => Base::Literal(Value::from(*number)),
            Some(TokenKind::LeftParenthesis) => {
                self.at += 1;
                self.deeper()?;
                let pipeline = self.pipeline(Block::If)?;
                self.depth -= 1;
                if self.peek() != Some(&TokenKind::RightParenthesis) {
                    return Err(Found::new(at, Problem::UnclosedParenthesis));
                }
                Base::Parenthesis(Box::new(pipeline))
            }
            _ => return Err(self.unexpected()),
        };
        self.at += 1;
        while let Some(TokenKind::Field { name, glued: true }) = self.peek() {
            fields.push(name.clone());
            self.at += 1;
        }
        Ok(Operand { at, base, fields })
    }
}

fn describe(kind: &TokenKind) -> String {
    match kind {
        TokenKind::Text(text) | TokenKind::Word(text) => text.clone(),
        TokenKind::String(text) => format!("{text:?}"),
        TokenKind::Field { name, .. } => format!(".{name}"),
        TokenKind::Variable(name) => format!("${name}"),
        TokenKind::Integer(number) => number.to_string(),
        TokenKind::Float(number) => number.to_string(),
        TokenKind::Open => "{{".to_owned(),
        TokenKind::Close => "}}".to_owned(),
        TokenKind::Dot => ".".to_owned(),
        TokenKind::Pipe => "|".to_owned(),
        TokenKind::LeftParenthesis => "(".to_owned(),
        TokenKind::RightParenthesis => ")".to_owned(),
        TokenKind::Comma => ",".to_owned(),
        TokenKind::Declare => ":=".to_owned(),
        TokenKind::Assign => "=".to_owned(),
    }
}
