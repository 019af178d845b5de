//! What a pull or a push shows: a bar for each layer on a terminal, a line for each step elsewhere, or JSON for
//! another program.

use std::collections::HashMap;
use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};

use gamut_engine::pull::{LayerEvent, PullEvents};
use gamut_engine::push::{PushEvent, PushEvents};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;

use crate::error::Failure;
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
    /// An object for each event, a line each, as Docker's API streams them: `status`, and of a layer `id` and
    /// `progressDetail` with `current` and `total` bytes.
    Json,
}

/// `--progress`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Form {
    /// Bars on a terminal, lines elsewhere
    #[default]
    Auto,
    /// A bar for each layer
    Tty,
    /// A line for each step
    Plain,
    /// A JSON object for each event, on standard output
    Json,
}

/// The flags of commands that may take long.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct ProgressArgs {
    /// How progress is shown
    #[arg(
        long,
        value_enum,
        value_name = "FORM",
        default_value_t,
        conflicts_with = "quiet"
    )]
    pub progress: Form,

    /// Show no progress, and tell no more than what came of it
    #[arg(short, long)]
    pub quiet: bool,
}

impl ProgressArgs {
    /// What they ask for.
    pub fn style(self) -> Style {
        Style::unless_quiet(self.quiet, self.progress)
    }
}

impl Style {
    /// Nothing for `--quiet`, else what `--progress` says.
    pub(crate) fn unless_quiet(quiet: bool, form: Form) -> Self {
        match (quiet, form) {
            (true, _) => Self::Quiet,
            (false, Form::Auto) => Self::of_stderr(),
            (false, Form::Tty) => Self::Bars,
            (false, Form::Plain) => Self::Lines,
            (false, Form::Json) => Self::Json,
        }
    }

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
        said: HashMap<String, String>,
    },
    Bars {
        all: MultiProgress,
        layers: HashMap<String, ProgressBar>,
    },
    Json {
        output: W,
    },
}

/// Where a command shows how far it is.
pub type Shown = Progress<Box<dyn Write + Send>>;

impl Shown {
    /// Shows on standard error, but JSON on standard output.
    pub fn of(style: Style) -> Self {
        match style {
            Style::Json => Self::lines(style, Box::new(io::stdout())),
            Style::Bars => Self {
                state: Mutex::new(State::Bars {
                    all: MultiProgress::with_draw_target(ProgressDrawTarget::stderr()),
                    layers: HashMap::new(),
                }),
            },
            style => Self::lines(style, Box::new(io::stderr())),
        }
    }
}

impl<W: Write + Send> Progress<W> {
    /// Lines or JSON on `output`, or nothing.
    pub fn lines(style: Style, output: W) -> Self {
        let state = match style {
            Style::Quiet => State::Quiet,
            Style::Json => State::Json { output },
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
    pub fn say(&self, said: &str) {
        let line = table::visible(said);
        match &mut *self.state.lock().unwrap_or_else(PoisonError::into_inner) {
            State::Quiet => {}
            // Progress that cannot be shown is no reason to fail.
            State::Lines { output, .. } => drop(writeln!(output, "{line}")),
            State::Bars { all, .. } => drop(all.println(line)),
            State::Json { output } => tell(output, &json!({ "status": said })),
        }
    }

    /// What came of it, in lines: on standard output, and for another program an object for each.
    ///
    /// # Errors
    /// Standard output is gone.
    pub fn result(&self, text: &str) -> Result<(), Failure> {
        match &mut *self.state.lock().unwrap_or_else(PoisonError::into_inner) {
            State::Json { output } => text
                .lines()
                .for_each(|line| tell(output, &json!({ "status": line }))),
            _ => io::stdout()
                .write_all(text.as_bytes())
                .map_err(Failure::Output)?,
        }
        Ok(())
    }
}

/// A reader that is gone is no reason to stop what is shown.
fn tell(output: &mut impl Write, object: &serde_json::Value) {
    let _ = writeln!(output, "{object}").and_then(|()| output.flush());
}

impl<W: Write + Send> Progress<W> {
    fn step(&self, layer: &str, step: Step) {
        match &mut *self.state.lock().unwrap_or_else(PoisonError::into_inner) {
            State::Quiet => {}
            State::Lines { output, said } => {
                if said.get(layer) != Some(&step.word) {
                    let _ = writeln!(output, "{}: {}", table::visible(layer), step.word);
                    said.insert(layer.to_owned(), step.word);
                }
            }
            State::Bars { all, layers } => {
                let bar = layers.entry(layer.to_owned()).or_insert_with(|| {
                    let bar = all.add(ProgressBar::no_length());
                    bar.set_prefix(table::visible(layer));
                    bar
                });
                draw(bar, step);
            }
            State::Json { output } => {
                let detail = match step.amount {
                    Amount::Of {
                        done_bytes,
                        total_bytes,
                    } => json!({ "current": done_bytes, "total": total_bytes }),
                    Amount::Done { done_bytes } => json!({ "current": done_bytes }),
                    Amount::Unknown | Amount::Last => json!({}),
                };
                let object = json!({ "status": step.word, "progressDetail": detail, "id": layer });
                tell(output, &object);
            }
        }
    }
}

impl<W: Write + Send> PullEvents for Progress<W> {
    fn event(&self, layer: &str, event: LayerEvent) {
        self.step(layer, event.into());
    }

    fn warning(&self, text: &str) {
        self.say(&format!("warning: {text}"));
    }
}

impl<W: Write + Send> PushEvents for Progress<W> {
    fn event(&self, layer: &str, event: PushEvent) {
        self.step(layer, event.into());
    }
}

/// What is shown of one layer: a word of Docker's, and how far it is.
#[derive(Debug, Clone)]
struct Step {
    word: String,
    amount: Amount,
}

#[derive(Debug, Clone, Copy)]
enum Amount {
    /// It goes on, and nobody knows how long.
    Unknown,
    /// So much of what has no known end.
    Done {
        done_bytes: u64,
    },
    Of {
        done_bytes: u64,
        total_bytes: u64,
    },
    /// There is nothing more to come.
    Last,
}

impl From<LayerEvent> for Step {
    fn from(event: LayerEvent) -> Self {
        let (word, amount) = match event {
            LayerEvent::Waiting => ("Waiting", Amount::Unknown),
            LayerEvent::Exists => ("Already exists", Amount::Last),
            LayerEvent::Downloading {
                done_bytes,
                total_bytes,
            } => (
                "Downloading",
                Amount::Of {
                    done_bytes,
                    total_bytes,
                },
            ),
            LayerEvent::LaidOut => ("Laid out", Amount::Last),
            LayerEvent::Indexed => ("Indexed", Amount::Last),
            LayerEvent::Extracting => ("Extracting", Amount::Unknown),
            LayerEvent::Done => ("Pull complete", Amount::Last),
        };
        Self {
            word: word.to_owned(),
            amount,
        }
    }
}

impl From<PushEvent> for Step {
    fn from(event: PushEvent) -> Self {
        let (word, amount) = match event {
            PushEvent::Preparing => ("Preparing", Amount::Unknown),
            PushEvent::Packing { done_bytes } => ("Compressing", Amount::Done { done_bytes }),
            PushEvent::Pushing {
                done_bytes,
                total_bytes,
            } => (
                "Pushing",
                Amount::Of {
                    done_bytes,
                    total_bytes,
                },
            ),
            PushEvent::Exists => ("Layer already exists", Amount::Last),
            PushEvent::Mounted(from) => {
                return Self {
                    word: format!("Mounted from {}", table::visible(&from)),
                    amount: Amount::Last,
                };
            }
            PushEvent::Pushed => ("Pushed", Amount::Last),
            PushEvent::Foreign => ("Skipped foreign layer", Amount::Last),
        };
        Self {
            word: word.to_owned(),
            amount,
        }
    }
}

fn draw(bar: &ProgressBar, step: Step) {
    let style = |template: &str| {
        ProgressStyle::with_template(template)
            .unwrap_or_else(|_| ProgressStyle::default_bar())
            .progress_chars("=> ")
    };
    match step.amount {
        Amount::Of {
            done_bytes,
            total_bytes,
        } => {
            if bar.length() != Some(total_bytes) {
                bar.set_length(total_bytes);
                let template = format!("{{prefix}}: {} [{{bar:40}}] {{msg}}", step.word);
                bar.set_style(style(&template));
            }
            bar.set_position(done_bytes.min(total_bytes));
            let (done, total) = (
                human::decimal_size(done_bytes),
                human::decimal_size(total_bytes),
            );
            bar.set_message(format!("{done}/{total}"));
        }
        Amount::Last => {
            bar.set_style(style("{prefix}: {msg}"));
            bar.finish_with_message(step.word);
        }
        Amount::Unknown => {
            bar.set_style(style("{prefix}: {msg}"));
            bar.set_message(step.word);
        }
        Amount::Done { done_bytes } => {
            bar.set_style(style("{prefix}: {msg}"));
            let done = human::decimal_size(done_bytes);
            bar.set_message(format!("{} {done}", step.word));
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
            PullEvents::event(&progress, "0123456789ab", event);
        }
        PullEvents::event(&progress, "ba9876543210", LayerEvent::Exists);
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
    fn an_object_for_each_event() {
        let text = shown(Style::Json);
        let objects: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(objects.len(), 7);
        assert_eq!(
            objects[0],
            json!({"status": "latest: Pulling from library/nginx"})
        );
        assert_eq!(
            objects[2],
            json!({"status": "Downloading", "id": "0123456789ab",
                   "progressDetail": {"current": 1, "total": 2}})
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
            draw(&bar, event.into());
        }
        assert!(bar.is_finished());
    }
}
