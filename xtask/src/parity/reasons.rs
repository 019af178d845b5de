//! Why something of a client is not here: `tests/parity/reasons.tsv`, a line each of verb, flag and reason
//! with tabs between. A verb or a flag that ends in `*` stands for all that begin so; `-` as the flag is
//! the verb itself with all it has. The first line that fits counts.

use crate::error::Error;

#[derive(Debug)]
pub(super) struct Reasons(Vec<[String; 3]>);

pub(super) fn parse(text: &str) -> Result<Reasons, Error> {
    let lines = text
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty());
    let reasons = lines.map(|line| {
        let fields: Vec<&str> = line.split('\t').collect();
        let fields: Result<[&str; 3], _> = fields.try_into();
        let fields = fields.map_err(|_| Error::Reason(line.to_owned()))?;
        Ok(fields.map(str::to_owned))
    });
    Ok(Reasons(reasons.collect::<Result<_, Error>>()?))
}

impl Reasons {
    /// Why a verb is not here.
    pub(super) fn of_verb(&self, verb: &str) -> Option<&str> {
        self.find(|of, flag| flag == "-" && fits(of, verb))
    }

    /// Why a flag of a verb is not here.
    pub(super) fn of_flag(&self, verb: &str, flag: &str) -> Option<&str> {
        self.find(|of, named| named != "-" && fits(of, verb) && fits(named, flag))
    }

    fn find(&self, is: impl Fn(&str, &str) -> bool) -> Option<&str> {
        let found = self.0.iter().find(|[verb, flag, _]| is(verb, flag));
        found.map(|[.., reason]| reason.as_str())
    }
}

fn fits(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => pattern == name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_that_fits() {
        let text = "# x\nswarm*\t-\tone host\n*\t--tls*\tno daemon\nrun\t--isolation\tWindows\n";
        let reasons = parse(text).unwrap();
        assert_eq!(reasons.of_verb("swarm init"), Some("one host"));
        assert_eq!(reasons.of_verb("run"), None);
        assert_eq!(reasons.of_flag("ps", "--tlscert"), Some("no daemon"));
        assert_eq!(reasons.of_flag("run", "--isolation"), Some("Windows"));
        assert!(parse("run\t--x").is_err());
    }
}
