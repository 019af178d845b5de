//! Command lines as Docker's users write them, and the requests they make.

use std::ffi::OsString;

use crate::args;
use crate::command::{Command, run};
use crate::error::Failure;
use crate::workload::Surroundings;
use gamut_plan::request::*;

fn surroundings() -> Surroundings {
    Surroundings {
        current_dir: Some("/home/me".into()),
        variable: |name| (name == "HOST").then(|| "of the host".to_owned()),
    }
}

fn words(line: &str) -> Vec<OsString> {
    line.split_whitespace().map(OsString::from).collect()
}

fn args(line: &str) -> Box<run::Args> {
    match args::parse(words(line)).map(|cli| cli.command) {
        Ok(Command::Run(args)) => args,
        other => panic!("{line}: {other:?}"),
    }
}

fn request(line: &str) -> RunRequest {
    args(line).request(&surroundings()).unwrap()
}

fn failure(line: &str) -> Failure {
    args(line).request(&surroundings()).unwrap_err()
}

#[test]
fn what_follows_the_image_belongs_to_the_command() {
    let request = request("gamut run -it --rm debian sh -c -it --rm -- --help");
    assert_eq!(request.image, "debian");
    assert_eq!(
        request.process.command,
        ["sh", "-c", "-it", "--rm", "--", "--help"]
    );
    assert!(request.process.tty && request.process.stdin_open && request.process.stdin_once);
    assert_eq!(request.after_exit, AfterExit::Remove);
}

#[test]
fn a_flag_right_after_the_image_is_the_commands() {
    let request = request("gamut run debian -d --name x");
    assert_eq!(request.process.command, ["-d", "--name", "x"]);
    assert_eq!(request.name, None);
}

#[test]
fn nothing_said_is_nothing_asked() {
    let mut request = request("gamut run debian");
    assert_eq!(request.process, Process::default());
    assert_eq!(request.limits, Limits::default());
    assert_eq!(request.security, Security::default());
    assert_eq!(request.namespaces, Namespaces::default());
    assert_eq!(request.network, Network::default());
    assert_eq!(request.storage, Storage::default());
    assert_eq!(request.logs, LogConfig::default());
    let json = serde_json::to_string(&request).unwrap();
    assert_eq!(serde_json::from_str::<RunRequest>(&json).unwrap(), request);
    for isolation in [
        Isolation::Default,
        Isolation::Auto,
        Isolation::Level(Level::Container),
    ] {
        request.isolation = isolation;
        let json = serde_json::to_string(&request).unwrap();
        assert_eq!(serde_json::from_str::<RunRequest>(&json).unwrap(), request);
    }
}

#[test]
fn every_group_of_flags_arrives() {
    let request = request(
        "gamut run -d --name web -l a=1 --label b --annotation c=2 --pull never \
         --platform linux/arm64 --log-opt max-size=1m --log-opt max-file=3 --restart no \
         -e A=1 -eHOST -e ABSENT -u 1000:www -w /srv --entrypoint /bin/x --group-add 5 \
         --stop-signal INT --stop-timeout -1 \
         -m 512m --memory-swap -1 --cpus 1.5 -c 512 --cpuset-cpus 0-1 --pids-limit 100 \
         --device-read-bps /dev/vda:1m --ulimit nofile=10:20 --oom-score-adj -500 \
         --network none --dns 1.1.1.1 --add-host a:1.2.3.4 -p 8080:80 -p 53:53/udp --expose 99 \
         -v ./data:/data:ro -v cache:/cache --tmpfs /run:size=1m \
         --mount type=bind,src=/etc,dst=/e --read-only --shm-size 64m \
         --cap-add NET_ADMIN --cap-drop all --security-opt no-new-privileges \
         --security-opt seccomp=unconfined --device /dev/fuse --isolation container \
         --min-isolation container --kernel /k \
         -h web.example --pid host --ipc shareable --uts private --cgroupns container:other \
         --userns auto --time-offset monotonic=+1h --sysctl net.core.somaxconn=9 \
         debian true",
    );
    assert_eq!(request.name.as_deref(), Some("web"));
    assert_eq!(request.kernel.as_deref(), Some("/k"));
    assert_eq!(request.labels.get("b").map(String::as_str), Some(""));
    assert_eq!(request.pull, PullPolicy::Never);
    assert!(matches!(
        request.logs,
        LogConfig::JsonFile {
            max_size_bytes: Some(0x10_0000),
            max_files: 3,
            ..
        }
    ));
    let process = &request.process;
    assert_eq!(process.env.len(), 3);
    assert_eq!(
        process.env[1],
        EnvChange::Set {
            name: "HOST".to_owned(),
            value: "of the host".to_owned()
        }
    );
    assert_eq!(
        process.env[2],
        EnvChange::Unset {
            name: "ABSENT".to_owned()
        }
    );
    assert_eq!(process.stop_timeout, Some(StopTimeout::Forever));
    assert_eq!(
        process.entrypoint.as_deref(),
        Some(&["/bin/x".to_owned()][..])
    );
    let limits = &request.limits;
    assert_eq!(limits.memory_bytes, Some(512 << 20));
    assert_eq!(limits.memory_and_swap_bytes, Some(Bound::Unlimited));
    assert_eq!(
        (limits.cpu_quota_us, limits.cpu_period_us),
        (Some(150_000), Some(100_000))
    );
    assert_eq!(limits.pids, Some(Bound::At(100)));
    assert_eq!(limits.oom_score_adj, Some(-500));
    assert_eq!(limits.blkio_throttles[0].rate, 1 << 20);
    assert_eq!(request.network.mode, NetworkMode::None);
    assert_eq!(request.network.publish.len(), 2);
    let mounts = &request.storage.mounts;
    assert_eq!(mounts.len(), 4);
    assert!(
        matches!(&mounts[0].source, MountSource::Bind { path, create: true, .. } if path == "/home/me/data")
    );
    assert!(
        matches!(&mounts[2].source, MountSource::Bind { path, create: false, .. } if path == "/etc")
    );
    assert_eq!(request.security.capabilities_drop, [Capability::All]);
    assert_eq!(request.security.seccomp, Seccomp::Unconfined);
    assert!(request.security.no_new_privileges);
    let namespaces = &request.namespaces;
    assert_eq!(
        namespaces.cgroup,
        Some(Sharing::Container("other".to_owned()))
    );
    assert_eq!(namespaces.hostname.as_deref(), Some("web.example"));
    assert_eq!(
        namespaces.time.map(|time| time.monotonic_ns),
        Some(3_600_000_000_000)
    );
    assert!(!request.process.stdin_once);
}

#[test]
fn switches_take_values_as_in_docker() {
    let args =
        args("gamut run --rm=true -t=false --privileged=true --sig-proxy=false x --rm=false");
    let request = args.request(&surroundings()).unwrap();
    assert_eq!(request.after_exit, AfterExit::Remove);
    assert!(request.security.privileged && !request.process.tty && !args.sig_proxy);
    assert_eq!(request.process.command, ["--rm=false"]);
}

#[test]
fn attachment_follows_dockers_rules() {
    let of = |line: &str| {
        let attachment = args(line).attachment();
        (attachment.stdin, attachment.stdout, attachment.stderr)
    };
    assert_eq!(of("gamut run x"), (false, true, true));
    assert_eq!(of("gamut run -i x"), (true, true, true));
    assert_eq!(of("gamut run -d -i x"), (false, false, false));
    assert_eq!(of("gamut run -a STDOUT -i x"), (false, true, false));
}

#[test]
fn an_empty_entrypoint_clears_it() {
    let words = ["gamut", "run", "--entrypoint", "", "debian", "x"].map(OsString::from);
    let Ok(Command::Run(args)) = args::parse(words.to_vec()).map(|cli| cli.command) else {
        panic!("not run")
    };
    let request = args.request(&surroundings()).unwrap();
    assert_eq!(request.process.entrypoint, Some(Vec::new()));
}

#[test]
fn files_of_variables_and_labels_come_before_flags() {
    let dir = std::env::temp_dir().join(format!("gamut-cli-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let (env, labels, broken) = (dir.join("env"), dir.join("labels"), dir.join("broken"));
    std::fs::write(&env, "A=file\nABSENT\nHOST\n").unwrap();
    std::fs::write(&labels, "a=file\nb=file\n").unwrap();
    std::fs::write(&broken, "A B=1\n").unwrap();
    let line = format!(
        "gamut run --env-file {} -e A=flag --label-file {} -l a=flag x",
        env.display(),
        labels.display()
    );
    let made = request(&line);
    let line = format!("gamut run --env-file {} x", broken.display());
    let failed = failure(&line);
    let gone = failure("gamut run --env-file /nonexistent/env x");
    let profile = format!("gamut run --security-opt seccomp={} x", broken.display());
    let profile = failure(&profile);
    std::fs::remove_dir_all(&dir).unwrap();

    let values: Vec<String> = made
        .process
        .env
        .iter()
        .map(|change| format!("{change:?}"))
        .collect();
    assert_eq!(values.len(), 3, "{values:?}");
    assert!(values[0].contains("file") && values[2].contains("flag"));
    assert_eq!(made.labels["a"], "flag");
    assert_eq!(made.labels["b"], "file");
    assert!(matches!(failed, Failure::FileContent { .. }));
    assert!(matches!(gone, Failure::Read { .. }));
    assert!(matches!(profile, Failure::Profile { .. }));
}

#[test]
fn wishes_that_exclude_each_other_are_refused() {
    for line in [
        "gamut run --name x debian",
        "gamut run --name a/b debian",
        "gamut run --memory-swap 1g debian",
        "gamut run -m 1g --memory-swap 512m debian",
        "gamut run -m 1g --memory-reservation 2g debian",
        "gamut run -v /a:/x --tmpfs /x/ debian",
        "gamut run --network container:a -p 80:80 debian",
        "gamut run --network container:a --hostname b debian",
        "gamut run --uts host --hostname b debian",
        "gamut run -w relative debian",
        "gamut run --rm --restart always debian",
        "gamut run --isolation container --min-isolation vm debian",
    ] {
        assert!(matches!(failure(line), Failure::Request(_)), "{line}");
    }
}

#[test]
fn create_takes_the_same_flags() {
    let cli = args::parse(words("gamut container create --name web -p 80 debian x")).unwrap();
    assert!(matches!(cli.command, Command::Container(_)));
}

#[test]
fn a_flag_that_is_there_twice_counts_the_last_time() {
    let cli = args::parse(words(
        "gamut run --rm --rm --name a --name b -e A=1 -e B=2 debian x",
    ));
    let Ok(Command::Run(args)) = cli.map(|cli| cli.command) else {
        panic!("not run")
    };
    assert_eq!(args.workload.general.name.as_deref(), Some("b"));
    assert_eq!(args.workload.process.env.len(), 2);
}

#[test]
fn exec_makes_its_request() {
    let cli = args::parse(words("gamut exec -it -e HOST -u 5 web sh -c -x"));
    let Ok(Command::Exec(args)) = cli.map(|cli| cli.command) else {
        panic!("not exec")
    };
    let named = || {
        let (container, command) = args.container_and_command.split_first().unwrap();
        (container.clone(), command.to_vec())
    };
    let request = args.request(named(), &surroundings()).unwrap();
    assert_eq!(request.container, "web");
    assert_eq!(request.command, ["sh", "-c", "-x"]);
    assert!(request.tty && request.stdin_open && request.env.len() == 1);
    let named = named();
    let relative = crate::command::exec::Args {
        workdir: Some("srv".to_owned()),
        ..args
    };
    assert!(relative.request(named, &surroundings()).is_err());
}
