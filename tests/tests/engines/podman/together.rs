//! podman's networks, pods and builds.

use super::{inside, podman};
use gamut_tests::engine::namespace;
use gamut_tests::patience::until;

#[test]
fn two_talk_over_a_network_by_name() {
    let Some(podman) = podman("network") else {
        return;
    };
    podman.at_end("network rm -f -t 0 @");
    podman.says("network create @");
    let serve = "sh -c 'mkdir /www; echo page >/www/index.html; exec httpd -f -p 80 -h /www'";
    podman.start(
        "--network @ --network-alias web -p 127.0.0.1:18080:80",
        serve,
    );
    let fetched = || podman.call("run --rm --network @ localhost/bb wget -q -O - http://web/");
    until("the other answers by its name", || {
        fetched().out == "page\n"
    });
    let address = podman.says(
        "inspect @ --format '{{(index .NetworkSettings.Networks \"podman-network\").IPAddress}}'",
    );
    let by_address = podman.call(&format!(
        "run --rm --network @ localhost/bb wget -q -O - http://{address}/"
    ));
    by_address.ok().prints("page");
    podman
        .beside("curl -s http://127.0.0.1:18080/")
        .ok()
        .prints("page");
    // A network comes and goes while the container runs.
    podman.at_end("network rm -f -t 0 @-two");
    podman.says("network create @-two");
    podman.says("network connect @-two @");
    assert!(podman.says("exec @ ls /sys/class/net").contains("eth1"));
    podman.says("network disconnect @-two @");
    assert!(!podman.says("exec @ ls /sys/class/net").contains("eth1"));
    let sysctl = "--sysctl net.ipv4.ip_unprivileged_port_start=99";
    let seen = inside(
        &podman,
        sysctl,
        "cat /proc/sys/net/ipv4/ip_unprivileged_port_start",
    );
    assert_eq!(seen, "99");
}

#[test]
fn a_pod_shares_what_pods_share() {
    let Some(podman) = podman("pod") else { return };
    podman.at_end("pod rm -f -t 0 @");
    podman.says("pod create --name @ --share net,ipc,uts,pid --hostname poddy");
    podman.says("run -d --pod @ --name @-one localhost/bb httpd -f -p 80 -h /etc");
    podman.says("run -d --pod @ --name @-two localhost/bb sleep 4321");
    let (one, two) = (podman.pid("@-one"), podman.pid("@-two"));
    for name in ["net", "ipc", "uts", "pid"] {
        assert_eq!(namespace(one, name), namespace(two, name), "{name}");
    }
    assert_eq!(podman.says("exec @-two hostname"), "poddy");
    assert!(
        podman
            .says("exec @-two wget -q -O - http://127.0.0.1/passwd")
            .contains("root")
    );
    assert!(podman.says("exec @-one ps").contains("sleep 4321"));
    podman.says("pod pause @");
    assert_eq!(podman.inspect("@-two")["State"]["Status"], "paused");
    podman.says("pod unpause @");
    assert!(podman.says("pod top @ args").contains("httpd"));
    podman.says("pod stop -t 0 @");
    podman.says("pod start @");
    assert_eq!(podman.inspect("@-two")["State"]["Status"], "running");
    podman.says("pod rm -f -t 0 @");
}

#[test]
fn a_pod_of_kubernetes_is_played() {
    let Some(podman) = podman("play") else { return };
    let pod = r#"
apiVersion: v1
kind: ConfigMap
metadata: {name: words}
data: {word: configured}
---
apiVersion: v1
kind: Pod
metadata: {name: podman-play}
spec:
  hostname: played
  initContainers:
  - {name: first, image: localhost/bb, command: [sh, -c, "echo prepared >/shared/file"], volumeMounts: [{name: shared, mountPath: /shared}]}
  containers:
  - name: main
    image: localhost/bb
    command: [sh, -c, "cat /shared/file; echo $WORD; exec sleep 100000"]
    env: [{name: WORD, valueFrom: {configMapKeyRef: {name: words, key: word}}}]
    resources: {limits: {memory: 48Mi, cpu: 500m}}
    securityContext: {runAsUser: 1000, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
    volumeMounts: [{name: shared, mountPath: /shared}]
  volumes: [{name: shared, emptyDir: {}}]
"#;
    podman.file("pod.yaml", pod);
    podman.at_end("kube down --force /peers/@/pod.yaml");
    podman.says("kube play /peers/@/pod.yaml");
    until("it has begun", || {
        podman.says("logs @-main") == "prepared\nconfigured"
    });
    assert_eq!(podman.says("exec @-main id -u"), "1000");
    assert_eq!(podman.says("exec @-main hostname"), "played");
    let pid = podman.pid("@-main");
    let limit = gamut_tests::cgroup::read(pid, "memory", "memory.limit_in_bytes", "memory.max");
    assert_eq!(limit, (48 << 20).to_string());
    podman.says("kube down --force /peers/@/pod.yaml");
    assert_eq!(podman.says("ps -aq --filter name=@"), "");
}

#[test]
fn images_are_built() {
    let Some(podman) = podman("build") else {
        return;
    };
    let recipe = "FROM localhost/bb AS first\n\
         ARG WORD=none\n\
         RUN echo $WORD >/word && id -u >/uid\n\
         RUN --network=none sh -c '! ip route | grep -q default'\n\
         RUN --mount=type=secret,id=s cat /run/secrets/s >/revealed\n\
         RUN --mount=type=cache,target=/cache echo kept >/cache/file\n\
         RUN --mount=type=tmpfs,target=/t echo gone >/t/file\n\
         FROM localhost/bb\n\
         COPY --from=first /word /uid /revealed /\n\
         USER user\n\
         WORKDIR /tmp\n\
         RUN echo $(id -u) $(pwd) >/tmp/seen\n\
         RUN [\"sh\", \"-c\", \"test -w /tmp\"]\n";
    podman.file("Containerfile", recipe);
    podman.file("secret", "told\n");
    podman.at_end("image rm -f localhost/@");
    podman.at_end("image prune -f");
    podman.says(
        "build -q --build-arg WORD=given --secret id=s,src=/peers/@/secret -t localhost/@ /peers/@",
    );
    let seen =
        podman.says("run --rm --network none localhost/@ cat /word /uid /revealed /tmp/seen");
    assert_eq!(seen, "given\n0\ntold\n1000 /tmp");
    podman.file("Containerfile", "FROM localhost/bb\nRUN exit 42\n");
    let failed = podman.call("build --no-cache /peers/@");
    assert!(
        failed.code != 0 && failed.err.contains("42"),
        "{}",
        failed.told()
    );
}
