//! The table of properties, `properties.txt`, and the page that is made of it.

use std::fmt::Write;

const TABLE: &str = include_str!("properties.txt");

/// A part of the specification.
pub(super) struct Section {
    pub(super) title: &'static str,
    pub(super) rows: Vec<Row>,
}

pub(super) struct Row {
    pub(super) property: &'static str,
    pub(super) becomes: Vec<Becomes>,
}

/// What comes of one property. The file's head says what the words are.
pub(super) enum Becomes {
    Inside([&'static str; 3]),
    Group([&'static str; 4]),
    Shown(&'static str),
    Refused([&'static str; 2]),
    Told([&'static str; 2]),
    Elsewhere(&'static str),
    /// Of a mount, and what the table of mounts shows of it.
    Option(&'static str),
    Feature,
}

/// The whole table.
pub(super) fn sections() -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    for line in TABLE
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        let (word, rest) = line.split_once(' ').expect("a line is a word and more");
        if word == "==" {
            let rows = Vec::new();
            sections.push(Section { title: rest, rows });
            continue;
        }
        let rows = &mut sections.last_mut().expect("a section comes first").rows;
        if let "property" | "option" | "feature" = word {
            let (property, more) = rest.split_once(" => ").unwrap_or((rest, ""));
            let becomes = match word {
                "option" => vec![Becomes::Option(more)],
                "feature" => vec![Becomes::Feature],
                _ => Vec::new(),
            };
            rows.push(Row { property, becomes });
            continue;
        }
        let becomes = match word {
            "inside" => Becomes::Inside(parts(rest)),
            "group" => Becomes::Group(parts(rest)),
            "refused" => Becomes::Refused(parts(rest)),
            "told" => Becomes::Told(parts(rest)),
            "shown" => Becomes::Shown(rest),
            "elsewhere" => Becomes::Elsewhere(rest),
            _ => panic!("no such word: {line}"),
        };
        let row = rows.last_mut().expect("a property comes first");
        row.becomes.push(becomes);
    }
    sections
}

fn parts<const N: usize>(text: &'static str) -> [&'static str; N] {
    let parts: Vec<_> = text.split(" => ").collect();
    parts
        .try_into()
        .unwrap_or_else(|_| panic!("not of {N} parts: {text}"))
}

const HEAD: &str = "# The runtime specification, line by line

`gamut oci` keeps version 1.3.0 of the [OCI runtime specification](https://github.com/opencontainers/runtime-spec).
Every property that it has for Linux is here, with what becomes of it: it is *honoured*, or the configuration
is *refused* with an error that says its name. What cannot be had on this host is an error too, or, where
it is a limit, a warning. The page is written by the test `oci_spec` from
[its table](../tests/tests/oci_spec/properties.txt), each line of which it tries; `oci_spec` below means that, another
name a test of that name.

What the specification demands besides, of the lifecycle and of single properties, stands at the end.
";

const DEMANDS: &str = include_str!("demands.md");

/// docs/oci-spec.md.
pub(super) fn page() -> String {
    let mut page = HEAD.to_owned();
    for section in sections() {
        // Writing to a String cannot fail.
        let _ = write!(page, "\n## {}\n\n", section.title);
        match section.rows.first().map(|row| row.becomes.as_slice()) {
            Some([Becomes::Option(_) | Becomes::Feature, ..]) => {
                let names = section.rows.iter().map(|row| format!("`{}`", row.property));
                let _ = writeln!(page, "{}", names.collect::<Vec<_>>().join(", "));
            }
            _ => table(&mut page, &section.rows),
        }
    }
    page.push('\n');
    page.push_str(DEMANDS);
    page
}

fn table(page: &mut String, rows: &[Row]) {
    page.push_str("| property | here | shown by |\n|---|---|---|\n");
    for row in rows {
        let elsewhere = row.becomes.iter().find_map(|one| match one {
            Becomes::Elsewhere(why) => Some(format!("passed over: {why}")),
            _ => None,
        });
        let honoured = row.becomes.iter().any(|one| {
            matches!(
                one,
                Becomes::Inside(_) | Becomes::Group(_) | Becomes::Shown(_)
            )
        });
        let here = elsewhere.unwrap_or_else(|| match honoured {
            true => "honoured".to_owned(),
            false if row.property.ends_with("Label") || row.property.ends_with("Profile") => {
                "honoured where the host has it, else refused".to_owned()
            }
            false => "refused by name".to_owned(),
        });
        let mut shown: Vec<String> = Vec::new();
        for one in &row.becomes {
            let name = match one {
                Becomes::Shown(test) => (*test).to_owned(),
                Becomes::Elsewhere(_) => continue,
                _ => "oci_spec".to_owned(),
            };
            if !shown.contains(&name) {
                shown.push(name);
            }
        }
        let shown: Vec<_> = shown.iter().map(|name| format!("`{name}`")).collect();
        let _ = writeln!(
            page,
            "| `{}` | {here} | {} |",
            row.property,
            shown.join(", ")
        );
    }
}
