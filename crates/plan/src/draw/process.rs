//! The first process: command, environment, directory, limits of its own.

use oci_spec::runtime::{
    LinuxCapabilitiesBuilder, PosixRlimit, PosixRlimitBuilder, PosixRlimitType, Process,
    ProcessBuilder, UserBuilder,
};

use super::security::Security;
use super::{DrawError, Drawing, system};
use crate::caps::CapSet;
use crate::launch::UserPlan;
use crate::request::{Bound, EnvChange, Identity, Resource, Systemd};

const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

pub(super) fn draw(
    drawing: &Drawing<'_>,
    security: &Security,
    command: Vec<String>,
    is_systemd: bool,
) -> Result<Process, DrawError> {
    let asked = &drawing.request.process;
    let set = capabilities(security.capabilities);
    let sets = LinuxCapabilitiesBuilder::default()
        .bounding(set.clone())
        .effective(set.clone())
        .permitted(set)
        .inheritable(oci_spec::runtime::Capabilities::new())
        .ambient(oci_spec::runtime::Capabilities::new())
        .build()?;
    let mut user = UserBuilder::default().uid(0u32).gid(0u32).build()?;
    user.set_umask(drawing.request.process.umask);
    let mut builder = ProcessBuilder::default()
        .terminal(asked.tty)
        // Looked up in the root when it is there: see `LaunchPlan::user`.
        .user(user)
        .args(with_init(drawing, command))
        .env(environment(drawing, is_systemd))
        .cwd(working_directory(drawing)?)
        .capabilities(sets)
        .rlimits(rlimits(drawing)?)
        .no_new_privileges(drawing.request.security.no_new_privileges);
    if let Some(adjustment) = drawing.request.limits.oom_score_adj {
        builder = builder.oom_score_adj(i32::from(adjustment));
    }
    Ok(builder.build()?)
}

fn capabilities(set: CapSet) -> oci_spec::runtime::Capabilities {
    set.iter()
        .filter_map(|one| {
            one.name()
                .strip_prefix("CAP_")
                .and_then(|name| name.parse().ok())
        })
        .collect()
}

/// Where our init is inside: on a file system that is always there and can be written.
pub const INIT: &str = "/dev/.gamut-init";

fn with_init(drawing: &Drawing<'_>, command: Vec<String>) -> Vec<String> {
    // Who begins with it needs no other before it: an infra container.
    if !drawing.request.process.init || command.first().is_some_and(|first| first == INIT) {
        return command;
    }
    let own = [INIT.to_owned(), "--".to_owned()];
    own.into_iter().chain(command).collect()
}

/// Docker's rule: a given command replaces the image's, a given entrypoint discards both.
pub(super) fn command(drawing: &Drawing<'_>) -> Result<Vec<String>, DrawError> {
    let asked = &drawing.request.process;
    let config = &drawing.image.config;
    // What an image is made for is not what boots.
    if asked.systemd == Systemd::System && asked.entrypoint.is_none() {
        return Ok(match asked.command.as_slice() {
            [] => vec![system::INIT.to_owned()],
            command => command.to_vec(),
        });
    }
    let entrypoint = asked
        .entrypoint
        .clone()
        .unwrap_or_else(|| config.entrypoint.clone().unwrap_or_default());
    let mut args: Vec<String> = entrypoint
        .into_iter()
        .filter(|word| !word.is_empty())
        .collect();
    if !asked.command.is_empty() {
        args.extend(asked.command.iter().cloned());
    } else if asked.entrypoint.is_none() {
        args.extend(config.cmd.clone().unwrap_or_default());
    }
    if args.is_empty() {
        Err(DrawError::NoCommand)
    } else {
        Ok(args)
    }
}

fn environment(drawing: &Drawing<'_>, is_systemd: bool) -> Vec<String> {
    let mut list: Vec<String> = Vec::new();
    let set = |list: &mut Vec<String>, variable: String| {
        let name = variable.split('=').next().unwrap_or("").to_owned();
        match list
            .iter_mut()
            .find(|seen| seen.split('=').next() == Some(&name))
        {
            Some(seen) => *seen = variable,
            None => list.push(variable),
        }
    };
    set(&mut list, format!("PATH={DEFAULT_PATH}"));
    if let Some(hostname) = super::namespaces::hostname(drawing) {
        set(&mut list, format!("HOSTNAME={hostname}"));
    }
    if is_systemd {
        let own = system::environment(drawing.id);
        list.extend(own.into_iter().flatten());
    }
    for variable in &drawing.image.config.env {
        set(&mut list, variable.clone());
    }
    if drawing.request.process.tty {
        let given = list.iter().any(|v| v.starts_with("TERM="));
        if !given {
            set(&mut list, "TERM=xterm".into());
        }
    }
    for change in &drawing.request.process.env {
        match change {
            EnvChange::Set { name, value } => set(&mut list, format!("{name}={value}")),
            EnvChange::Unset { name } => list.retain(|seen| seen.split('=').next() != Some(name)),
        }
    }
    list
}

fn working_directory(drawing: &Drawing<'_>) -> Result<String, DrawError> {
    let image = drawing.image.config.working_dir.as_str();
    let directory = drawing
        .request
        .process
        .working_dir
        .as_deref()
        .unwrap_or(image);
    match directory {
        "" => Ok("/".into()),
        absolute if absolute.starts_with('/') => Ok(absolute.into()),
        relative => Err(DrawError::RelativeWorkdir(relative.into())),
    }
}

fn rlimits(drawing: &Drawing<'_>) -> Result<Vec<PosixRlimit>, DrawError> {
    let mut list = Vec::new();
    for limit in &drawing.request.limits.ulimits {
        let number = |bound: Bound| match bound {
            Bound::Unlimited => u64::MAX,
            Bound::At(n) => n,
        };
        let built = PosixRlimitBuilder::default()
            .typ(resource(limit.resource))
            .soft(number(limit.soft))
            .hard(number(limit.hard))
            .build()?;
        list.push(built);
    }
    Ok(list)
}

fn resource(resource: Resource) -> PosixRlimitType {
    match resource {
        Resource::As => PosixRlimitType::RlimitAs,
        Resource::Core => PosixRlimitType::RlimitCore,
        Resource::Cpu => PosixRlimitType::RlimitCpu,
        Resource::Data => PosixRlimitType::RlimitData,
        Resource::Fsize => PosixRlimitType::RlimitFsize,
        Resource::Locks => PosixRlimitType::RlimitLocks,
        Resource::Memlock => PosixRlimitType::RlimitMemlock,
        Resource::Msgqueue => PosixRlimitType::RlimitMsgqueue,
        Resource::Nice => PosixRlimitType::RlimitNice,
        Resource::Nofile => PosixRlimitType::RlimitNofile,
        Resource::Nproc => PosixRlimitType::RlimitNproc,
        Resource::Rss => PosixRlimitType::RlimitRss,
        Resource::Rtprio => PosixRlimitType::RlimitRtprio,
        Resource::Rttime => PosixRlimitType::RlimitRttime,
        Resource::Sigpending => PosixRlimitType::RlimitSigpending,
        Resource::Stack => PosixRlimitType::RlimitStack,
    }
}

/// The user in the form of `--user`; the request's, else the image's.
pub(super) fn user(drawing: &Drawing<'_>) -> UserPlan {
    let text = |identity: &Identity| match identity {
        Identity::Id(id) => id.to_string(),
        Identity::Name(name) => name.clone(),
    };
    let asked = &drawing.request.process;
    let user = match &asked.user {
        Some(user) => match &user.group {
            Some(group) => format!("{}:{}", text(&user.user), text(group)),
            None => text(&user.user),
        },
        None => drawing.image.config.user.clone(),
    };
    UserPlan {
        exact: None,
        user,
        groups: asked.additional_groups.iter().map(text).collect(),
    }
}
