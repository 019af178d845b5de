//! The end of a process, and of the keeper with its workload's first one.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use gamut_plan::cell::Exit;
use gamut_plan::launch::Removal;
use gamut_plan::wire::Reply;
use gamut_plan::{MAIN, Phase, ProcessId};

use super::events::Keeper;
use super::launch::remove_run_directory;
use crate::dirs::Container;
use crate::record;

impl Keeper {
    pub(super) fn on_process_end(&mut self, process: ProcessId) {
        let Some(workload) = &mut self.workload else {
            return;
        };
        if let Some(fd) = workload.cell.exit_fd(process) {
            self.poll.forget(fd);
        }
        let Ok(Some(exit)) = workload.cell.try_wait(process) else {
            return;
        };
        if process == MAIN {
            self.finish(exit);
        } else {
            self.tell(process, exit, false);
        }
    }

    fn tell(&mut self, process: ProcessId, exit: Exit, oom_killed: bool) {
        let concerned = |c: &super::connection::Connection| {
            c.waits_for == Some(process) || (process == MAIN && c.attached)
        };
        let ids: Vec<u32> = self
            .connections
            .iter()
            .filter(|(_, c)| concerned(c))
            .map(|(id, _)| *id)
            .collect();
        for id in ids {
            self.reply(id, &Reply::Exited { exit, oom_killed });
        }
    }

    /// Records the end, takes everything back, then says so: who hears of the end finds the
    /// container stopped and its ports free.
    fn finish(&mut self, exit: Exit) {
        self.drain_output();
        let Some(mut workload) = self.workload.take() else {
            return;
        };
        let oom_killed = workload.cell.oom_killed();
        let mut status = workload.status.clone();
        let bindings = std::mem::take(&mut status.ports);
        workload.ports.release(&bindings);
        // What could not be removed is found by its name at the next repair.
        let _ = workload.cell.destroy();
        status.phase = Phase::Exited;
        status.pid = 0;
        status.exit_code = exit.code;
        status.oom_killed = oom_killed;
        status.finished_at_ns = record::now_ns();
        let _ = record::write_status(&workload.dirs, &status);
        if workload.plan.removal == Removal::Keep {
            remove_run_directory(&workload.dirs);
        } else {
            let _ = std::fs::remove_file(workload.dirs.run().join(gamut_plan::wire::SOCKET_NAME));
        }
        let removed_by_client = self.connections.values().any(|c| c.removes);
        let dirs = workload.dirs.clone();
        let removal = workload.plan.removal;
        let id = workload.plan.id.clone();
        drop(workload);
        if removal == Removal::OnExit && !removed_by_client {
            remove(&dirs, &id);
        }
        self.tell(MAIN, exit, oom_killed);
        // Those that have everything are let go; the others when they have read it.
        let finished: Vec<u32> = self
            .connections
            .iter()
            .filter(|(_, c)| !c.has_backlog())
            .map(|(id, _)| *id)
            .collect();
        for id in finished {
            self.dismiss(id);
        }
    }
}

/// `--rm` of a container that nobody is attached to: the one act that needs the database, which
/// the keeper has not got, so the command line does it.
fn remove(dirs: &Container, id: &str) {
    let Some((root, run_root)) = dirs.roots() else {
        return;
    };
    let mut command = Command::new("/proc/self/exe");
    command
        .arg0("gamut")
        .arg("--root")
        .arg(root)
        .arg("--runroot")
        .arg(run_root)
        .args(["rm", id]);
    let _ = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
}
