//! The patterns of filters.

/// Go's `path.Match`: `*` is anything without a slash, `?` one character that is none, `[a-z]`
/// and `[^a-z]` one of a class, and `\` makes the next character plain. A pattern that is
/// malformed matches nothing.
pub fn glob(pattern: &str, text: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let text: Vec<char> = text.chars().collect();
    // After a `*`: what follows it, and where in the text that is to be tried next.
    let mut retry: Option<(usize, usize)> = None;
    let (mut at, mut here) = (0, 0);
    loop {
        let step = match pattern.get(at) {
            Some('*') => {
                retry = Some((at + 1, here));
                at += 1;
                continue;
            }
            None if here == text.len() => return true,
            None => None,
            Some(_) => text
                .get(here)
                .and_then(|character| one(&pattern[at..], *character)),
        };
        match (step, &mut retry) {
            (Some(length), _) => {
                at += length;
                here += 1;
            }
            (None, Some((after, from))) => {
                if text.get(*from).is_none_or(|character| *character == '/') {
                    return false;
                }
                *from += 1;
                (at, here) = (*after, *from);
            }
            (None, None) => return false,
        }
    }
}

/// How much of `pattern` stands for `character`; `None`: its beginning does not.
fn one(pattern: &[char], character: char) -> Option<usize> {
    match pattern {
        ['?', ..] => (character != '/').then_some(1),
        ['\\', plain, ..] => (*plain == character).then_some(2),
        ['[', rest @ ..] => {
            let end = rest.iter().skip(1).position(|c| *c == ']')? + 1;
            let (negated, class) = match &rest[..end] {
                ['^', class @ ..] => (true, class),
                class => (false, class),
            };
            (class_has(class, character) != negated).then_some(end + 2)
        }
        [plain, ..] => (*plain == character).then_some(1),
        [] => None,
    }
}

fn class_has(class: &[char], character: char) -> bool {
    let mut rest = class;
    loop {
        rest = match rest {
            [] => return false,
            [first, '-', last, ..] if (*first..=*last).contains(&character) => return true,
            [_, '-', _, rest @ ..] => rest,
            [plain, ..] if *plain == character => return true,
            [_, rest @ ..] => rest,
        }
    }
}

/// The part of regular expressions that people use on names: `^` and `$` at the ends; the rest
/// is text that must occur. A leading slash, which Docker's names have, may be given.
pub fn name(pattern: &str, name: &str) -> bool {
    let (at_start, pattern) = match pattern.strip_prefix('^') {
        Some(rest) => (true, rest),
        None => (false, pattern),
    };
    let (at_end, pattern) = match pattern.strip_suffix('$') {
        Some(rest) => (true, rest),
        None => (false, pattern),
    };
    let (at_start, pattern) = match pattern.strip_prefix('/') {
        Some(rest) => (true, rest),
        None => (at_start, pattern),
    };
    match (at_start, at_end) {
        (true, true) => name == pattern,
        (true, false) => name.starts_with(pattern),
        (false, true) => name.ends_with(pattern),
        (false, false) => name.contains(pattern),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_stop_at_slashes() {
        for (pattern, text) in [
            ("nginx", "nginx"),
            ("ng*", "nginx"),
            ("*:1.?", "nginx:1.2"),
            ("*/app", "org/app"),
            ("a*b*c", "axxbyyc"),
            ("[a-cx]1[^0-9]", "b1z"),
            ("\\*", "*"),
            ("*", ""),
        ] {
            assert!(glob(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [
            ("nginx", "nginx2"),
            ("*", "org/app"),
            ("?", "/"),
            ("a*b", "a/b"),
            ("[a-c]", "d"),
            ("[a", "a"),
            ("a*b*c", "axxbyy"),
        ] {
            assert!(!glob(pattern, text), "{pattern} {text}");
        }
    }

    #[test]
    fn names_are_found_by_parts_and_ends() {
        for pattern in ["eb", "^web", "b$", "^web$", "/web", "^/web$"] {
            assert!(name(pattern, "web"), "{pattern}");
        }
        for pattern in ["^eb", "we$", "/eb", "^w$"] {
            assert!(!name(pattern, "web"), "{pattern}");
        }
    }
}
