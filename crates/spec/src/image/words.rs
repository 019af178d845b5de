//! The words of a Dockerfile instruction: quotes, backslashes and variables (Dockerfile reference,
//! "Environment replacement").

/// Splits `text` at blanks outside of quotes, without taking quotes away or replacing anything.
pub(super) fn split(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match (letter, quote) {
            ('\\', Some('"') | None) => {
                word.push(letter);
                word.extend(letters.next());
                continue;
            }
            ('"' | '\'', None) => quote = Some(letter),
            (end, Some(begun)) if end == begun => quote = None,
            (blank, None) if blank.is_whitespace() => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                continue;
            }
            _ => {}
        }
        word.push(letter);
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// A word without its quotes, its variables replaced by what `variable` has for them.
/// `None`: a quote or a brace that nothing closes.
pub(super) fn expand(word: &str, variable: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    let mut letters = word.chars().peekable();
    let mut text = String::new();
    let mut in_double = false;
    while let Some(letter) = letters.next() {
        match letter {
            '\'' if !in_double => loop {
                match letters.next()? {
                    '\'' => break,
                    other => text.push(other),
                }
            },
            '"' => in_double = !in_double,
            '\\' => match letters.next() {
                // In double quotes it only takes the meaning of what has one.
                Some(next) if in_double && !matches!(next, '"' | '$' | '\\') => {
                    text.extend(['\\', next]);
                }
                Some(next) => text.push(next),
                None => text.push('\\'),
            },
            '$' => text.push_str(&replaced(&mut letters, variable)?),
            other => text.push(other),
        }
    }
    (!in_double).then_some(text)
}

type Letters<'a> = std::iter::Peekable<std::str::Chars<'a>>;

/// What stands for `$NAME`, `${NAME}`, `${NAME:-word}` or `${NAME:+word}`.
fn replaced(
    letters: &mut Letters<'_>,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Option<String> {
    let is_name = |letter: &char| letter.is_ascii_alphanumeric() || *letter == '_';
    if letters.peek() != Some(&'{') {
        let mut name = String::new();
        while let Some(letter) = letters.next_if(is_name) {
            name.push(letter);
        }
        return match name.as_str() {
            "" => Some("$".to_owned()),
            name => Some(variable(name).unwrap_or_default()),
        };
    }
    letters.next();
    let mut inside = String::new();
    let mut depth = 1;
    loop {
        let letter = letters.next()?;
        depth += match letter {
            '{' => 1,
            '}' => -1,
            _ => 0,
        };
        if depth == 0 {
            break;
        }
        inside.push(letter);
    }
    let value = |name: &str| variable(name).filter(|value| !value.is_empty());
    if let Some((name, word)) = inside.split_once(":-") {
        return value(name).or_else(|| expand(word, variable));
    }
    if let Some((name, word)) = inside.split_once(":+") {
        return match value(name) {
            Some(_) => expand(word, variable),
            None => Some(String::new()),
        };
    }
    Some(variable(&inside).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_in_quotes_do_not_part() {
        assert_eq!(
            split(r#"A=1  B="x y" C='z "w' D=a\ b "#),
            ["A=1", r#"B="x y""#, r#"C='z "w'"#, r"D=a\ b"]
        );
        assert!(split("  ").is_empty());
    }

    #[test]
    fn variables_are_replaced_as_in_a_dockerfile() {
        let variable = |name: &str| match name {
            "A" => Some("1".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        let of = |word: &str| expand(word, &variable);
        for (word, text) in [
            ("$A", "1"),
            ("x${A}y", "x1y"),
            ("$NONE", ""),
            (r"\$A", "$A"),
            ("'$A'", "$A"),
            ("\"$A\"", "1"),
            ("${EMPTY:-d}", "d"),
            ("${A:+set}", "set"),
            ("${NONE:+set}", ""),
            ("${NONE:-${A}}", "1"),
            ("$", "$"),
            (r#""a\n""#, r"a\n"),
        ] {
            assert_eq!(of(word).as_deref(), Some(text), "{word}");
        }
        for open in ["'x", "\"x", "${A"] {
            assert_eq!(of(open), None, "{open}");
        }
    }
}
