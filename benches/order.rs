//! order PROGRAM LIBRARIES PCS...: the linker script that puts the functions of the starts side by side. `nm` of
//! the program and of the C archives are read from the files PROGRAM and LIBRARIES (`nm -nS`, `nm -A`); each of
//! PCS is what `step` wrote of one command. No dependencies, plain `rustc`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::read_to_string;

/// A function of the program.
struct Function {
    at: u64,
    size: u64,
    name: String,
    /// A bit for each command that was in it.
    users: u32,
    /// When the first of them was first there.
    first: u32,
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [program, libraries, runs @ ..] = words.as_slice() else {
        panic!("order PROGRAM LIBRARIES PCS...");
    };
    let mut functions = functions(&read_to_string(program).expect("nm of the program"));
    for (bit, run) in runs.iter().enumerate() {
        mark(
            &mut functions,
            &read_to_string(run).expect("what step wrote"),
            bit,
        );
    }
    let members = members(&read_to_string(libraries).expect("nm of the C archives"));
    // Of one group all that most commands need comes first, then what fewer do.
    let mut groups: BTreeMap<(u32, u32), Vec<String>> = BTreeMap::new();
    let mut known = BTreeSet::new();
    functions.sort_by_key(|f| f.first);
    for function in functions.iter().filter(|f| f.users != 0) {
        let line = match members.get(&function.name) {
            Some(member) => format!("*{member}(.text .text.*)"),
            None => {
                let name = pattern(&function.name);
                format!("*(.text.{name} .text.unlikely.{name})")
            }
        };
        if known.insert(line.clone()) {
            let rank = (u32::MAX - function.users.count_ones(), function.users);
            groups.entry(rank).or_default().push(line);
        }
    }
    println!(
        "/* Made by benches/order: what a start executes, side by side. See docs/development.md. */"
    );
    println!("SECTIONS {{\n  .text.first : {{");
    for line in groups.values().flatten() {
        println!("    {line}");
    }
    println!("  }}\n}} INSERT BEFORE .text;");
}

/// `nm -nS`: address, size, kind, name; sorted by address.
fn functions(listing: &str) -> Vec<Function> {
    let read = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        let [at, size, "t" | "T" | "w" | "W" | "i", name] = words.as_slice() else {
            return None;
        };
        Some(Function {
            at: u64::from_str_radix(at, 16).ok()?,
            size: u64::from_str_radix(size, 16).ok()?,
            name: (*name).to_owned(),
            users: 0,
            first: u32::MAX,
        })
    };
    listing.lines().filter_map(read).collect()
}

/// `step`: a program counter and when it was first there, a line each.
fn mark(functions: &mut [Function], counters: &str, bit: usize) {
    for line in counters.lines() {
        let (at, first) = line.split_once(' ').expect("two numbers");
        let at = u64::from_str_radix(at, 16).expect("a program counter");
        let first: u32 = first.parse().expect("a number");
        let above = functions.partition_point(|f| f.at <= at);
        let Some(function) = above.checked_sub(1).map(|index| &mut functions[index]) else {
            continue;
        };
        if at < function.at + function.size {
            function.users |= 1 << bit;
            function.first = function.first.min(first);
        }
    }
}

/// `nm -A --defined-only libc.a …`: `/path/libc.a:member.o:address kind name`. What each function is in, as the
/// linker calls it; without an archive's version.
fn members(listing: &str) -> HashMap<String, String> {
    let read = |line: &str| {
        let (place, rest) = line.rsplit_once(".o:")?;
        let (archive, member) = place.rsplit_once(':')?;
        let archive = archive.rsplit('/').next()?;
        let archive = archive
            .split_once('-')
            .map_or(archive.to_owned(), |(name, _)| format!("{name}-*.a"));
        let words: Vec<&str> = rest.split(' ').collect();
        let [_, "t" | "T" | "w" | "W" | "i", name] = words.as_slice() else {
            return None;
        };
        Some(((*name).to_owned(), format!("{archive}:{member}.o")))
    };
    listing.lines().filter_map(read).collect()
}

/// A function's name without what changes from build to build, if it is a Rust one (rustc book, "v0 Symbol
/// Format"): crates' disambiguators, back references, which count the bytes before them, and LLVM's suffix.
fn pattern(name: &str) -> String {
    if !name.starts_with("_R") {
        return name.to_owned();
    }
    let (name, end) = match name.split_once(".llvm.") {
        Some((name, _)) => (name, "*"),
        None => (name, ""),
    };
    let mut out = String::new();
    let mut rest = name;
    while let Some(at) = [rest.find("Cs"), rest.find('B')]
        .into_iter()
        .flatten()
        .min()
    {
        let begin = at + if rest[at..].starts_with("Cs") { 2 } else { 1 };
        let (before, number) = rest.split_at(begin);
        out.push_str(before);
        let digits = number
            .find(|c: char| !c.is_ascii_alphanumeric())
            .unwrap_or(number.len());
        rest = number;
        if number[digits..].starts_with('_') {
            out.push('*');
            rest = &number[digits..];
        }
    }
    out + rest + end
}
