//! What a pull shows: a bar for each layer on a terminal, a line for each step elsewhere.

use std::collections::HashMap;
use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};

use gamut_engine::pull::{LayerEvent, PullEvents};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::{human, table, terminal};

/// How a pull is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Nothing.
    Quiet,
    /// A line for each step.
    Lines,
    /// A bar for each layer, redrawn in place.
    Bars,
}

impl Style {
    /// Bars where standard error is a terminal, else lines.
    pub fn of_stderr() -> Self {
        match terminal::is_terminal(io::stderr()) {
            true => Self::Bars,
            false => Self::Lines,
        }
    }
}

/// Shows a pull on `output`, standard error as a rule: standard output is for results.
#[derive(Debug)]
pub struct Progress<W: Write + Send> {
    state: Mutex<State<W>>,
}

#[derive(Debug)]
enum State<W> {
    Quiet,
    Lines {
        output: W,
        /// The last step said of each layer: a download is one line, not one for each block.
        said: HashMap<String, &'static str>,
    },
    Bars {
        all: MultiProgress,
        layers: HashMap<String, ProgressBar>,
    },
}

impl Progress<io::Stderr> {
    /// Shows on standard error.
    pub fn on_stderr(style: Style) -> Self {
        match style {
            Style::Bars => Self {
                state: Mutex::new(State::Bars {
                    all: MultiProgress::with_draw_target(ProgressDrawTarget::stderr()),
                    layers: HashMap::new(),
                }),
            },
            style => Self::lines(style, io::stderr()),
        }
    }
}

impl<W: Write + Send> Progress<W> {
    /// Lines on `output`, or nothing.
    pub fn lines(style: Style, output: W) -> Self {
        let state = match style {
            Style::Quiet => State::Quiet,
            Style::Lines | Style::Bars => State::Lines {
                output,
                said: HashMap::new(),
            },
        };
        Self {
            state: Mutex::new(state),
        }
    }

    /// A line of its own, such as `latest: Pulling from library/nginx`.
    pub fn say(&self, line: &str) {
        let line = table::visible(line);
        match &mut *self.state.lock().unwrap_or_else(PoisonError::into_inner) {
            State::Quiet => {}
            // Progress that cannot be shown is no reason to fail.
            State::Lines { output, .. } => drop(writeln!(output, "{line}")),
            State::Bars { all, .. } => drop(all.println(line)),
        }
    }
}

impl<W: Write + Send> PullEvents for Progress<W> {
    fn event(&self, layer: &str, event: LayerEvent) {
        match &mut *self.state.lock().unwrap_or_else(PoisonError::into_inner) {
            State::Quiet => {}
            State::Lines { output, said } => {
                let word = word(event);
                if said.insert(layer.to_owned(), word) != Some(word) {
                    let _ = writeln!(output, "{}: {word}", table::visible(layer));
                }
            }
            State::Bars { all, layers } => {
                let bar = layers.entry(layer.to_owned()).or_insert_with(|| {
                    let bar = all.add(ProgressBar::no_length());
                    bar.set_prefix(table::visible(layer));
                    bar
                });
                draw(bar, event);
            }
        }
    }

    fn warning(&self, text: &str) {
        self.say(&format!("warning: {text}"));
    }
}

/// Docker's words.
fn word(event: LayerEvent) -> &'static str {
    match event {
        LayerEvent::Waiting => "Waiting",
        LayerEvent::Exists => "Already exists",
        LayerEvent::Downloading { .. } => "Downloading",
        LayerEvent::Extracting => "Extracting",
        LayerEvent::Done => "Pull complete",
    }
}

fn draw(bar: &ProgressBar, event: LayerEvent) {
    let style = |template| {
        ProgressStyle::with_template(template)
            .unwrap_or_else(|_| ProgressStyle::default_bar())
            .progress_chars("=> ")
    };
    match event {
        LayerEvent::Downloading {
            done_bytes,
            total_bytes,
        } => {
            if bar.length() != Some(total_bytes) {
                bar.set_length(total_bytes);
                bar.set_style(style("{prefix}: Downloading [{bar:40}] {msg}"));
            }
            bar.set_position(done_bytes.min(total_bytes));
            let (done, total) = (
                human::decimal_size(done_bytes),
                human::decimal_size(total_bytes),
            );
            bar.set_message(format!("{done}/{total}"));
        }
        LayerEvent::Exists | LayerEvent::Done => {
            bar.set_style(style("{prefix}: {msg}"));
            bar.finish_with_message(word(event));
        }
        LayerEvent::Waiting | LayerEvent::Extracting => {
            bar.set_style(style("{prefix}: {msg}"));
            bar.set_message(word(event));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(style: Style) -> String {
        let mut output = Vec::new();
        let progress = Progress::lines(style, &mut output);
        progress.say("latest: Pulling from library/nginx");
        for event in [
            LayerEvent::Waiting,
            LayerEvent::Downloading {
                done_bytes: 1,
                total_bytes: 2,
            },
            LayerEvent::Downloading {
                done_bytes: 2,
                total_bytes: 2,
            },
            LayerEvent::Extracting,
            LayerEvent::Done,
        ] {
            progress.event("0123456789ab", event);
        }
        progress.event("ba9876543210", LayerEvent::Exists);
        drop(progress);
        String::from_utf8(output).unwrap()
    }

    #[test]
    fn a_line_for_each_step() {
        assert_eq!(
            shown(Style::Lines),
            "latest: Pulling from library/nginx\n\
             0123456789ab: Waiting\n\
             0123456789ab: Downloading\n\
             0123456789ab: Extracting\n\
             0123456789ab: Pull complete\n\
             ba9876543210: Already exists\n"
        );
    }

    #[test]
    fn quiet_is_quiet() {
        assert_eq!(shown(Style::Quiet), "");
    }

    #[test]
    fn bars_take_every_event() {
        let bar = ProgressBar::hidden();
        for event in [
            LayerEvent::Waiting,
            LayerEvent::Downloading {
                done_bytes: 5,
                total_bytes: 2,
            },
            LayerEvent::Extracting,
            LayerEvent::Done,
        ] {
            draw(&bar, event);
        }
        assert!(bar.is_finished());
    }
}
