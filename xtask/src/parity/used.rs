//! What tests use: the command lines of a run, as the suite's `Gamut` logs them. A record is the test's
//! name and the words, between them U+001F, and U+001E behind it.

use std::collections::{BTreeMap, BTreeSet};

use super::canonical;
use super::ours::{Flag, Ours};

/// The first test, by name, for a verb and one of its flags; the flag is empty for the verb itself.
pub(super) type Used = BTreeMap<(String, String), String>;

pub(super) fn collect(log: &str, ours: &Ours, passed: &BTreeSet<&str>) -> Used {
    let mut used = Used::new();
    let mut records: Vec<Vec<&str>> = log
        .split('\u{1e}')
        .map(|record| record.split('\u{1f}').collect())
        .collect();
    records.sort_by_key(|record| record.first().copied());
    for record in records {
        let Some((test, words)) = record
            .split_first()
            .filter(|(test, _)| passed.contains(*test))
        else {
            continue;
        };
        let (verb, flags) = read(words, ours);
        for flag in flags.into_iter().chain([String::new()]) {
            let entry = used.entry((verb.clone(), flag));
            entry.or_insert_with(|| (*test).to_owned());
        }
    }
    used
}

/// The verb of a command line and the long names of its flags.
fn read(words: &[&str], ours: &Ours) -> (String, Vec<String>) {
    let mut verb = String::new();
    let mut found = Vec::new();
    let mut operands = 0;
    let mut rest = words.iter();
    while let Some(&word) = rest.next() {
        let longer = format!("{verb} {word}").trim_start().to_owned();
        if operands == 0 && ours.contains_key(&canonical(&longer)) {
            verb = longer;
            continue;
        }
        if word == "--" {
            break;
        }
        let name = canonical(&verb);
        let known = ours.get(&name).map_or(&[][..], Vec::as_slice);
        if word.starts_with("--") {
            let (long, value) = word
                .split_once('=')
                .map_or((word, None), |(long, value)| (long, Some(value)));
            if let Some(flag) = find(known, long) {
                found.extend(flag.names.iter().cloned());
                if flag.takes_word && value.is_none() {
                    rest.next();
                }
            } else {
                found.push(long.to_owned());
            }
        } else if let Some(letters) = word.strip_prefix('-').filter(|letters| !letters.is_empty()) {
            if short(letters, known, &mut found) {
                rest.next();
            }
        } else {
            operands += 1;
            // What comes now is the workload's own.
            let limit = match name.as_str() {
                "run" | "create" | "exec" => 1,
                _ => usize::MAX,
            };
            if operands >= limit {
                break;
            }
        }
    }
    (canonical(&verb), found)
}

/// `-it`, `-eA=b`, `-e`; whether the next word is a value.
fn short(letters: &str, known: &[Flag], found: &mut Vec<String>) -> bool {
    for (at, letter) in letters.char_indices() {
        let Some(flag) = find(known, &format!("-{letter}")) else {
            return false;
        };
        found.extend(flag.names.iter().cloned());
        if flag.takes_word {
            return at + letter.len_utf8() == letters.len();
        }
    }
    false
}

fn find<'a>(known: &'a [Flag], name: &str) -> Option<&'a Flag> {
    known
        .iter()
        .find(|flag| flag.names.iter().any(|is| is == name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flag(names: &[&str], takes_word: bool) -> Flag {
        Flag {
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            takes_word,
        }
    }

    #[test]
    fn a_workloads_own_words_are_not_ours() {
        let flags = vec![
            flag(&["-i", "--interactive"], false),
            flag(&["-t", "--tty"], false),
            flag(&["-e", "--env"], true),
            flag(&["--rm"], false),
        ];
        let mut ours = Ours::new();
        ours.insert("run".to_owned(), flags);
        ours.insert(String::new(), vec![flag(&["--root"], true)]);
        let log = "a::b\u{1f}--root\u{1f}/x\u{1f}run\u{1f}-it\u{1f}-eA=b\u{1f}--rm\u{1f}image\u{1f}--version\u{1e}\
                   c::d\u{1f}run\u{1f}--failed\u{1e}";
        let used = collect(log, &ours, &["a::b"].into());
        let has = |flag: &str| used.contains_key(&("run".to_owned(), flag.to_owned()));
        assert!(has("") && has("--tty") && has("--env") && has("--rm"));
        assert!(!has("--version") && !has("--failed"));
    }
}
