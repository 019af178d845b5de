//! The contract of a [`Cell`], executable: every level passes [`PROMISES`] one by one.
//!
//! The suite draws its plans with [`draw`], as the engine does, and starts them where the level's
//! tests say: a [`Ground`]. A promise panics where it is broken: this is a test that lives outside
//! a test. Run it in a process with one thread, as a keeper is: a start clones it.
//!
//! A file per group of promises: [`start`], [`terminal`], [`exec`], [`control`], [`end`].

mod bench;
mod control;
mod end;
mod exec;
mod start;
mod terminal;

use std::os::fd::BorrowedFd;
use std::time::Duration;

use crate::cell::Cell;
use crate::draw::MachineParts;
use crate::host::HostFacts;
use crate::launch::{FilesPlan, RootPlan};
use crate::level::Level;

use bench::Bench;

/// What a level's tests give the suite to stand on.
pub trait Ground {
    fn level(&self) -> Level;

    fn host(&self) -> HostFacts;

    /// The cgroup below which workloads make theirs; the suite's own, and empty.
    fn cgroup_parent(&self) -> String;

    /// A new root for the workload `id`, and the directory for its files.
    ///
    /// The root holds in `/bin` `sh`, `cat`, `dd`, `hostname`, `id`, `sleep`, `stty` and `test` as
    /// busybox has them, an `/etc/passwd` with the user `suite` (uid 1234, gid 1234) that is not
    /// executable, and a `/tmp`.
    fn place(&self, id: &str) -> Place;

    /// What machines are made of, for a level that has them.
    fn machine(&self) -> Option<MachineParts> {
        None
    }

    /// Waits until the descriptor is readable or hung up; false if that takes longer.
    fn readable(&self, fd: BorrowedFd<'_>, patience: Duration) -> bool;

    /// Sends SIGKILL to a process of this host.
    fn kill(&self, pid: i32);

    /// Everything of this host that a workload of this level could leave behind, by name: child
    /// processes, groups, mounts, descriptors. Compared before and after.
    fn census(&self) -> Vec<String>;
}

/// Where a workload is started.
#[derive(Debug)]
pub struct Place {
    pub root: RootPlan,
    pub files: FilesPlan,
}

/// One article of the contract.
pub struct Promise<C> {
    /// Unique, in the form of a test's name.
    pub name: &'static str,
    keep: fn(&Bench<'_, C>),
}

impl<C> std::fmt::Debug for Promise<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl<C: Cell> Promise<C> {
    /// Holds the level to this promise, and to leaving nothing behind.
    ///
    /// # Panics
    /// Where the promise is broken.
    pub fn hold(&self, ground: &dyn Ground) {
        let before = ground.census();
        (self.keep)(&Bench::new(ground));
        assert_eq!(ground.census(), before, "something is left behind");
    }
}

/// Every promise, in an order in which the first to be broken says most.
#[must_use]
pub fn promises<C: Cell>() -> Vec<Promise<C>> {
    macro_rules! promises {
        ($($group:ident: $($name:ident)*;)*) => {
            vec![$($(Promise {
                name: concat!(stringify!($group), "::", stringify!($name)),
                keep: $group::$name::<C>,
            }),*),*]
        };
    }
    promises! {
        start:
            the_exit_code_is_the_programs
            a_death_by_signal_is_128_and_its_number
            the_streams_are_those_given
            streams_not_given_are_empty
            much_output_arrives_whole
            a_missing_program_is_not_found
            what_is_no_program_is_not_runnable
            an_unknown_user_is_refused
            the_program_runs_as_the_user
            the_network_is_connected_once
            a_shared_network_is_left_alone
            a_network_that_fails_fails_the_start;
        terminal:
            a_terminal_has_its_size_and_shows_output
            a_terminal_is_taken_once
            input_goes_through_the_terminal;
        exec:
            a_second_process_stands_in_the_same_workload
            a_second_process_has_an_exit_of_its_own
            a_second_process_has_what_its_plan_says
            a_second_process_may_have_a_terminal
            a_second_process_that_cannot_start_harms_nothing
            nothing_is_started_after_the_end;
        control:
            signals_reach_the_program
            no_signal_reaches_the_dead
            counters_count
            limits_change_while_it_runs
            a_frozen_workload_stands_still
            the_oom_killer_is_seen;
        end:
            an_end_is_told_once
            destroy_ends_every_process
            destroy_may_come_late_and_twice
            a_frozen_workload_is_destroyed
            a_workload_ends_with_its_process
            the_same_name_starts_again;
    }
}
