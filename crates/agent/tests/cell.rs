//! The contract of a cell, held against [`Microvm`] and the agent, with a double in place of the machine: a
//! process in namespaces of its own, and another one that is its monitor. All is tested but the kernel that
//! lies between the two.

use std::process::ExitCode;

use gamut_plan::level::Level;
use gamut_vmm::cell::Microvm;

mod double;
#[path = "../../container/tests/lab/mod.rs"]
mod lab;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().collect();
    match words.get(1).map(String::as_str) {
        Some(double::MONITOR) => double::monitor::run(&words[2..]),
        Some(double::MACHINE) => double::machine::run(&words[2..]),
        _ => lab::run::<Microvm<double::Double>>(Level::Microvm),
    }
}
