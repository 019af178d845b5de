//! Template text → tokens.

use super::error::{Found, TemplateProblem as Problem};
use super::token::{Token, TokenKind};

pub(super) fn lex(source: &str) -> Result<Vec<Token>, Found> {
    let mut lexer = Lexer {
        source,
        at: 0,
        tokens: Vec::new(),
    };
    lexer.template()?;
    Ok(lexer.tokens)
}

struct Lexer<'a> {
    source: &'a str,
    at: usize,
    tokens: Vec<Token>,
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        &self.source[self.at..]
    }

    fn push(&mut self, at: usize, kind: TokenKind) {
        self.tokens.push(Token { at, kind });
    }

    fn template(&mut self) -> Result<(), Found> {
        let mut trim_left = false;
        loop {
            let start = self.at;
            let Some(open) = self.rest().find("{{") else {
                let text = trimmed(self.rest(), trim_left, false);
                self.push(start, TokenKind::Text(text));
                return Ok(());
            };
            let text = &self.rest()[..open];
            let after = &self.rest()[open + 2..];
            let marked = after.starts_with('-') && after[1..].starts_with(char::is_whitespace);
            self.push(start, TokenKind::Text(trimmed(text, trim_left, marked)));
            let action = start + open;
            self.at = action + 2 + usize::from(marked);
            trim_left = if self.rest().trim_start().starts_with("/*") {
                self.comment(action)?
            } else {
                self.push(action, TokenKind::Open);
                self.action(action)?
            };
        }
    }

    /// The end of an action: how long it is and whether it trims the text after it.
    fn close(&self) -> Option<(usize, bool)> {
        if self.rest().starts_with("}}") {
            return Some((2, false));
        }
        let spaces = self.rest().len() - self.rest().trim_start().len();
        (spaces > 0 && self.rest()[spaces..].starts_with("-}}")).then_some((spaces + 3, true))
    }

    /// Skips a comment; says whether it trims the text after it.
    fn comment(&mut self, action: usize) -> Result<bool, Found> {
        let unclosed = Found::new(action, Problem::UnclosedComment);
        let start = self.rest().find("/*").map_or(0, |at| at + 2);
        let end = self.rest()[start..].find("*/").ok_or(unclosed.clone())?;
        self.at += start + end + 2;
        let (length, trims) = self.close().ok_or(unclosed)?;
        self.at += length;
        Ok(trims)
    }

    fn action(&mut self, action: usize) -> Result<bool, Found> {
        loop {
            if let Some((length, trims)) = self.close() {
                self.push(self.at, TokenKind::Close);
                self.at += length;
                return Ok(trims);
            }
            let Some(first) = self.rest().chars().next() else {
                return Err(Found::new(action, Problem::UnclosedAction));
            };
            self.token(first)?;
        }
    }

    fn token(&mut self, first: char) -> Result<(), Found> {
        let at = self.at;
        let simple = match first {
            '|' => Some(TokenKind::Pipe),
            '(' => Some(TokenKind::LeftParenthesis),
            ')' => Some(TokenKind::RightParenthesis),
            ',' => Some(TokenKind::Comma),
            '=' => Some(TokenKind::Assign),
            _ => None,
        };
        if let Some(kind) = simple {
            self.at += 1;
            self.push(at, kind);
            return Ok(());
        }
        match first {
            space if space.is_whitespace() => self.at += space.len_utf8(),
            ':' if self.rest().starts_with(":=") => {
                self.at += 2;
                self.push(at, TokenKind::Declare);
            }
            '"' | '\'' => self.quoted(first)?,
            '`' => self.raw_string()?,
            '$' => {
                self.at += 1;
                let name = self.name();
                self.push(at, TokenKind::Variable(name));
            }
            '.' if !self.rest()[1..].starts_with(|c: char| c.is_ascii_digit()) => self.field(),
            '0'..='9' | '.' | '+' | '-' => self.number()?,
            letter if letter == '_' || letter.is_alphabetic() => {
                let word = self.name();
                self.push(at, TokenKind::Word(word));
            }
            other => return Err(Found::new(at, Problem::Unexpected(other.to_string()))),
        }
        Ok(())
    }

    fn name(&mut self) -> String {
        let end = self
            .rest()
            .find(|c: char| c != '_' && !c.is_alphanumeric())
            .unwrap_or(self.rest().len());
        let name = self.rest()[..end].to_owned();
        self.at += end;
        name
    }

    fn field(&mut self) {
        let at = self.at;
        let glued = self.source[..at].chars().next_back().is_some_and(|before| {
            before == ')' || before == '_' || before.is_alphanumeric() || before == '$'
        });
        self.at += 1;
        let name = self.name();
        let kind = match name.is_empty() {
            true => TokenKind::Dot,
            false => TokenKind::Field { name, glued },
        };
        self.push(at, kind);
    }

    fn number(&mut self) -> Result<(), Found> {
        let at = self.at;
        let end = self
            .rest()
            .char_indices()
            .find(|(index, c)| {
                let sign = matches!(c, '+' | '-')
                    && (*index == 0 || self.rest()[..*index].ends_with(['e', 'E']));
                !(sign || *c == '.' || *c == '_' || c.is_ascii_alphanumeric())
            })
            .map_or(self.rest().len(), |(index, _)| index);
        let text = &self.rest()[..end];
        let kind = super::number::parse_number(text)
            .ok_or_else(|| Found::new(at, Problem::Number(text.to_owned())))?;
        self.at += end;
        self.push(at, kind);
        Ok(())
    }

    fn raw_string(&mut self) -> Result<(), Found> {
        let at = self.at;
        let body = &self.rest()[1..];
        let end = body
            .find('`')
            .ok_or_else(|| Found::new(at, Problem::UnclosedString))?;
        let text = body[..end].to_owned();
        self.at += end + 2;
        self.push(at, TokenKind::String(text));
        Ok(())
    }

    /// A string, or a character constant, which is a number in Go.
    fn quoted(&mut self, quote: char) -> Result<(), Found> {
        let at = self.at;
        let unclosed = || Found::new(at, Problem::UnclosedString);
        self.at += 1;
        let mut text = String::new();
        loop {
            let character = self.rest().chars().next().ok_or_else(unclosed)?;
            match character {
                '\n' => return Err(unclosed()),
                '\\' => text.push(self.escape()?),
                _ => self.at += character.len_utf8(),
            }
            match character {
                '\\' => {}
                _ if character == quote => break,
                _ => text.push(character),
            }
        }
        if quote == '"' {
            self.push(at, TokenKind::String(text));
            return Ok(());
        }
        let mut characters = text.chars();
        match (characters.next(), characters.next()) {
            (Some(one), None) => {
                self.push(at, TokenKind::Integer(i64::from(u32::from(one))));
                Ok(())
            }
            _ => Err(Found::new(at, Problem::Unexpected(format!("'{text}'")))),
        }
    }

    /// Go's escapes: `\n`, `\x41`, `\101`, `\u0041`, `\U00000041` (go.dev/ref/spec, "Rune literals").
    fn escape(&mut self) -> Result<char, Found> {
        let at = self.at;
        let bad = || Found::new(at, Problem::Escape);
        let letter = self.rest().chars().nth(1).ok_or_else(bad)?;
        let simple = match letter {
            'n' => '\n',
            't' => '\t',
            'r' => '\r',
            'a' => '\u{7}',
            'b' => '\u{8}',
            'f' => '\u{c}',
            'v' => '\u{b}',
            '\\' | '"' | '\'' => letter,
            _ => '\0',
        };
        if simple != '\0' {
            self.at += 2;
            return Ok(simple);
        }
        let (skip, digits, radix) = match letter {
            'x' => (2, 2, 16),
            'u' => (2, 4, 16),
            'U' => (2, 8, 16),
            '0'..='7' => (1, 3, 8),
            _ => return Err(bad()),
        };
        let code = self
            .rest()
            .get(skip..skip + digits)
            .filter(|code| code.bytes().all(|byte| byte.is_ascii_hexdigit()))
            .and_then(|code| u32::from_str_radix(code, radix).ok())
            .and_then(char::from_u32)
            .ok_or_else(bad)?;
        self.at += skip + digits;
        Ok(code)
    }
}

fn trimmed(text: &str, left: bool, right: bool) -> String {
    let text = if left { text.trim_start() } else { text };
    let text = if right { text.trim_end() } else { text };
    text.to_owned()
}
