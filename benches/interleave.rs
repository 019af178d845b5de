//! interleave: runs several commands in turn, round after round, and compares their wall-clock
//! times. What disturbs the machine disturbs all of them alike; the order is another one each
//! round (shuffled, but the same in every run of this program), so that no command always follows
//! the same one, and a moment passes after each, for what it leaves to be done behind its back.
//!
//!     interleave [--rounds N] [--warm-up N] --case NAME COMMAND [ARG...] [--then COMMAND...] ...
//!     interleave burst COUNT JOBS COMMAND [ARG...]
//!
//! A `{}` in an argument becomes a word that no other run of a command gets (a container's name).
//! `--then` gives a case several commands, run one after the other. Prints a markdown table with
//! the median, the 10th percentile, and the ratio of each median to the first case's. The second
//! form starts COUNT commands, JOBS at a time, and prints the time until the last has returned.
//!
//! Built by `benches/run` with plain `rustc`: no dependencies.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io;
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const USAGE: &str = "usage: interleave [--rounds N] [--warm-up N] --case NAME COMMAND [ARG...] \
                     [--then COMMAND [ARG...]]... ...\n       \
                     interleave burst COUNT JOBS COMMAND [ARG...]";

/// What passes between two cases: an engine's own clearing up, the kernel's taking down of
/// namespaces and control groups.
const SETTLE: Duration = Duration::from_millis(50);

/// One row of the table.
#[derive(Debug)]
struct Case {
    name: String,
    /// Run one after the other.
    commands: Vec<Vec<String>>,
    times: Vec<Duration>,
    failures: usize,
}

#[derive(Debug)]
struct Request {
    rounds: usize,
    /// Rounds before the measured ones.
    warm_up: usize,
    cases: Vec<Case>,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match arguments.first().map(String::as_str) {
        Some("burst") => burst(&arguments[1..]),
        _ => match parse(&arguments) {
            Some(mut request) => compare(&mut request),
            None => return usage(),
        },
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("interleave: {error}");
            ExitCode::FAILURE
        }
    }
}

fn usage() -> ExitCode {
    eprintln!("{USAGE}");
    ExitCode::from(2)
}

fn parse(arguments: &[String]) -> Option<Request> {
    let mut request = Request {
        rounds: 20,
        warm_up: 2,
        cases: Vec::new(),
    };
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match (argument.as_str(), request.cases.last_mut()) {
            ("--rounds", None) => request.rounds = rest.next()?.parse().ok()?,
            ("--warm-up", None) => request.warm_up = rest.next()?.parse().ok()?,
            ("--case", _) => request.cases.push(Case {
                name: rest.next()?.clone(),
                commands: vec![Vec::new()],
                times: Vec::new(),
                failures: 0,
            }),
            ("--then", Some(case)) => case.commands.push(Vec::new()),
            (word, Some(case)) => case.commands.last_mut()?.push(word.to_owned()),
            (_, None) => return None,
        }
    }
    let mut commands = request.cases.iter().flat_map(|case| &case.commands);
    let complete = request.rounds > 0 && commands.all(|command| !command.is_empty());
    (complete && !request.cases.is_empty()).then_some(request)
}

fn compare(request: &mut Request) -> io::Result<ExitCode> {
    let mut order: Vec<usize> = (0..request.cases.len()).collect();
    let mut chance: u64 = 0x9e37_79b9_7f4a_7c15;
    for round in 0..request.warm_up + request.rounds {
        shuffle(&mut order, &mut chance);
        for index in &order {
            std::thread::sleep(SETTLE);
            let case = &mut request.cases[*index];
            let word = format!("bench-{}-{round}-{index}", std::process::id());
            match run_all(&case.commands, &word)? {
                None => case.failures += 1,
                Some(took) if round >= request.warm_up => case.times.push(took),
                Some(_) => {}
            }
        }
    }
    print!("{}", table(&mut request.cases));
    let failed = request.cases.iter().any(|case| case.failures > 0);
    Ok(if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// Fisher and Yates's, with Marsaglia's xorshift64 for chance.
fn shuffle(order: &mut [usize], chance: &mut u64) {
    for last in (1..order.len()).rev() {
        *chance ^= *chance << 13;
        *chance ^= *chance >> 7;
        *chance ^= *chance << 17;
        order.swap(last, (*chance % (last as u64 + 1)) as usize);
    }
}

/// The time that the commands took; `None` when one failed, after showing what it said.
fn run_all(commands: &[Vec<String>], word: &str) -> io::Result<Option<Duration>> {
    let mut took = Duration::ZERO;
    for command in commands {
        let command: Vec<String> = command
            .iter()
            .map(|part| part.replace("{}", word))
            .collect();
        let said = std::env::temp_dir().join(format!("interleave-{}", std::process::id()));
        let errors = File::create(&said)?;
        let before = Instant::now();
        let status = run(&command, errors.into())?;
        took += before.elapsed();
        let text = std::fs::read_to_string(&said)?;
        std::fs::remove_file(&said)?;
        if !status.success() {
            eprintln!("{}: {status}\n{}", command.join(" "), text.trim_end());
            return Ok(None);
        }
    }
    Ok(Some(took))
}

fn run(command: &[String], errors: Stdio) -> io::Result<ExitStatus> {
    let mut process = Command::new(&command[0]);
    process.args(&command[1..]);
    process
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(errors);
    process
        .status()
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", command[0])))
}

fn table(cases: &mut [Case]) -> String {
    let mut text = String::from("| | median ms | p10 ms | × | runs |\n|---|---:|---:|---:|---:|\n");
    let mut base = None;
    for case in cases {
        case.times.sort_unstable();
        let runs = case.times.len();
        let failures = match case.failures {
            0 => String::new(),
            failures => format!(", {failures} failed"),
        };
        let Some(&median) = case.times.get(runs / 2) else {
            text += &format!("| {} | – | – | – | 0{failures} |\n", case.name);
            continue;
        };
        let p10 = case.times[runs / 10];
        let base = *base.get_or_insert(median);
        let ratio = median.as_secs_f64() / base.as_secs_f64();
        let (median, p10) = (milliseconds(median), milliseconds(p10));
        text += &format!(
            "| {} | {median:.2} | {p10:.2} | {ratio:.2} | {runs}{failures} |\n",
            case.name
        );
    }
    text
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn burst(arguments: &[String]) -> io::Result<ExitCode> {
    let [count, jobs, command @ ..] = arguments else {
        return Ok(usage());
    };
    let (Ok(count), Ok(jobs)) = (count.parse::<usize>(), jobs.parse::<usize>()) else {
        return Ok(usage());
    };
    if command.is_empty() {
        return Ok(usage());
    }
    let (next, failed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let work = || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                return;
            }
            let word = format!("burst-{number}");
            let command: Vec<String> = command
                .iter()
                .map(|part| part.replace("{}", &word))
                .collect();
            let succeeded = run(&command, Stdio::inherit()).is_ok_and(|status| status.success());
            failed.fetch_add(usize::from(!succeeded), Ordering::Relaxed);
        }
    };
    let before = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(work);
        }
    });
    let took = milliseconds(before.elapsed());
    let failed = failed.into_inner();
    println!("{took:.0} ms for {count}, {jobs} at a time, {failed} failed");
    Ok(if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn cases_and_their_steps_are_told_apart() {
        let request = parse(&words("--rounds 3 --case a x -y --then z --case b w")).unwrap();
        assert_eq!(request.rounds, 3);
        assert_eq!(request.cases[0].commands, [words("x -y"), words("z")]);
        assert_eq!(request.cases[1].commands, [words("w")]);
        assert!(parse(&words("--case a")).is_none());
        assert!(parse(&words("x")).is_none());
        assert!(parse(&words("--case a x --then --case b y")).is_none());
    }

    #[test]
    fn ratios_are_to_the_first_case_that_ran() {
        let case = |name: &str, times: &[u64]| Case {
            name: name.to_owned(),
            commands: Vec::new(),
            times: times.iter().map(|&ms| Duration::from_millis(ms)).collect(),
            failures: 0,
        };
        let mut cases = [
            case("none", &[]),
            case("a", &[30, 10, 20]),
            case("b", &[40]),
        ];
        let text = table(&mut cases);
        assert!(text.contains("| none | – | – | – | 0 |"));
        assert!(text.contains("| a | 20.00 | 10.00 | 1.00 | 3 |"));
        assert!(text.contains("| b | 40.00 | 40.00 | 2.00 | 1 |"));
    }
}
