//! What is told of pods: lists, and the output of their containers.

use super::Pods;

#[test]
fn lists_tell_who_is_in_which() {
    let Some(gamut) = Pods::new() else { return };
    let id = gamut.create(&[
        "--name",
        "listed",
        "--network",
        "none",
        "-l",
        "tier=one",
        "--infra-name",
        "holder",
    ]);
    gamut.create(&["--name", "other", "--network", "none"]);
    let one = gamut.member("listed", &["--name", "member"]);
    gamut.idle(&["--name", "alone"]);
    let ps = |words: &[&str]| gamut.call(&[&["ps"], words].concat()).ok();
    let heading = ps(&["-a", "-p"]);
    assert!(
        heading.lines()[0].ends_with("POD ID         PODNAME"),
        "{heading:?}"
    );
    let names = |filter: &str| {
        let listed = ps(&[
            "-a",
            "--filter",
            filter,
            "--format",
            "{{.Names}} {{.PodName}}",
        ]);
        let mut lines: Vec<String> = listed
            .lines()
            .iter()
            .map(|line| (*line).to_owned())
            .collect();
        lines.sort();
        lines.join(",")
    };
    assert_eq!(names("pod=listed"), "holder listed,member listed");
    assert_eq!(
        names(&format!("pod={}", &id[..8])),
        "holder listed,member listed"
    );
    assert_eq!(names("pod=nobody"), "");
    assert_eq!(
        ps(&[
            "--no-trunc",
            "--filter",
            "name=member",
            "--format",
            "{{.Pod}}"
        ])
        .text(),
        id
    );
    let pods = |words: &[&str]| gamut.call(&[&["pod", "ps"], words].concat()).ok();
    let listed = pods(&["--sort", "name"]);
    assert_eq!(
        listed.lines()[0]
            .split("  ")
            .filter(|word| !word.is_empty())
            .map(str::trim)
            .collect::<Vec<_>>(),
        [
            "POD ID",
            "NAME",
            "STATUS",
            "CREATED",
            "INFRA ID",
            "# OF CONTAINERS"
        ]
    );
    assert!(listed.lines()[1].contains("listed") && listed.lines()[2].contains("other"));
    assert_eq!(
        pods(&["-q", "--no-trunc", "-f", "label=tier=one"]).text(),
        id
    );
    assert_eq!(pods(&["-q", "-f", "ctr-number=2"]).text(), &id[..12]);
    assert_eq!(
        pods(&["-q", "-f", "ctr-names=member", "-f", "status=running"]).text(),
        &id[..12]
    );
    assert_eq!(pods(&["-n", "-f", "status=paused"]).out, "");
    let more = pods(&[
        "-n",
        "--ns",
        "--ctr-names",
        "--ctr-status",
        "--ctr-ids",
        "-f",
        "name=listed",
    ]);
    let more = more.text();
    assert!(
        more.contains("holder,member") && more.contains("running,running"),
        "{more}"
    );
    assert!(
        more.contains("ipc,net,uts") && more.contains(&one[..12]),
        "{more}"
    );
    let object = &pods(&["--format", "json", "--latest"]).json()[0];
    assert_eq!(object["Name"], "other");
    assert_eq!(object["Status"], "Created");
    assert_eq!(object["Containers"].as_array().unwrap().len(), 1);
    let any = gamut.call(&["inspect", "listed"]).ok().json();
    assert_eq!(any[0]["InfraContainerID"], gamut.infra("listed"));
    gamut.call(&["inspect", "--type", "pod", "member"]).code(1);
    let format = "{{.Id}} {{.State}}";
    let told = gamut.call(&["pod", "inspect", "-f", format, "listed"]).ok();
    assert_eq!(told.text(), format!("{id} Running"));
}

#[test]
fn the_output_of_its_containers_is_one() {
    let Some(gamut) = Pods::new() else { return };
    gamut.create(&["--name", "said", "--network", "none"]);
    let image = gamut.image("busybox");
    let say = |name: &str, script: &str| {
        let flags = [
            "run", "--pod", "said", "--name", name, &image, "sh", "-c", script,
        ];
        gamut.call(&flags).ok();
    };
    say("early", "echo first");
    assert_eq!(
        gamut.call(&["pod", "logs", "--names", "said"]).ok().out,
        "early first\n"
    );
    say("later", "echo second; echo third >&2");
    say("early-again", "printf fourth");
    let named = gamut.call(&["pod", "logs", "--names", "said"]).ok();
    assert_eq!(named.out, "early first\nlater second\nearly-again fourth\n");
    assert_eq!(named.err, "later third\n");
    let followed = gamut.call(&["pod", "logs", "-f", "-c", "later", "said"]);
    assert_eq!(followed.ok().out, "second\n");
    let last = gamut
        .call(&[
            "pod", "logs", "--tail", "1", "-t", "-c", "early", "--latest",
        ])
        .ok();
    assert!(last.out.ends_with("Z first\n"), "{last:?}");
    gamut.idle(&["--name", "stranger"]);
    gamut
        .call(&["pod", "logs", "-c", "stranger", "said"])
        .refused(1, &["stranger", "said"])
        .hinted();
}
