//! What the image `peer:lab` runs: `lab-peer serve PORT…` tells each caller the address it is seen from;
//! `lab-peer tcp ADDRESS:PORT` and `lab-peer udp ADDRESS:PORT` ask such a server and print its answer.
#![forbid(unsafe_code)]

use gamut_tests::{whoami, world};
use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match run(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lab-peer: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(words: &[&str]) -> Result<(), Box<dyn std::error::Error>> {
    match words {
        ["serve", ports @ ..] => {
            let mut servers = Vec::new();
            for port in ports {
                servers.push(whoami::serve(port.parse()?)?);
            }
            println!("ready");
            loop {
                std::thread::park();
            }
        }
        ["tcp", target] => print!("{}", world::talk(target.parse()?, "hello")?),
        ["udp", target] => print!("{}", world::ask(target.parse()?, "hello")?),
        _ => {
            return Err("usage: lab-peer serve PORT… | tcp ADDRESS:PORT | udp ADDRESS:PORT".into());
        }
    }
    Ok(())
}
