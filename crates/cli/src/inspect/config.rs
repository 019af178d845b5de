//! `Config`: what runs inside, of a container or as an image would have it.

use std::collections::BTreeMap;

use gamut_engine::View;
use gamut_engine::details::Details;
use gamut_plan::launch::{Stdin, Terminal};
use gamut_plan::request::Signal;
use gamut_spec::image::{Healthcheck, ImageConfig};
use serde::Serialize;

use super::{Set, set};
use crate::convert::signal_name;

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Config {
    hostname: String,
    domainname: String,
    user: String,
    attach_stdin: bool,
    attach_stdout: bool,
    attach_stderr: bool,
    exposed_ports: Option<Set>,
    tty: bool,
    open_stdin: bool,
    stdin_once: bool,
    env: Vec<String>,
    cmd: Option<Vec<String>>,
    image: String,
    volumes: Option<Set>,
    working_dir: String,
    entrypoint: Option<Vec<String>>,
    on_build: Option<Vec<String>>,
    labels: BTreeMap<String, String>,
    stop_signal: String,
    stop_timeout: Option<i64>,
    healthcheck: Option<Healthcheck>,
}

impl Config {
    pub(super) fn of_image(config: &ImageConfig) -> Self {
        let own = &config.config;
        Self {
            user: own.user.clone(),
            exposed_ports: set(&own.exposed_ports),
            env: own.env.clone(),
            cmd: own.cmd.clone(),
            volumes: set(&own.volumes),
            working_dir: own.working_dir.clone(),
            entrypoint: own.entrypoint.clone(),
            on_build: (!own.on_build.is_empty()).then(|| own.on_build.clone()),
            labels: own.labels.clone(),
            stop_signal: own.stop_signal.clone().unwrap_or_default(),
            stop_timeout: own.stop_timeout,
            healthcheck: own.healthcheck.clone(),
            ..Self::default()
        }
    }

    pub(super) fn of_container(view: &View, details: &Details) -> Self {
        let image = details.summary.config.as_ref().map(|config| &config.config);
        let asked = details
            .summary
            .request
            .as_ref()
            .map(|request| &request.process);
        let entrypoint = match asked.and_then(|asked| asked.entrypoint.clone()) {
            Some(given) => Some(given).filter(|words| !words.is_empty()),
            None => image.and_then(|image| image.entrypoint.clone()),
        };
        // A new entrypoint discards the image's command.
        let cmd = match asked {
            Some(asked) if !asked.command.is_empty() => Some(asked.command.clone()),
            Some(asked) if asked.entrypoint.is_some() => None,
            _ => image.and_then(|image| image.cmd.clone()),
        };
        let mut config = Self {
            cmd,
            entrypoint,
            image: view.row.image_ref.clone(),
            volumes: image.and_then(|image| set(&image.volumes)),
            labels: view.row.labels.clone(),
            exposed_ports: exposed(details),
            healthcheck: image
                .zip(details.summary.request.as_ref())
                .and_then(|(image, request)| request.health.over(image)),
            ..Self::default()
        };
        config.take_plan(details);
        config
    }

    /// What was decided when the container was made.
    fn take_plan(&mut self, details: &Details) {
        let Some(plan) = &details.plan else {
            return;
        };
        let process = plan.spec.process().as_ref();
        self.hostname = plan.spec.hostname().clone().unwrap_or_default();
        self.domainname = plan.spec.domainname().clone().unwrap_or_default();
        self.user = plan.user.user.clone();
        self.tty = plan.streams.terminal != Terminal::None;
        self.open_stdin = plan.streams.stdin != Stdin::Closed;
        self.stdin_once = plan.streams.stdin == Stdin::OpenOnce;
        self.attach_stdin = self.stdin_once;
        self.env = process.and_then(|p| p.env().clone()).unwrap_or_default();
        self.working_dir = process.map_or_else(String::new, |p| p.cwd().display().to_string());
        self.stop_signal = u8::try_from(plan.stop.signal)
            .map_or_else(|_| String::new(), |number| signal_name(Signal(number)));
        // Docker's -1 waits for ever.
        self.stop_timeout = Some(plan.stop.timeout_s.map_or(-1, i64::from));
    }
}

fn exposed(details: &Details) -> Option<Set> {
    let keys: Vec<String> = details
        .summary
        .exposed()
        .iter()
        .map(|(port, protocol)| format!("{port}/{}", protocol.name()))
        .collect();
    set(&keys)
}
