//! `--ulimit NAME=SOFT[:HARD]`.

use super::ArgumentError;
use super::error::UlimitProblem;
use gamut_plan::request::{Bound, Resource, Ulimit};

/// `nofile=1024:2048`; `-1` or `unlimited` lifts a limit; one number is both limits.
pub fn parse_ulimit(text: &str) -> Result<Ulimit, ArgumentError> {
    let failure = |problem| ArgumentError::Ulimit {
        text: text.to_owned(),
        problem,
    };
    let (name, limits) = text
        .split_once('=')
        .ok_or_else(|| failure(UlimitProblem::NoValue))?;
    let resource = resource(name).ok_or_else(|| failure(UlimitProblem::Resource))?;
    let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
    let bound = |text| bound(text).ok_or_else(|| failure(UlimitProblem::Value));
    let (soft, hard) = (bound(soft)?, bound(hard)?);
    let above = match (soft, hard) {
        (_, Bound::Unlimited) => false,
        (Bound::Unlimited, Bound::At(_)) => true,
        (Bound::At(soft), Bound::At(hard)) => soft > hard,
    };
    if above {
        return Err(failure(UlimitProblem::SoftAboveHard));
    }
    Ok(Ulimit {
        resource,
        soft,
        hard,
    })
}

fn bound(text: &str) -> Option<Bound> {
    match text {
        "-1" | "unlimited" => Some(Bound::Unlimited),
        number => number.parse().ok().map(Bound::At),
    }
}

fn resource(name: &str) -> Option<Resource> {
    Some(match name.to_ascii_lowercase().as_str() {
        "as" => Resource::As,
        "core" => Resource::Core,
        "cpu" => Resource::Cpu,
        "data" => Resource::Data,
        "fsize" => Resource::Fsize,
        "locks" => Resource::Locks,
        "memlock" => Resource::Memlock,
        "msgqueue" => Resource::Msgqueue,
        "nice" => Resource::Nice,
        "nofile" => Resource::Nofile,
        "nproc" => Resource::Nproc,
        "rss" => Resource::Rss,
        "rtprio" => Resource::Rtprio,
        "rttime" => Resource::Rttime,
        "sigpending" => Resource::Sigpending,
        "stack" => Resource::Stack,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_or_two_limits() {
        let ulimit = parse_ulimit("nofile=1024:2048").unwrap();
        assert_eq!(ulimit.resource, Resource::Nofile);
        assert_eq!(
            (ulimit.soft, ulimit.hard),
            (Bound::At(1024), Bound::At(2048))
        );
        let ulimit = parse_ulimit("core=0").unwrap();
        assert_eq!((ulimit.soft, ulimit.hard), (Bound::At(0), Bound::At(0)));
        let ulimit = parse_ulimit("memlock=-1:-1").unwrap();
        assert_eq!(
            (ulimit.soft, ulimit.hard),
            (Bound::Unlimited, Bound::Unlimited)
        );
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "nofile",
            "x=1",
            "nofile=",
            "nofile=2:1",
            "nofile=-1:5",
            "nofile=1:2:3",
            "=1",
        ] {
            assert!(parse_ulimit(text).is_err(), "{text}");
        }
    }
}
