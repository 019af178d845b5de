//! `--restart`.

use gamut_plan::request::RestartPolicy;

use super::ArgumentError;

/// `no`, `on-failure[:COUNT]`, `on-unhealthy[:COUNT]`, `always` or `unless-stopped`.
pub fn parse_restart(text: &str) -> Result<RestartPolicy, ArgumentError> {
    let wrong = || ArgumentError::Restart {
        text: text.to_owned(),
    };
    let (name, count) = match text.split_once(':') {
        Some((name, count)) => (name, Some(count)),
        None => (text, None),
    };
    Ok(match (name, count) {
        ("no" | "", None) => RestartPolicy::No,
        ("always", None) => RestartPolicy::Always,
        ("unless-stopped", None) => RestartPolicy::UnlessStopped,
        ("on-failure", count) => RestartPolicy::OnFailure {
            at_most: at_most(count).ok_or_else(wrong)?,
        },
        ("on-unhealthy", count) => RestartPolicy::OnUnhealthy {
            at_most: at_most(count).ok_or_else(wrong)?,
        },
        _ => return Err(wrong()),
    })
}

/// How often at most; `Some(None)` has no end.
fn at_most(count: Option<&str>) -> Option<Option<u32>> {
    match count.map(str::parse::<u32>) {
        None | Some(Ok(0)) => Some(None),
        Some(Ok(count)) => Some(Some(count)),
        Some(Err(_)) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn restart_policies() {
        assert_eq!(parse_restart("no"), Ok(RestartPolicy::No));
        assert_eq!(parse_restart("always"), Ok(RestartPolicy::Always));
        let thrice = RestartPolicy::OnFailure { at_most: Some(3) };
        assert_eq!(parse_restart("on-failure:3"), Ok(thrice));
        let ever = RestartPolicy::OnFailure { at_most: None };
        assert_eq!(parse_restart("on-failure:0"), Ok(ever));
        let ill = RestartPolicy::OnUnhealthy { at_most: Some(2) };
        assert_eq!(parse_restart("on-unhealthy:2"), Ok(ill));
        for wrong in ["sometimes", "always:3", "on-failure:x", "on-failure:-1"] {
            assert!(parse_restart(wrong).is_err(), "{wrong}");
        }
    }
}
