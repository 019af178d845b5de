//! `-u user[:group]` and `--group-add`.

use super::ArgumentError;
use gamut_plan::request::{Identity, User};

/// `user[:group]`, each a number or a name. An empty group (`1000:`) is no group.
pub fn parse_user(text: &str) -> Result<User, ArgumentError> {
    let (user, group) = text.split_once(':').unwrap_or((text, ""));
    let group = match group {
        "" => None,
        group => Some(parse_identity(group)?),
    };
    if user.is_empty() || text.matches(':').count() > 1 {
        return Err(ArgumentError::User {
            text: text.to_owned(),
        });
    }
    Ok(User {
        user: parse_identity(user)?,
        group,
    })
}

/// A number is an id, anything else a name. 4294967295 is "no id" to the kernel (setuid(2)).
pub fn parse_identity(text: &str) -> Result<Identity, ArgumentError> {
    if text.is_empty() || text.contains(['\0', '\n', ':']) {
        return Err(ArgumentError::User {
            text: text.escape_debug().to_string(),
        });
    }
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(Identity::Name(text.to_owned()));
    }
    match text.parse() {
        Ok(id) if id != u32::MAX => Ok(Identity::Id(id)),
        _ => Err(ArgumentError::Id {
            text: text.to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_names_mix() {
        assert_eq!(
            parse_user("1000:www-data"),
            Ok(User {
                user: Identity::Id(1000),
                group: Some(Identity::Name("www-data".to_owned())),
            })
        );
        assert_eq!(parse_user("nginx").map(|user| user.group), Ok(None));
        assert_eq!(parse_user("0:").map(|user| user.group), Ok(None));
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", ":0", "a:b:c", "4294967295", "99999999999", "a\nb"] {
            assert!(parse_user(text).is_err(), "{text:?}");
        }
    }
}
