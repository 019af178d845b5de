//! Just enough of Rust's lexical grammar (The Rust Reference, "Lexical structure") to look for
//! keywords without being misled by comments, strings and character literals.

/// The text with every comment and every literal's content turned into spaces. Byte offsets and
/// line breaks stay where they were, so that a position in the result is one in the source.
pub(crate) fn mask(source: &str) -> String {
    let bytes = source.as_bytes();
    let mut masked = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = match bytes[at] {
            b'/' if bytes.get(at + 1) == Some(&b'/') => line_end(bytes, at),
            b'/' if bytes.get(at + 1) == Some(&b'*') => block_comment_end(bytes, at),
            b'"' => string_end(bytes, at),
            b'\'' => quote_end(bytes, at),
            b'r' if !continues_word(bytes, at) => raw_string_end(bytes, at),
            b'b' | b'c' if !continues_word(bytes, at) && bytes.get(at + 1) == Some(&b'r') => {
                match raw_string_end(bytes, at + 1) {
                    // A word that begins so, as `bridge` and `create` do.
                    end if end == at + 2 => at + 1,
                    end => end,
                }
            }
            _ => at + 1,
        };
        if end > at + 1 {
            for byte in &mut masked[at..end] {
                if *byte != b'\n' {
                    *byte = b' ';
                }
            }
        }
        at = end;
    }
    // Whole literals and comments are replaced, so no character is left cut in two.
    String::from_utf8_lossy(&masked).into_owned()
}

/// The byte offsets where `word` stands as a word of its own.
pub(crate) fn words<'a>(masked: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    masked.match_indices(word).map(|(at, _)| at).filter(|&at| {
        let bytes = masked.as_bytes();
        let after = bytes.get(at + word.len());
        !continues_word(bytes, at) && !after.is_some_and(|&byte| is_word(byte))
    })
}

/// The line of a byte offset, counted from 1.
pub(crate) fn line_of(text: &str, offset: usize) -> usize {
    1 + text.as_bytes()[..offset]
        .iter()
        .filter(|&&byte| byte == b'\n')
        .count()
}

pub(crate) fn is_word(byte: u8) -> bool {
    byte == b'_' || byte.is_ascii_alphanumeric() || byte >= 0x80
}

fn continues_word(bytes: &[u8], at: usize) -> bool {
    at > 0 && (is_word(bytes[at - 1]) || bytes[at - 1] == b'\'')
}

fn line_end(bytes: &[u8], at: usize) -> usize {
    let rest = bytes[at..].iter().position(|&byte| byte == b'\n');
    rest.map_or(bytes.len(), |length| at + length)
}

/// Block comments nest.
fn block_comment_end(bytes: &[u8], mut at: usize) -> usize {
    let mut depth = 0;
    while at < bytes.len() {
        match &bytes[at..bytes.len().min(at + 2)] {
            b"/*" => {
                depth += 1;
                at += 2;
            }
            b"*/" => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return at;
                }
            }
            _ => at += 1,
        }
    }
    at
}

fn string_end(bytes: &[u8], quote: usize) -> usize {
    let mut at = quote + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// A character literal's end; a lifetime (`'a` without a closing quote) is passed over.
fn quote_end(bytes: &[u8], quote: usize) -> usize {
    let rest = &bytes[quote + 1..];
    if rest.first() == Some(&b'\\') {
        // The escaped character may be a quote itself; the closing one comes after it.
        let close = rest.iter().skip(2).position(|&byte| byte == b'\'');
        return close.map_or(bytes.len(), |length| quote + 1 + 2 + length + 1);
    }
    let width = match rest.first() {
        None | Some(b'\n') => return quote + 1,
        Some(first) => match first.leading_ones() {
            0 => 1,
            ones => ones as usize,
        },
    };
    if rest.get(width) == Some(&b'\'') {
        quote + 1 + width + 1
    } else {
        quote + 1
    }
}

/// `r` at `at`: the end of `r"…"` or `r#"…"#`, or the next byte when it is no raw string
/// (an identifier, or a raw identifier as `r#type`).
fn raw_string_end(bytes: &[u8], at: usize) -> usize {
    let hashes = bytes[at + 1..]
        .iter()
        .take_while(|&&byte| byte == b'#')
        .count();
    let quote = at + 1 + hashes;
    if bytes.get(quote) != Some(&b'"') {
        return at + 1;
    }
    let mut close = vec![b'"'];
    close.resize(1 + hashes, b'#');
    let body = &bytes[quote + 1..];
    let length = body.windows(close.len()).position(|window| window == close);
    length.map_or(bytes.len(), |length| quote + 1 + length + close.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(source: &str) -> usize {
        words(&mask(source), "unsafe").count()
    }

    #[test]
    fn keywords_in_comments_and_literals_are_not_code() {
        assert_eq!(
            count("// unsafe\n/* unsafe /* unsafe */ unsafe */ fn f() {}"),
            0
        );
        assert_eq!(
            count(r##"let a = "unsafe \" unsafe"; let b = r#"unsafe " unsafe"#;"##),
            0
        );
        assert_eq!(
            count(r#"let a = b"unsafe"; let b = br"unsafe\"; let c = c"unsafe";"#),
            0
        );
    }

    #[test]
    fn code_after_a_literal_is_code_again() {
        assert_eq!(count(r#"let a = "x\\"; unsafe { f() }"#), 1);
        assert_eq!(count("let q = '\"'; unsafe { f() } let q = '\"';"), 1);
        assert_eq!(count(r"let q = '\''; unsafe { f() } let q = 'é';"), 1);
        assert_eq!(
            count("fn f<'a>(x: &'a str) -> &'a str { unsafe { g(x) } }"),
            1
        );
        assert_eq!(
            count("let r#type = 1; unsafe { f() } let attr\"unsafe\";"),
            1
        );
    }

    #[test]
    fn parts_of_words_do_not_count() {
        assert_eq!(count("#![forbid(unsafe_code)] fn not_unsafe() {}"), 0);
    }

    #[test]
    fn offsets_and_lines_survive() {
        let source = "/* é\n */ let s = \"ü\n\";\nunsafe {}";
        let masked = mask(source);
        assert_eq!(masked.len(), source.len());
        let at = words(&masked, "unsafe").next().unwrap();
        assert_eq!(line_of(source, at), 4);
        assert_eq!(&source[at..at + 6], "unsafe");
    }
}
