//! What a keeper says of its container in the log of events.

use std::collections::BTreeMap;

use gamut_plan::launch::LaunchPlan;

use super::events::Workload;
use crate::dirs::Container;
use crate::events::{self, Event, Kind};

/// Says what happened to the container of a plan.
pub(super) fn tell_of<'a>(
    dirs: &Container,
    plan: &LaunchPlan,
    action: &str,
    more: impl IntoIterator<Item = (&'a str, &'a str)>,
) {
    let more = more.into_iter();
    let mut attributes: BTreeMap<String, String> = more
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    attributes.extend(events::attributes([
        ("name", plan.name.as_str()),
        ("image", plan.image.as_str()),
    ]));
    let event = Event::now(Kind::Container, action, &plan.id, attributes);
    events::append_of(dirs, &event);
}

impl Workload {
    pub(super) fn say<const N: usize>(&self, action: &str, more: [(&str, &str); N]) {
        tell_of(&self.dirs, &self.plan, action, more);
    }
}
