//! `--secret NAME[,type=mount|env][,target=TARGET][,uid=N][,gid=N][,mode=OCTAL]`, podman's form.

use gamut_plan::request::{SecretForm, SecretUse};

use super::ArgumentError;

/// Who may read it, unless somebody says otherwise; podman's.
const MODE: u32 = 0o444;

/// Reads one.
pub fn parse_secret(text: &str) -> Result<SecretUse, ArgumentError> {
    let invalid = || ArgumentError::Secret {
        text: text.to_owned(),
    };
    let (mut secret, mut kind, mut target) = (None, "mount", None);
    let (mut uid, mut gid, mut mode) = (0, 0, MODE);
    let mut of_file = false;
    for (index, part) in text.split(',').enumerate() {
        let (key, value) = match part.split_once('=') {
            None if index == 0 => ("source", part),
            None => return Err(invalid()),
            Some(pair) => pair,
        };
        if value.is_empty() {
            return Err(invalid());
        }
        of_file |= matches!(key, "uid" | "UID" | "gid" | "GID" | "mode");
        match key {
            "source" | "src" => secret = Some(value.to_owned()),
            "type" => kind = value,
            "target" | "dst" | "destination" => target = Some(value.to_owned()),
            "uid" | "UID" => uid = value.parse().map_err(|_| invalid())?,
            "gid" | "GID" => gid = value.parse().map_err(|_| invalid())?,
            "mode" => {
                mode = u32::from_str_radix(value, 8).map_err(|_| invalid())?;
                if mode > 0o777 {
                    return Err(invalid());
                }
            }
            _ => return Err(invalid()),
        }
    }
    let form = match kind {
        "mount" => SecretForm::Mount {
            target: target.map(Into::into),
            uid,
            gid,
            mode,
        },
        "env" if !of_file => SecretForm::Env { variable: target },
        _ => return Err(invalid()),
    };
    let secret = secret.ok_or_else(invalid)?;
    Ok(SecretUse { secret, form })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_read() {
        let mount = |target: Option<&str>, uid, gid, mode| SecretForm::Mount {
            target: target.map(Into::into),
            uid,
            gid,
            mode,
        };
        let read = |text| parse_secret(text).map(|one| (one.secret, one.form));
        assert_eq!(read("key"), Ok(("key".into(), mount(None, 0, 0, 0o444))));
        assert_eq!(
            read("source=key,target=/k,uid=33,gid=34,mode=0400"),
            Ok(("key".into(), mount(Some("/k"), 33, 34, 0o400)))
        );
        let env = SecretForm::Env {
            variable: Some("KEY".into()),
        };
        assert_eq!(read("key,type=env,target=KEY"), Ok(("key".into(), env)));
        for wrong in [
            "",
            "key,",
            "key,mode=9",
            "key,mode=4777",
            "key,type=env,uid=1",
            "key,kind=x",
            "type=env",
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
