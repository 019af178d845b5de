//! The first process inside a virtual machine: makes it ready, and carries out the plan with the container
//! room's code, as the keeper does on the host.
//!
//! [`Agent`] does what it is asked over one connection, [`gamut_plan::guest`]; what needs a machine around it
//! it asks of a [`Machine`], which is [`Guest`] where there is one. One thread and one epoll loop: a start
//! clones this process. Nothing listens in here, so nobody inside can reach what the agent is asked by.
#![forbid(unsafe_code)]

mod agent;
mod boot;
mod error;
pub mod files;
mod guest;
mod machine;
mod modules;
mod network;
mod poll;
mod process;
mod pump;

pub use agent::Agent;
pub use error::AgentError;
pub use guest::Guest;
pub use machine::Machine;

/// The life of a machine, from its kernel's first program on. Does not return while it has power.
pub fn init() {
    if let Err(error) = live() {
        // The console is the only one to tell.
        eprintln!("gamut-agent: {error}");
    }
    Guest.power_off();
}

fn live() -> Result<(), AgentError> {
    boot::prepare()?;
    let machine = Guest;
    Agent::new(&machine)?.run()
}
