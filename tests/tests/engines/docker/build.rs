//! docker's two builders. They take the daemon's default runtime, and the program named `runc`: gamut both.

use gamut_tests::Engine;

const RECIPE: &str = "FROM localhost/bb AS first\n\
    ARG WORD=none\n\
    RUN echo $WORD >/word && id -u >/uid\n\
    FROM localhost/bb\n\
    COPY --from=first /word /uid /\n\
    USER user\n\
    WORKDIR /tmp\n\
    RUN echo $(id -u) $(pwd) >/tmp/seen\n";

#[test]
fn the_classic_builder_runs_its_steps() {
    let Some(docker) = Engine::new("docker", "docker-classic") else {
        return;
    };
    docker.file("Dockerfile", RECIPE);
    docker.at_end("image rm -f localhost/@");
    let built = docker
        .beside("DOCKER_BUILDKIT=0 docker build -q --build-arg WORD=given -t localhost/@ /peers/@");
    built.ok();
    let seen = docker.says("run --rm --network none localhost/@ cat /word /uid /tmp/seen");
    assert_eq!(seen, "given\n0\n1000 /tmp");
    docker.file("Dockerfile", "FROM localhost/bb\nRUN exit 42\n");
    let failed = docker.beside("DOCKER_BUILDKIT=0 docker build --no-cache /peers/@");
    assert!(
        failed.code != 0 && failed.err.contains("42"),
        "{}",
        failed.told()
    );
}

#[test]
fn buildkit_runs_its_steps() {
    let Some(docker) = Engine::new("docker", "docker-buildkit") else {
        return;
    };
    let more = "RUN --mount=type=secret,id=s,uid=1000 cat /run/secrets/s >/tmp/revealed\n\
        RUN --mount=type=cache,target=/cache,uid=1000 echo kept >/cache/file\n\
        RUN --mount=type=tmpfs,target=/mnt mount | grep -q ' /mnt type tmpfs'\n\
        RUN --network=none ip route | wc -l >/tmp/routes\n";
    docker.file("Dockerfile", &format!("{RECIPE}{more}"));
    docker.file("secret", "told\n");
    docker.at_end("image rm -f localhost/@");
    docker.says("buildx build -q --build-arg WORD=given --secret id=s,src=/peers/@/secret -t localhost/@ /peers/@");
    let seen = docker.says(
        "run --rm --network none localhost/@ cat /word /uid /tmp/seen /tmp/revealed /tmp/routes",
    );
    assert_eq!(seen, "given\n0\n1000 /tmp\ntold\n0");
    docker.file("Dockerfile", "FROM localhost/bb\nRUN exit 42\n");
    let failed = docker.call("buildx build --no-cache /peers/@");
    assert!(
        failed.code != 0 && failed.err.contains("42"),
        "{}",
        failed.told()
    );
}
