//! The contract of a cell, held against [`Container`].

use std::process::ExitCode;

use gamut_container::Container;
use gamut_plan::level::Level;

mod lab;

fn main() -> ExitCode {
    lab::run::<Container>(Level::Container)
}
