//! From the making of a pod to its end, with its containers' lives in it.

use gamut_tests::{World, patience};

use super::Pods;

#[test]
fn it_has_the_states_of_its_containers() {
    let Some(gamut) = Pods::new() else { return };
    let id = gamut.create(&["life", "--network", "none"]);
    let image = gamut.image("busybox");
    let one = gamut
        .call(&["create", "--pod", "life", &image, "sleep", "3600"])
        .ok();
    let one = one.text().to_owned();
    assert_eq!(gamut.state("life"), "Created");
    gamut.call(&["pod", "stats", "--no-stream", "life"]).ok();
    assert_eq!(gamut.call(&["pod", "top", "life"]).ok().out, "");
    gamut.call(&["pod", "kill", "life"]).ok().prints(&id);
    gamut.call(&["pod", "start", "life"]).ok().prints("life");
    gamut.call(&["pod", "start", "life"]).ok();
    assert_eq!(gamut.state("life"), "Running");
    let listed = gamut.call(&["pod", "top", "life", "-o", "pid,args"]).ok();
    assert!(
        listed.out.contains("sleep 3600") && listed.out.contains("--pause"),
        "{listed:?}"
    );
    let format = "{{.Pod}} {{.Name}} {{.PIDs}}";
    let stats = gamut
        .call(&["pod", "stats", "-a", "--no-stream", "--format", format])
        .ok();
    assert_eq!(stats.lines().len(), 2, "{stats:?}");
    assert!(
        stats
            .lines()
            .iter()
            .all(|line| line.starts_with(&id[..12]) && line.ends_with(" 1"))
    );
    gamut.call(&["pod", "pause", "life"]).ok().prints(&id);
    assert_eq!(gamut.state("life"), "Paused");
    assert_eq!(gamut.inspect(&one)["State"]["Status"], "paused");
    gamut.call(&["pod", "unpause", "--latest"]).ok().prints(&id);
    assert_eq!(gamut.state("life"), "Running");
    gamut.call(&["stop", "-t", "0", &one]).ok();
    assert_eq!(gamut.state("life"), "Degraded");
    // A member's start is the infra container's.
    gamut
        .call(&["pod", "stop", "-t", "0", "life"])
        .ok()
        .prints("life");
    assert_eq!(gamut.state("life"), "Exited");
    gamut.call(&["start", &one]).ok();
    assert_eq!(gamut.state("life"), "Running");
    let before = gamut.pid(&one);
    gamut.call(&["pod", "restart", "-a"]).ok().prints(&id);
    assert_ne!(gamut.pid(&one), before);
    gamut
        .call(&["pod", "kill", "-s", "KILL", "life"])
        .ok()
        .prints(&id);
    patience::until("all have ended", || gamut.state("life") == "Exited");
    assert_eq!(gamut.inspect(&one)["State"]["ExitCode"], 137);
    gamut.call(&["pod", "prune", "-f"]).ok().prints(&id);
    let filter = [
        "events",
        "--stream=false",
        "--filter",
        "type=pod",
        "--format",
    ];
    let told = gamut.call(&[&filter[..], &["{{.Action}} {{.Actor.Attributes.name}}"]].concat());
    let told: Vec<String> = told
        .ok()
        .lines()
        .iter()
        .map(|line| (*line).to_owned())
        .collect();
    let actions = [
        "create", "kill", "start", "start", "pause", "unpause", "stop", "stop", "start", "kill",
        "remove",
    ];
    assert_eq!(told, actions.map(|action| format!("{action} life")));
    gamut.call(&["pod", "exists", "life"]).code(1);
    gamut.call(&["inspect", &one]).code(1);
}

#[test]
fn it_goes_with_its_containers_and_they_do_not_without_it() {
    let Some(gamut) = Pods::new() else { return };
    let dir = gamut.dir().join("files");
    std::fs::create_dir_all(&dir).unwrap();
    let file = dir.join("id").to_string_lossy().into_owned();
    let id = gamut.create(&[
        "--name",
        "kept",
        "--pod-id-file",
        &file,
        "--network",
        "none",
        "-l",
        "a=b",
    ]);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), id);
    gamut.call(&["pod", "exists", "kept"]).ok();
    let one = gamut.member("kept", &[]);
    let infra = gamut.infra("kept");
    gamut
        .call(&["rm", &infra])
        .refused(1, &["infra", "kept"])
        .hinted();
    gamut
        .call(&["rm", "-f", &infra])
        .refused(1, &["infra", "kept"])
        .hinted();
    gamut
        .call(&["pod", "rm", "kept"])
        .refused(1, &["running"])
        .hinted();
    gamut.call(&["pod", "create", "kept"]).refused(1, &["kept"]);
    gamut
        .call(&["pod", "create", "--pod-id-file", &file])
        .code(1);
    // A prune of containers leaves it, and takes who has ended.
    gamut
        .call(&["pod", "stop", "-t", "0", "--pod-id-file", &file])
        .ok();
    gamut.call(&["container", "prune", "-f"]).ok();
    assert_eq!(gamut.told("kept")["NumContainers"], 1);
    gamut.call(&["inspect", &one]).code(1);
    // By its file; a member that is removed when it ends leaves the rest.
    let image = gamut.image("busybox");
    let said = gamut
        .call(&["run", "--rm", "--pod-id-file", &file, &image, "hostname"])
        .ok();
    assert_eq!(said.text(), "kept");
    assert_eq!(gamut.told("kept")["NumContainers"], 1);
    let replaced = gamut.create(&["--replace", "--name", "kept", "--network", "none"]);
    assert_ne!(replaced, id);
    gamut.call(&["inspect", &infra]).code(1);
    gamut.member("kept", &[]);
    gamut.call(&["rm", "-f", "-a"]).ok();
    assert_eq!(gamut.told("kept")["NumContainers"], 1);
    gamut.call(&["pod", "rm", "kept"]).ok().prints(&replaced);
    gamut
        .call(&["pod", "rm", "kept"])
        .refused(1, &["kept"])
        .hinted();
    gamut.call(&["pod", "rm", "-i", "kept"]).ok();
    for verb in [
        "start", "stop", "restart", "kill", "pause", "unpause", "inspect", "logs", "stats", "top",
    ] {
        gamut
            .call(&["pod", verb, "nobody"])
            .refused(1, &["no such pod: nobody"]);
    }
    gamut
        .refused(&["--pod", "nobody"])
        .refused(125, &["nobody"])
        .hinted();
    gamut.assert_untouched();
}

#[test]
fn it_is_made_with_its_first_container() {
    let Some(gamut) = Pods::new() else { return };
    let _world = World::new();
    let made = gamut.member(
        "new:fresh",
        &["-p", "8080:80", "--hostname", "called", "--name", "first"],
    );
    assert_eq!(gamut.exec(&made, "hostname"), "called");
    let told = gamut.told("fresh");
    assert_eq!(told["NumContainers"], 2);
    assert_eq!(
        told["InfraConfig"]["PortBindings"]["80/tcp"][0]["HostPort"],
        "8080"
    );
    gamut
        .refused(&["--pod", "new:fresh"])
        .refused(125, &["fresh"]);
    gamut
        .refused(&["--pod", "new:other", "--isolation", "microvm"])
        .refused(125, &["--pod", "microvm"])
        .hinted();
    gamut.call(&["pod", "exists", "other"]).code(1);
}

#[test]
fn a_pod_whose_keepers_were_killed_starts_again() {
    let Some(gamut) = Pods::new() else { return };
    gamut.create(&["--name", "hurt", "--network", "none"]);
    let one = gamut.member("hurt", &[]);
    let infra = gamut.infra("hurt");
    for id in [&infra, &one] {
        let keeper = gamut.inspect(id)["KeeperPid"].as_i64().unwrap();
        let keeper = rustix::process::Pid::from_raw(i32::try_from(keeper).unwrap()).unwrap();
        rustix::process::kill_process(keeper, rustix::process::Signal::KILL).unwrap();
    }
    patience::until("the pod has ended", || gamut.state("hurt") == "Exited");
    gamut.call(&["pod", "start", "hurt"]).ok();
    assert_eq!(gamut.state("hurt"), "Running");
    assert_eq!(gamut.namespace(&one, "ipc"), gamut.namespace(&infra, "ipc"));
    gamut.call(&["system", "repair"]).ok();
    assert_eq!(gamut.state("hurt"), "Running");
}

#[test]
fn it_ends_with_its_last_container_if_it_is_to() {
    let Some(gamut) = Pods::new() else { return };
    gamut.create(&[
        "--name",
        "brief",
        "--network",
        "none",
        "--exit-policy",
        "stop",
    ]);
    gamut.create(&["--name", "long", "--network", "none"]);
    assert_eq!(gamut.told("brief")["ExitPolicy"], "stop");
    assert_eq!(gamut.told("long")["ExitPolicy"], "continue");
    let one = gamut.member("brief", &[]);
    let two = gamut.member("brief", &["--rm"]);
    let other = gamut.member("long", &[]);
    gamut.call(&["stop", "-t", "0", &one]).ok();
    assert_eq!(gamut.state("brief"), "Degraded");
    gamut.call(&["pod", "stop", "--if-idle", "brief"]).ok();
    assert_eq!(gamut.state("brief"), "Degraded");
    gamut.call(&["stop", "-t", "0", &two, &other]).ok();
    patience::until("the pod has ended", || gamut.state("brief") == "Exited");
    assert_eq!(gamut.told("brief")["NumContainers"], 2);
    assert_eq!(gamut.state("long"), "Degraded");
    // One that runs in the foreground and goes by itself.
    let image = gamut.image("busybox");
    gamut
        .call(&["run", "--rm", "--pod", "brief", &image, "true"])
        .ok();
    patience::until("the pod has ended", || gamut.state("brief") == "Exited");
}
