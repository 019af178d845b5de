//! `explain` in words: a section for each wall around a container.

use gamut_engine::explain::{
    Call, Capabilities, Explanation, Filter, Group, IdMap, Joined, Owner, Path,
};
use gamut_plan::Phase;
use gamut_plan::caps::{CapSet, Capability};

use crate::{human, table};

/// All sections.
pub fn text(of: &Explanation) -> String {
    let mut page = Page::default();
    head(&mut page, of);
    namespaces(&mut page, of);
    group(&mut page, &of.cgroup);
    capabilities(&mut page, &of.capabilities);
    page.line(match of.no_new_privileges {
        true => "no_new_privs is set: setuid programs and file capabilities give nothing",
        false => "no_new_privs is not set: setuid programs and file capabilities work",
    });
    filter(&mut page, &of.seccomp);
    paths(&mut page, of);
    mounts(&mut page, of);
    network(&mut page, &of.network);
    if !of.denied.is_empty() {
        page.section("Denied since it was started");
        for denied in &of.denied {
            let times = match denied.times {
                1 => String::new(),
                times => format!(", {times} times"),
            };
            page.line(format!(
                "{}{times}; allowed by {}",
                denied.what, denied.allow
            ));
        }
    }
    if !of.warnings.is_empty() {
        page.section("Clamped or left out");
        for warning in &of.warnings {
            page.line(warning);
        }
    }
    page.text
}

/// Sections of indented lines; what strangers named cannot steer the terminal.
#[derive(Debug, Default)]
struct Page {
    text: String,
}

impl Page {
    fn section(&mut self, title: &str) {
        self.text.push('\n');
        self.text.push_str(title);
        self.text.push('\n');
    }

    fn line(&mut self, line: impl AsRef<str>) {
        self.text.push_str("  ");
        self.text.push_str(&table::visible(line.as_ref()));
        self.text.push('\n');
    }

    fn pair(&mut self, name: &str, value: impl AsRef<str>) {
        self.line(format!("{name:<14} {}", value.as_ref()));
    }
}

fn head(page: &mut Page, of: &Explanation) {
    let state = match of.phase {
        Phase::Created => "made, never started",
        Phase::Starting => "starting",
        Phase::Running => "running",
        Phase::Paused => "paused",
        Phase::Restarting => "ended, about to be started again; what follows is its plan",
        Phase::Exited => "ended; what follows is its plan",
        Phase::Failed => "could not be started; what follows is its plan",
    };
    page.text = format!(
        "{} ({})\n",
        table::visible(&of.name),
        human::short_id(&of.id)
    );
    page.pair("image", &of.image);
    page.pair("isolation", of.level.name());
    page.pair("state", state);
    if of.pid > 0 {
        page.pair("first process", of.pid.to_string());
        page.pair("keeper", of.keeper_pid.to_string());
    }
    page.pair("directory", of.directory.display().to_string());
    page.pair(
        "log",
        match &of.log {
            Some(path) => path.display().to_string(),
            None => "not kept".to_owned(),
        },
    );
}

fn namespaces(page: &mut Page, of: &Explanation) {
    page.section("Namespaces");
    for namespace in &of.namespaces {
        let number = |number: Option<u64>| number.map_or_else(String::new, |n| n.to_string());
        let words = match (&namespace.owner, namespace.number) {
            (Owner::Own, None) => "its own".to_owned(),
            (Owner::Own, ours) => format!(
                "its own       {} (the host's is {})",
                number(ours),
                number(namespace.host_number)
            ),
            (Owner::Host, _) => format!("the host's    {}", number(namespace.host_number)),
            (Owner::Container(id), ours) => {
                format!("that of {} {}", human::short_id(id), number(ours))
            }
            (Owner::Path(path), ours) => {
                format!("that of {} {}", path.display(), number(ours))
            }
        };
        page.pair(namespace.kind, words);
    }
    page.pair("user ids", maps(&of.uid_map));
    page.pair("group ids", maps(&of.gid_map));
}

fn maps(maps: &[IdMap]) -> String {
    let words: Vec<String> = maps
        .iter()
        .map(|map| match (map.inside, map.outside, map.count) {
            (0, 0, u32::MAX) => "the host's".to_owned(),
            (inside, outside, count) => format!(
                "{inside}-{} inside are {outside}-{} outside",
                u64::from(inside) + u64::from(count.saturating_sub(1)),
                u64::from(outside) + u64::from(count.saturating_sub(1)),
            ),
        })
        .collect();
    words.join(", ")
}

fn group(page: &mut Page, group: &Group) {
    page.section("Limits (cgroup)");
    page.pair("path", &group.path);
    if group.files.is_empty() {
        page.line("the group is made at the start");
    }
    for file in &group.files {
        let value = file.value.trim().replace('\n', "; ");
        let name = file.path.rsplit('/').next().unwrap_or(&file.path);
        let used = match &file.used {
            Some(used) => format!(", used {}", used.trim().replace('\n', "; ")),
            None => String::new(),
        };
        page.line(format!(
            "{name:<34} {}{used}",
            human::ellipsis(&limit(&value), 80)
        ));
    }
}

/// Version 1 writes "no limit" as the largest number of pages.
fn limit(value: &str) -> String {
    const NO_LIMIT: u64 = 1 << 62;
    match value.parse::<u64>() {
        Ok(number) if number >= NO_LIMIT => "no limit".to_owned(),
        _ if value.is_empty() => "-".to_owned(),
        _ => value.to_owned(),
    }
}

fn capabilities(page: &mut Page, of: &Capabilities) {
    page.section("Capabilities");
    page.pair("bounding", names(of.bounding));
    page.pair(
        "effective",
        match of.effective == of.bounding {
            true => "the same".to_owned(),
            false => names(of.effective),
        },
    );
    if !of.ambient.is_empty() {
        page.pair("ambient", names(of.ambient));
    }
    if !of.below_default.is_empty() {
        page.pair("Docker has", format!("{} besides", names(of.below_default)));
    }
    if !of.above_default.is_empty() {
        page.pair("Docker lacks", names(of.above_default));
    }
}

fn names(set: CapSet) -> String {
    let names: Vec<&str> = set.iter().map(Capability::name).collect();
    match names.is_empty() {
        true => "none".to_owned(),
        false => names.join(" "),
    }
}

fn filter(page: &mut Page, filter: &Filter) {
    page.section("System calls (seccomp)");
    if filter.source == "unconfined" {
        page.line("not filtered: every call reaches the host's kernel");
        return;
    }
    page.pair("policy", filter.source);
    if let Some(why) = &filter.unknown {
        page.line(why);
        return;
    }
    page.pair("allowed", format!("{} calls", filter.allowed));
    for Call { name, verdict } in &filter.conditional {
        page.pair("depends", format!("{name}: {verdict}"));
    }
    // Few verdicts, many calls.
    let mut verdicts: Vec<(&str, Vec<&str>)> = Vec::new();
    for Call { name, verdict } in &filter.denied {
        match verdicts.iter_mut().find(|(known, _)| known == verdict) {
            Some((_, calls)) => calls.push(name),
            None => verdicts.push((verdict, vec![name])),
        }
    }
    for (verdict, calls) in verdicts {
        page.pair("denied", format!("{verdict}: {}", calls.join(" ")));
    }
}

fn paths(page: &mut Page, of: &Explanation) {
    page.section("Hidden and read-only paths");
    let list = |paths: &[String]| match paths.is_empty() {
        true => "none".to_owned(),
        false => paths.join(" "),
    };
    page.pair("hidden", list(&of.masked_paths));
    page.pair("read-only", list(&of.readonly_paths));
}

fn mounts(page: &mut Page, of: &Explanation) {
    page.section("Mounts");
    for mount in &of.mounts {
        page.line(format!(
            "{:<24} {:<8} {} ({})",
            mount.target, mount.kind, mount.source, mount.options
        ));
    }
}

fn network(page: &mut Page, path: &Path) {
    page.section("Network");
    match path {
        Path::None => page.line("none: its own namespace, with the loopback only"),
        Path::Host => page.line("the host's own interfaces, addresses and ports"),
        Path::Container(id) => page.line(format!("that of {}", human::short_id(id))),
        Path::Namespace(path) => page.line(format!("the namespace {}", path.display())),
        Path::Pasta(ports) => {
            page.line("its own namespace, led to the host's sockets by pasta");
            for port in ports {
                let (host, inside) = (port.host, port.container_port);
                page.pair(
                    "port",
                    format!("{host} -> {inside}/{}", port.protocol.name()),
                );
            }
        }
        Path::Bridge(all) => all.iter().for_each(|joined| bridge(page, joined)),
    }
}

fn bridge(page: &mut Page, at: &Joined) {
    let gateway = |text: Option<String>| match text {
        Some(text) => format!(", by way of {text}"),
        None => String::new(),
    };
    page.pair("network", &at.network);
    page.pair(
        "way out",
        format!(
            "{} ({}, MTU {}) - {} - bridge {} - masqueraded by the table inet {}",
            at.interface, at.mac, at.mtu, at.host_interface, at.bridge, at.table
        ),
    );
    let by4 = gateway(at.gateway4.map(|a| a.to_string()));
    page.pair("IPv4", format!("{}/{}{by4}", at.address4, at.prefix4));
    if let Some(address) = at.address6 {
        let by6 = gateway(at.gateway6.map(|a| a.to_string()));
        page.pair("IPv6", format!("{address}{by6}"));
    }
    for port in &at.ports {
        let map = port
            .map
            .as_ref()
            .map(|map| format!("map {map} of inet {}", at.table));
        let ways: Vec<String> = map.into_iter().chain(port.forwarder.clone()).collect();
        page.pair(
            "port",
            format!(
                "{} -> {}/{} by {}",
                port.host,
                port.container_port,
                port.protocol,
                ways.join(" and ")
            ),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_and_limits_have_words() {
        let map = |inside, outside, count| IdMap {
            inside,
            outside,
            count,
        };
        assert_eq!(maps(&[map(0, 0, u32::MAX)]), "the host's");
        assert_eq!(
            maps(&[map(0, 100_000, 65_536)]),
            "0-65535 inside are 100000-165535 outside"
        );
        assert_eq!(limit("9223372036854771712"), "no limit");
        assert_eq!(limit("1024"), "1024");
        assert_eq!(limit(""), "-");
    }

    #[test]
    fn strangers_do_not_steer_the_terminal() {
        let mut page = Page::default();
        page.line("a\u{1b}[2Jb");
        assert!(!page.text.contains('\u{1b}'), "{:?}", page.text);
    }
}
