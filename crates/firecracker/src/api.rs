//! Requests to an instance: read, counted, logged, done, answered.

use std::os::fd::BorrowedFd;
use std::time::Instant;

use crate::action::{self, ActionError, Asked};
use crate::controller::{Controller, Reply};
use crate::http::server::{Handler, Outlook};
use crate::http::{Request, Response, Status};
use crate::log::Module;
use crate::machine::Outcome;
use crate::metrics::Reading;
use crate::model::Level;
use crate::resources::error::ControlError;

/// An instance behind its socket, until its machine has ended.
#[derive(Debug)]
pub struct Api {
    controller: Controller,
    outcome: Option<Outcome>,
}

impl Api {
    #[must_use]
    pub fn new(controller: Controller) -> Self {
        Self {
            controller,
            outcome: None,
        }
    }

    /// How the machine ended; asked when the server has come to its end.
    #[must_use]
    pub fn into_outcome(self) -> Option<Outcome> {
        self.outcome
    }

    fn perform(&mut self, asked: Asked) -> Response {
        if let Some(deprecation) = asked.deprecation {
            self.controller
                .metrics
                .add("deprecated_api", "deprecated_http_api_calls", 1);
            self.controller
                .log
                .line(Level::Warn, Module::ApiServer, deprecation);
        }
        let endpoint = asked.endpoint();
        let response = match self.controller.handle(asked.action) {
            Ok(Reply::Empty) => Response::no_content(),
            Ok(Reply::Document(document)) => Response::ok(document),
            Err(error @ ControlError::MmdsLimit(_)) => {
                self.fault(Status::PayloadTooLarge, &error.to_string())
            }
            Err(error) => self.fault(Status::BadRequest, &error.to_string()),
        };
        Response {
            endpoint,
            ..response
        }
    }

    fn fault(&mut self, status: Status, message: &str) -> Response {
        let text = format!("Received Error. Status code: {status}. Message: {message}");
        self.controller
            .log
            .line(Level::Error, Module::ApiServer, &text);
        Response::fault(status, message)
    }

    fn log_request(&mut self, request: &Request) {
        let (method, path) = (request.method, &request.path);
        let mut text = format!("The API server received a {method} request on {path:?}");
        // Metadata is the guest's, and may be a secret.
        if let Some(body) = request.body.as_ref().filter(|_| !path.starts_with("/mmds")) {
            text.push_str(&format!(" with body {:?}", String::from_utf8_lossy(body)));
        }
        text.push('.');
        self.controller
            .log
            .line(Level::Info, Module::ApiServer, &text);
    }
}

impl Handler for Api {
    fn handle(&mut self, request: &Request) -> Response {
        self.log_request(request);
        let asked: Result<Asked, ActionError> = action::read(request);
        let reading = if asked.is_ok() {
            Reading::Good
        } else {
            Reading::Bad
        };
        let resource = action::resource(&request.path);
        self.controller
            .metrics
            .count_request(request.method, resource, reading);
        let response = match asked {
            Ok(asked) => self.perform(asked),
            Err(error) => self.fault(Status::BadRequest, &error.to_string()),
        };
        if matches!(response.status, Status::Ok | Status::NoContent) {
            let status = response.status;
            let text = format!("The request was executed successfully. Status code: {status}.");
            self.controller
                .log
                .line(Level::Info, Module::ApiServer, &text);
        }
        response
    }

    fn refused(&mut self, reason: &str) {
        let text = format!("API Server error on retrieving incoming request: {reason}");
        self.controller
            .log
            .line(Level::Error, Module::ApiServer, &text);
    }

    fn waits_for(&self) -> Option<BorrowedFd<'_>> {
        self.controller.ended()
    }

    fn alarm(&self) -> Option<Instant> {
        // Nothing happens before the machine runs.
        self.controller
            .ended()
            .and_then(|_| self.controller.metrics.next())
    }

    fn wake(&mut self) -> Outlook {
        let is_due = self.alarm().is_some_and(|alarm| alarm <= Instant::now());
        if is_due && let Err(error) = self.controller.write_metrics() {
            let text = format!("Failed to write metrics: {error}");
            self.controller
                .log
                .line(Level::Error, Module::Firecracker, &text);
        }
        self.outcome = self.controller.outcome();
        if self.outcome.is_none() {
            return Outlook::GoOn;
        }
        // What happened until its end.
        let _ = self.controller.write_metrics();
        Outlook::End
    }
}
