//! Output on its way from the workload to the log and to whoever is attached.

use gamut_plan::wire::stream;
use rustix::event::epoll::EventFlags;
use rustix::io::Errno;

use super::events::{Keeper, Source};

impl Keeper {
    /// Reads what is there, one buffer at a time, so that clients get their turn.
    pub(super) fn on_output(&mut self, which: u8) {
        self.push_terminal_input(which);
        if self.workload.as_ref().is_some_and(|w| w.streams.held) {
            return;
        }
        self.copy_output(which);
    }

    fn push_terminal_input(&mut self, which: u8) {
        if which == 0
            && self
                .workload
                .as_ref()
                .is_some_and(|w| w.streams.has_terminal)
        {
            self.on_input_writable();
        }
    }

    /// Copies one buffer; `false` when there is nothing to read now or any more.
    fn copy_output(&mut self, which: u8) -> bool {
        let index = usize::from(which);
        let mut buffer = [0u8; stream::MAX_BYTES];
        let Some(workload) = &mut self.workload else {
            return false;
        };
        let Some(output) = workload.streams.outputs.get(index).and_then(Option::as_ref) else {
            return false;
        };
        let length = match rustix::io::read(output, &mut buffer) {
            Ok(0) => 0,
            Ok(length) => length,
            Err(Errno::AGAIN | Errno::INTR) => return false,
            // A terminal whose other side is closed reads as an error.
            Err(_) => 0,
        };
        if length == 0 {
            self.poll.forget(output);
            workload.streams.outputs[index] = None;
            return false;
        }
        let bytes = &buffer[..length];
        workload.log.write(which, bytes);
        self.watch_herald();
        let tag = if which == 0 {
            stream::STDOUT
        } else {
            stream::STDERR
        };
        let attached: Vec<u32> = self
            .connections
            .iter()
            .filter(|(_, c)| c.attached)
            .map(|(id, _)| *id)
            .collect();
        for id in attached {
            self.send_to(id, &[tag], bytes);
        }
        self.hold_output_if_full();
        true
    }

    /// Waits for who is told the lines, while he is behind.
    fn watch_herald(&self) {
        let workload = self.workload.as_ref();
        let behind = workload.and_then(|w| w.log.herald.as_ref()?.wants_out());
        if let Some(socket) = behind {
            let _ = self.poll.watch(socket, Source::Herald, EventFlags::OUT);
        }
    }

    /// He takes more.
    pub(super) fn on_herald(&mut self) {
        let workload = self.workload.as_mut();
        let Some(herald) = workload.and_then(|w| w.log.herald.as_mut()) else {
            return;
        };
        if let Some(socket) = herald.wants_out() {
            self.poll.forget(socket);
        }
        herald.flush();
        self.watch_herald();
    }

    fn hold_output_if_full(&mut self) {
        let full = self.connections.values().any(|c| c.attached && c.is_full());
        let Some(workload) = &mut self.workload else {
            return;
        };
        if full && !workload.streams.held {
            workload.streams.held = true;
            for output in workload.streams.outputs.iter().flatten() {
                self.poll.forget(output);
            }
        }
    }

    /// Reads on once no attached client is behind.
    pub(super) fn resume_output(&mut self) {
        let behind = self
            .connections
            .values()
            .any(|c| c.attached && c.has_backlog());
        let Some(workload) = &mut self.workload else {
            return;
        };
        if workload.streams.held && !behind {
            workload.streams.held = false;
            for (which, output) in workload.streams.outputs.iter().enumerate() {
                if let Some(output) = output {
                    let _ = self
                        .poll
                        .watch(output, Source::Output(which as u8), EventFlags::IN);
                }
            }
        }
    }

    /// Takes what the workload wrote before it ended. All its processes are dead, so the pipes
    /// come to their end, unless somebody carried one out of the container.
    pub(super) fn drain_output(&mut self) {
        for which in 0..2 {
            while self.copy_output(which) {}
        }
        if let Some(workload) = &mut self.workload {
            workload.log.finish();
        }
    }
}
