"""differ-inside: runs the lines of the differential run in the peers' root and compares. For lab/differ."""
import os
import re
import subprocess
import sys

HOME = "/peers/differ"
GAMUT = f"{HOME}/gamut --root {HOME}/root --runroot /run/differ"
ENGINES = {"docker": "docker", "podman": "podman", "gamut": GAMUT}
IMAGE = "localhost/bb:latest"
LIMIT = 60
MAKE_IMAGE = """
mkdir -p /tmp/bb/bin /tmp/bb/tmp /tmp/bb/etc /tmp/bb/mnt; chmod 1777 /tmp/bb/tmp; cp /bin/busybox /tmp/bb/bin/
for name in $(busybox --list); do [ $name = busybox ] || ln -sf busybox /tmp/bb/bin/$name; done
printf "root:x:0:0:root:/:/bin/sh\\nuser:x:1000:1000::/:/bin/sh\\n" >/tmp/bb/etc/passwd
printf "root:x:0:\\nuser:x:1000:\\nmore:x:2000:user\\n" >/tmp/bb/etc/group
tar -C /tmp/bb -c . | podman import -q -c "ENV PATH=/bin" -c 'CMD ["sleep", "100000"]' - localhost/bb:latest
podman save -q --format docker-archive -o /peers/differ/bb.tar localhost/bb:latest
rm -rf /tmp/bb
"""


def shell(script, **more):
    return subprocess.run(["sh", "-c", script], stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", **more)


def normal(text):
    text = re.sub(r"\b[0-9a-f]{64}\b", "ID", text)
    text = re.sub(r"\b[0-9a-f]{12}\b", "ID", text)
    text = re.sub(r"\d+(\.\d+)? ?(kB|KB|MB|GB|B)\b", "SIZE", text)
    text = re.sub(r"(\d+ |About an? |Less than a )(second|minute|hour)s?( ago)?", "TIME", text)
    return "\n".join(line.rstrip() for line in text.replace("\r", "").splitlines())


def clear(engine):
    shell(f"{engine} ps -aq | xargs -r {engine} rm -f; {engine} volume ls -q | xargs -r {engine} volume rm -f;"
          f"{engine} network rm n m; {engine} rmi localhost/made:1 localhost/other:2")


def run_all(name, groups):
    """Each line's exit code and output."""
    engine = ENGINES[name]
    results = []
    clear(engine)
    for group in groups:
        for line in group:
            # A directory for its own files, in place of /tmp, which all engines' lines share.
            script = f'e() {{ {engine} "$@"; }}; i={IMAGE}; {line}'.replace("/tmp/", f"/tmp/differ-{name}/")
            try:
                done = shell(script, timeout=LIMIT)
                results.append((done.returncode, normal(done.stdout)))
            except subprocess.TimeoutExpired:
                results.append(("timeout", ""))
        clear(engine)
    return results


def shown(result):
    code, out = result
    out = out.replace("|", "\\|").replace("\n", "⏎")
    return f"{code}" + (f" `{out[:100]}`" if out else "")


def main():
    names = sys.argv[1:]
    with open(f"{HOME}/lines.sh") as file:
        groups = [[line for line in group.splitlines() if line and not line.startswith("#")]
                  for group in file.read().split("\n\n")]
    if names:
        groups = [group for group in groups if any(name in line for name in names for line in group)]
    with open(f"{HOME}/differences.tsv") as file:
        reasons = dict(line.rstrip("\n").split("\t", 1) for line in file if "\t" in line and not line.startswith("#"))
    for name in ENGINES:
        os.makedirs(f"/tmp/differ-{name}", exist_ok=True)
    made = shell(MAKE_IMAGE)
    loaded = [shell(f"{engine} load -q -i {HOME}/bb.tar") for name, engine in ENGINES.items() if name != "podman"]
    for step in [made, *loaded]:
        if step.returncode:
            sys.exit(step.stderr)
    # The ports are the host's, so one engine after the other.
    # Of the image that an earlier run has made.
    for engine in ENGINES.values():
        shell(f"{engine} image prune -f")
    results = {name: run_all(name, groups) for name in ENGINES}
    lines = [line for group in groups for line in group]
    same = {"both": 0, "docker": 0, "podman": 0}
    rows, open_lines = [], []
    for number, line in enumerate(lines):
        docker, podman, gamut = (results[name][number] for name in ENGINES)
        as_docker, as_podman = gamut == docker, gamut == podman
        if as_docker or as_podman:
            same["both" if as_docker and as_podman else "docker" if as_docker else "podman"] += 1
            continue
        reason = reasons.get(line)
        if reason is None:
            open_lines.append((line, docker, podman, gamut))
        code = line.replace("|", "\\|")
        rows.append(f"| `{code}` | {shown(docker)} | {shown(podman)} | {shown(gamut)} | {reason or '*no reason*'} |")
    stale = [line for line in reasons if line not in lines] if not names else []
    versions = ", ".join(shell(f"{engine} --version").stdout.strip() for engine in ("docker", "podman"))
    head = (f"{len(lines)} command lines through {versions} and gamut; compared are exit codes and standard output "
            f"after ids, sizes and times are made alike. Gamut is as both in {same['both']}, as docker alone in "
            f"{same['docker']}, as podman alone in {same['podman']}, and different from both in {len(rows)}.")
    print(head)
    for line, *three in open_lines:
        print(f"\n{line}")
        for name, result in zip(ENGINES, three):
            print(f"  {name:7}{result[0]} {result[1]!r}"[:400])
    for line in stale:
        print(f"a reason for what is no line: {line}")
    with open(f"{HOME}/differences.md", "w") as file:
        file.write("<!-- Generated by `lab/differ`. -->\n\n# Where gamut differs from docker and podman\n\n"
                   f"{head}\n\n| line | docker | podman | gamut | why |\n|---|---|---|---|---|\n" + "\n".join(rows) + "\n")
    sys.exit(1 if open_lines or stale else 0)


main()
