//! Control groups made by systemd: a transient scope around a container's processes, asked for over
//! D-Bus. What the scope's properties cannot say is written to its files by [`crate::cgroup`].
//!
//! [`Unit`] is a scope by name, whether it is there or not: [`Unit::start`], [`Unit::set`] and
//! [`Unit::stop`] open a [`connection`] each. org.freedesktop.systemd1(5).

mod annotations;
mod connection;
mod error;
mod message;
mod properties;
mod scope;

use serde::{Deserialize, Serialize};

use connection::Connection;
use message::{Call, Message, Value};

pub(crate) use annotations::properties as annotated;
pub(crate) use error::SystemdError;
pub(crate) use properties::{Host, Property, of_limits};

/// Whose systemd it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Bus {
    System,
    User,
}

impl Bus {
    /// That of root is the system's.
    #[must_use]
    pub fn of_caller() -> Bus {
        match rustix::process::geteuid().is_root() && !in_user_namespace() {
            true => Bus::System,
            false => Bus::User,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Bus::System => "the system bus",
            Bus::User => "the user's bus",
        }
    }
}

/// Whether root is only somebody's root: its systemd is that somebody's, then.
fn in_user_namespace() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let mut words = map.split_ascii_whitespace();
    let (inside, outside) = (words.next(), words.next());
    inside.is_some() && outside != Some("0")
}

/// A transient scope.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unit {
    /// Such as `gamut-web.scope`.
    pub name: String,
    /// Such as `system.slice`.
    pub slice: String,
    pub bus: Bus,
}

/// systemd, and what it says of itself.
#[derive(Debug)]
pub(crate) struct Systemd {
    connection: Connection,
}

impl Systemd {
    pub(crate) fn open(bus: Bus) -> Result<Self, SystemdError> {
        let connection = Connection::open(bus)?;
        Ok(Systemd { connection })
    }

    /// The group that systemd was given, below which all of its groups are: `/` or nothing for the
    /// host's own.
    pub(crate) fn control_group(&mut self) -> Result<String, SystemdError> {
        self.property("ControlGroup")
    }

    /// The number before all dots and other marks, such as 252; 0 where there is none.
    pub(crate) fn version(&mut self) -> Result<u32, SystemdError> {
        let text = self.property("Version")?;
        let digits = text.trim_start_matches('v');
        let end = digits.find(|c: char| !c.is_ascii_digit());
        Ok(digits[..end.unwrap_or(digits.len())].parse().unwrap_or(0))
    }

    fn property(&mut self, name: &str) -> Result<String, SystemdError> {
        let call = Call {
            destination: DESTINATION,
            path: PATH,
            interface: "org.freedesktop.DBus.Properties",
            member: "Get",
            body: &[Value::text(INTERFACE), Value::text(name)],
        };
        let answer = self.connection.call(&call, "tell", name)?;
        match answer.values()?.into_iter().next() {
            Some(Value::Text(text)) => Ok(text),
            _ => Err(SystemdError::Garbled {
                problem: "a property is no text",
            }),
        }
    }

    fn ask(
        &mut self,
        member: &str,
        body: &[Value],
        act: &'static str,
        unit: &Unit,
    ) -> Result<Message, SystemdError> {
        let call = Call {
            destination: DESTINATION,
            path: PATH,
            interface: INTERFACE,
            member,
            body,
        };
        self.connection.call(&call, act, &unit.name)
    }

    /// Asks for a job and waits for its end; what came of it.
    fn job(
        &mut self,
        member: &str,
        body: &[Value],
        act: &'static str,
        unit: &Unit,
    ) -> Result<String, SystemdError> {
        let answer = self.ask(member, body, act, unit)?;
        match answer.values()?.into_iter().next() {
            Some(Value::Path(job)) => self.connection.wait(&job),
            _ => Err(SystemdError::Garbled {
                problem: "it names no job",
            }),
        }
    }

    /// Makes systemd forget a unit that failed. One that did not, or is unknown, is as good.
    fn reset(&mut self, unit: &Unit) {
        let name = [Value::text(&unit.name)];
        let _ = self.ask("ResetFailedUnit", &name, "reset", unit);
    }
}

const DESTINATION: &str = "org.freedesktop.systemd1";
const PATH: &str = "/org/freedesktop/systemd1";
const INTERFACE: &str = "org.freedesktop.systemd1.Manager";
/// What is asked for takes the place of a job that is queued for the unit.
const REPLACE: &str = "replace";

/// `a(sv)`. Of two with one name the later counts.
fn listed(properties: &[Property]) -> Value {
    let pair = |(name, value): &Property| {
        let value = Value::Variant(Box::new(value.clone()));
        Value::Struct(vec![Value::text(name), value])
    };
    Value::array("(sv)", properties.iter().map(pair).collect())
}

impl Unit {
    /// Makes the scope with one process in it. One of the same name that has failed is forgotten
    /// for it.
    ///
    /// # Errors
    /// systemd's refusal; a job that did not end well.
    pub(crate) fn start(
        &self,
        systemd: &mut Systemd,
        pid: u32,
        host: Host,
        more: &[Property],
    ) -> Result<(), SystemdError> {
        let mut properties = properties::of_scope(self, pid, host);
        properties.extend_from_slice(more);
        let body = [
            Value::text(&self.name),
            Value::text(REPLACE),
            listed(&properties),
            // Units to be made beside it: none.
            Value::array("(sa(sv))", Vec::new()),
        ];
        let act = "make";
        let started = match systemd.job("StartTransientUnit", &body, act, self) {
            Err(error) if error.is_taken() => {
                systemd.reset(self);
                systemd.job("StartTransientUnit", &body, act, self)
            }
            other => other,
        };
        match started? {
            result if result == "done" => Ok(()),
            result => {
                systemd.reset(self);
                Err(SystemdError::Job {
                    act,
                    unit: self.name.clone(),
                    result,
                })
            }
        }
    }

    /// Sets properties until the scope's end.
    ///
    /// # Errors
    /// systemd's refusal.
    pub(crate) fn set(
        &self,
        systemd: &mut Systemd,
        properties: &[Property],
    ) -> Result<(), SystemdError> {
        if properties.is_empty() {
            return Ok(());
        }
        let runtime = Value::Bool(true);
        let body = [Value::text(&self.name), runtime, listed(properties)];
        systemd
            .ask("SetUnitProperties", &body, "change", self)
            .map(drop)
    }

    /// Stops the scope, and has it forgotten if it failed. One that is not there is no error.
    ///
    /// # Errors
    /// systemd's refusal; no systemd.
    pub(crate) fn stop(&self) -> Result<(), SystemdError> {
        let mut systemd = Systemd::open(self.bus)?;
        let body = [Value::text(&self.name), Value::text(REPLACE)];
        let stopped = systemd.job("StopUnit", &body, "stop", self);
        systemd.reset(self);
        match stopped {
            Err(error) if error.is_unknown_unit() => Ok(()),
            Err(error) => Err(error),
            Ok(result) if result == "done" => Ok(()),
            Ok(result) => Err(SystemdError::Job {
                act: "stop",
                unit: self.name.clone(),
                result,
            }),
        }
    }
}
