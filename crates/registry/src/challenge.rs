//! `WWW-Authenticate` (RFC 9110, section 11.6.1), as far as registries use it: `Basic`, and
//! `Bearer` with the parameters of the token specification
//! (<https://distribution.github.io/distribution/spec/auth/token/>).

/// How a registry wants to be convinced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Challenge {
    Basic,
    Bearer {
        /// Where tokens are given out: an absolute URL.
        realm: String,
        service: Option<String>,
        scope: Option<String>,
    },
}

impl Challenge {
    /// The strongest challenge of the header's values: bearer before basic. `None`: none that is
    /// known.
    pub(crate) fn choose<'a>(headers: impl Iterator<Item = &'a str>) -> Option<Challenge> {
        let mut found = None;
        for header in headers {
            for challenge in parse(header) {
                match challenge {
                    Challenge::Bearer { .. } => return Some(challenge),
                    Challenge::Basic => found = Some(challenge),
                }
            }
        }
        found
    }
}

/// All known challenges of one header value; what is malformed ends it.
fn parse(header: &str) -> Vec<Challenge> {
    let mut challenges = Vec::new();
    let mut rest = header.trim_start_matches([' ', '\t', ',']);
    while !rest.is_empty() {
        let (scheme, after) = token(rest);
        if scheme.is_empty() {
            break;
        }
        let (parameters, after) = parameters(after);
        let get = |name: &str| {
            parameters
                .iter()
                .find(|(key, _)| key.eq_ignore_ascii_case(name))
                .map(|(_, value)| value.clone())
                .filter(|value| !value.is_empty())
        };
        if scheme.eq_ignore_ascii_case("basic") {
            challenges.push(Challenge::Basic);
        }
        if scheme.eq_ignore_ascii_case("bearer")
            && let Some(realm) = get("realm")
        {
            challenges.push(Challenge::Bearer {
                realm,
                service: get("service"),
                scope: get("scope"),
            });
        }
        // Whatever was not understood is skipped up to the next comma, so that this ends.
        rest = after.find(',').map_or("", |comma| {
            after[comma..].trim_start_matches([' ', '\t', ','])
        });
    }
    challenges
}

/// A token of RFC 9110, and what follows it.
fn token(text: &str) -> (&str, &str) {
    let end = text
        .find(|c: char| !(c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)))
        .unwrap_or(text.len());
    text.split_at(end)
}

/// `name=value` pairs separated by commas, and what follows them: a comma and the next scheme.
fn parameters(mut text: &str) -> (Vec<(String, String)>, &str) {
    let mut pairs = Vec::new();
    loop {
        let start = text.trim_start_matches([' ', '\t', ',']);
        let (name, after) = token(start);
        let Some(after) = after.trim_start().strip_prefix('=') else {
            return (pairs, text);
        };
        if name.is_empty() {
            return (pairs, text);
        }
        let Some((value, after)) = value(after.trim_start()) else {
            return (pairs, text);
        };
        pairs.push((name.to_owned(), value));
        text = after;
    }
}

/// A quoted string or a token, and what follows it. An unclosed quote is `None`.
fn value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let (value, after) = token(text);
        return Some((value.to_owned(), after));
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &quoted[at + 1..])),
            '\\' => value.push(characters.next()?.1),
            _ => value.push(character),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choose(headers: &[&str]) -> Option<Challenge> {
        Challenge::choose(headers.iter().copied())
    }

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Option<Challenge> {
        Some(Challenge::Bearer {
            realm: realm.into(),
            service: service.map(str::to_owned),
            scope: scope.map(str::to_owned),
        })
    }

    #[test]
    fn reads_what_registries_send() {
        assert_eq!(
            choose(&[
                r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/nginx:pull,push""#
            ]),
            bearer(
                "https://auth.docker.io/token",
                Some("registry.docker.io"),
                Some("repository:library/nginx:pull,push")
            )
        );
        assert_eq!(
            choose(&["Basic realm=\"Registry, Realm\""]),
            Some(Challenge::Basic)
        );
        assert_eq!(choose(&["basic"]), Some(Challenge::Basic));
        assert_eq!(
            choose(&["bearer Realm = \"https://a/t\" ,  SERVICE=plain"]),
            bearer("https://a/t", Some("plain"), None)
        );
        assert_eq!(
            choose(&[r#"Bearer realm="https://a/\"t\"",error="insufficient_scope""#]),
            bearer("https://a/\"t\"", None, None)
        );
    }

    #[test]
    fn prefers_bearer_in_any_order() {
        let expected = bearer("https://a/t", None, None);
        for headers in [
            &[r#"Basic realm="x", Bearer realm="https://a/t""#][..],
            &[r#"Bearer realm="https://a/t", Basic realm="x""#],
            &["Basic realm=x", r#"Bearer realm="https://a/t""#],
            &[r#"Negotiate, Basic realm=x, Bearer realm="https://a/t""#],
            &[r#"Negotiate abc==, Bearer realm="https://a/t""#],
        ] {
            assert_eq!(choose(headers), expected, "{headers:?}");
        }
    }

    #[test]
    fn survives_nonsense() {
        for header in [
            "",
            ",",
            ", ,",
            "=",
            "\"",
            "Bearer",
            "Bearer realm",
            "Bearer realm=",
            "Bearer realm=\"",
            "Bearer realm=\"x",
            "Digest qop=\"auth",
            "Bearer service=\"s\"",
            "ä",
            "Bearer =x",
        ] {
            assert_eq!(choose(&[header]), None, "{header}");
        }
    }
}
