//! docker's networks.

use super::each;
use gamut_tests::patience::until;

#[test]
fn two_talk_over_a_network_by_name() {
    each("network", |docker, runtime| {
        docker.at_end("network rm @");
        docker.says("network create @");
        let serve = "sh -c 'mkdir /www; echo page >/www/index.html; exec httpd -f -p 80 -h /www'";
        docker.start(
            &format!("{runtime} --network @ --network-alias web -p 127.0.0.1::80"),
            serve,
        );
        let other = format!("run --rm {runtime} --network @ localhost/bb wget -q -O - http://web/");
        until("the other answers by its name", || {
            docker.call(&other).out == "page\n"
        });
        let port = docker.says("port @ 80");
        docker
            .beside(&format!("curl -s http://{port}/"))
            .ok()
            .prints("page");
        docker.at_end("network rm @-two");
        docker.says("network create @-two");
        docker.says("network connect @-two @");
        assert!(docker.says("exec @ ls /sys/class/net").contains("eth1"));
        docker.says("network disconnect @-two @");
        assert!(!docker.says("exec @ ls /sys/class/net").contains("eth1"));
        let sysctl = format!("run --rm {runtime} --sysctl net.ipv4.ip_unprivileged_port_start=99");
        let seen = docker.says(&format!(
            "{sysctl} localhost/bb cat /proc/sys/net/ipv4/ip_unprivileged_port_start"
        ));
        assert_eq!(seen, "99");
    });
}

#[test]
fn compose_brings_up_services_that_find_each_other() {
    each("compose", |docker, runtime| {
        let runtime = runtime.trim_start_matches("--runtime ");
        let services = format!(
            r#"
services:
  web:
    image: localhost/bb
    runtime: {runtime}
    command: sh -c 'mkdir /www; echo page >/www/index.html; exec httpd -f -p 80 -h /www'
    healthcheck: {{test: wget -q -O /dev/null http://127.0.0.1/, interval: 300ms}}
    mem_limit: 48m
    volumes: [data:/data]
  client:
    image: localhost/bb
    runtime: {runtime}
    command: wget -q -O - http://web/
    depends_on: {{web: {{condition: service_healthy}}}}
volumes: {{data: }}
"#
        );
        docker.file("compose.yaml", &services);
        let compose = "compose --progress quiet -f /peers/@/compose.yaml -p @";
        docker.at_end(&format!("{compose} down -v -t 0"));
        let ran = docker.call(&format!(
            "{compose} up --exit-code-from client --attach client --no-log-prefix"
        ));
        assert!(ran.clone().ok().out.contains("page"), "{}", ran.told());
        docker.says(&format!("{compose} up -d web"));
        assert_eq!(
            docker.says(&format!("{compose} exec -T web ls -d /data")),
            "/data"
        );
        docker.says(&format!("{compose} down -v -t 0"));
        assert_eq!(docker.says("ps -aq --filter name=@"), "");
    });
}
