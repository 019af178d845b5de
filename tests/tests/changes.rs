//! A container's changes: listed, exported, committed, and copied in and out, with each storage driver.

use super::drivers::each;
use gamut_tests::Gamut;
use gamut_tests::host::program;
use rustix::mount::UnmountFlags;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;

/// What each of these tests changes.
const CHANGES: &str = "mkdir -p /new/d; echo hi >/new/f; ln /new/f /new/g; ln -s f /new/l; mkfifo /new/p; \
     chmod 4751 /new/f; chown 33:34 /new/d; chmod 1777 /new/d; touch -d @981173106 /new/f; \
     rm /etc/group; rm -rf /bin/../media; rm -rf /var; mkdir /var; echo x >/var/x; echo more >>/etc/passwd";

fn changed(gamut: &Gamut, flags: &[&str]) -> String {
    let before = "mkdir -p /media/m /var/deep/er; echo 1 >/etc/group; echo 2 >/etc/passwd; echo 3 >/var/deep/f";
    let image = gamut.image("busybox");
    let id = gamut.idle(&[]);
    gamut.exec(&id, before);
    gamut.call(&["commit", &id, "base:1"]).ok();
    gamut.call(&["rm", "-f", &id]).ok();
    let words = [
        &["run", "-d", "--network", "none"],
        flags,
        &[
            "base:1",
            "sh",
            "-c",
            "trap 'exit 0' TERM; while :; do sleep 3600 & wait $!; done",
        ],
    ]
    .concat();
    let id = gamut.call(&words).ok().text().to_owned();
    gamut.learn_ids();
    gamut.exec(&id, CHANGES);
    let _ = image;
    id
}

fn path(gamut: &Gamut, name: &str) -> (PathBuf, String) {
    let path = gamut.dir().join(name);
    let text = path.to_string_lossy().into_owned();
    (path, text)
}

#[test]
fn changes_are_listed_with_dockers_letters() {
    for gamut in each() {
        let id = changed(&gamut, &[]);
        let wanted = [
            "C /etc",
            "D /etc/group",
            "C /etc/passwd",
            "D /media",
            "A /new",
            "A /new/d",
            "A /new/f",
            "A /new/g",
            "A /new/l",
            "A /new/p",
            "C /var",
            "D /var/deep",
            "D /var/www",
            "A /var/x",
        ];
        assert_eq!(gamut.call(&["diff", &id]).ok().lines(), wanted);
        let lists = gamut.call(&["diff", "--format", "json", &id]).ok().json();
        assert_eq!(lists["deleted"][0], "/etc/group");
        gamut.call(&["stop", "-t", "0", &id]).ok();
        assert_eq!(gamut.call(&["diff", &id]).ok().lines(), wanted);
        gamut.call(&["commit", &id, "new:1"]).ok();
        assert_eq!(gamut.call(&["diff", "new:1"]).ok().lines(), wanted);
        assert_eq!(
            gamut.call(&["diff", "new:1", "base:1"]).ok().lines(),
            wanted
        );
        let back = gamut.call(&["diff", "base:1", "new:1"]).ok();
        assert!(back.lines().contains(&"D /new"), "{}", back.told());
        gamut.call(&["diff", "neither"]).refused(1, &["neither"]);
    }
}

#[test]
fn a_commit_is_what_the_container_was() {
    for gamut in each() {
        let id = changed(&gamut, &["-e", "A=b", "-w", "/new", "--label", "k=v"]);
        let made = gamut
            .call(&[
                "commit",
                "-a",
                "me",
                "-m",
                "why",
                "-c",
                "ENV C=$A",
                "-c",
                "USER 1000",
                &id,
                "new:1",
            ])
            .ok();
        let all = gamut.call(&["image", "inspect", "new:1"]).ok().json();
        assert_eq!(all[0]["Id"], made.text());
        assert_eq!(all[0]["Author"], "me");
        assert_eq!(all[0]["Comment"], "why");
        assert_eq!(all[0]["Config"]["User"], "1000");
        assert_eq!(all[0]["Config"]["WorkingDir"], "/new");
        assert_eq!(all[0]["Config"]["Labels"]["k"], "v");
        assert_eq!(all[0]["Config"]["Cmd"][0], "sh");
        let script = "stat -c '%n %a %u:%g %h %Y %F' d f g l p; cat f; echo $A$C; ls /etc/group /media /var/deep; ls /var";
        let run = [
            "run",
            "--rm",
            "--network",
            "none",
            "new:1",
            "sh",
            "-c",
            script,
        ];
        let seen = gamut.call(&run).code(0);
        let lines = seen.lines();
        assert!(lines[0].starts_with("d 1777 33:34 "), "{}", seen.told());
        assert_eq!(lines[1], "f 4751 0:0 2 981173106 regular file");
        assert_eq!(lines[2], "g 4751 0:0 2 981173106 regular file");
        assert!(lines[3].ends_with("symbolic link") && lines[4].ends_with("fifo"));
        assert_eq!(lines[5..], ["hi", "bb", "x"], "{}", seen.told());
        assert_eq!(
            seen.err.matches("No such file").count(),
            3,
            "{}",
            seen.told()
        );
        let history = gamut
            .call(&[
                "history",
                "--no-trunc",
                "--format",
                "{{.Comment}}|{{.Size}}",
                "new:1",
            ])
            .ok();
        assert!(history.lines()[0].starts_with("why|"), "{}", history.told());
        assert_eq!(
            gamut.call(&["history", "-q", "new:1"]).ok().lines()[1],
            "<missing>"
        );
        let tree = gamut.call(&["image", "tree", "new:1"]).ok();
        assert!(
            tree.out.contains("Top Layer of: [new:1]"),
            "{}",
            tree.told()
        );
        assert!(
            tree.out.contains("Top Layer of: [base:1]"),
            "{}",
            tree.told()
        );
        // It runs on: the pause was undone.
        assert_eq!(gamut.exec(&id, "echo alive"), "alive");
        // No change, no layer.
        let idle = gamut.call(&["create", "--network", "none", "base:1"]).ok();
        gamut.learn_ids();
        gamut
            .call(&["commit", "-p=false", idle.text(), "same:1"])
            .ok();
        let layers = |name: &str| {
            let all = gamut.call(&["image", "inspect", name]).ok().json();
            all[0]["RootFS"]["Layers"].clone()
        };
        assert_eq!(layers("same:1"), layers("base:1"));
        gamut
            .call(&["commit", "-c", "RUN true", &id])
            .refused(1, &["RUN"])
            .hinted();
    }
}

/// As after a restart of the machine: no image is mounted.
#[test]
fn a_container_is_read_whether_or_not_its_image_is_mounted() {
    for gamut in each() {
        let id = changed(&gamut, &[]);
        gamut.call(&["stop", "-t", "0", &id]).ok();
        let (_, text) = path(&gamut, "f");
        let inside = format!("{id}:/etc/passwd");
        for words in [
            &["cp", "-q", &inside, &text][..],
            &["diff", &id],
            &["export", "-o", &text, &id],
            &["commit", &id, "new:1"],
            &["diff", "base:1"],
            &["start", &id],
        ] {
            let mounts = gamut.runroot().join("images");
            for mount in std::fs::read_dir(mounts).into_iter().flatten().flatten() {
                // This test's own; a place may be empty already.
                let _ = rustix::mount::unmount(mount.path(), UnmountFlags::NOFOLLOW);
            }
            gamut.call(words).ok();
        }
    }
}

#[test]
fn a_commit_in_a_user_namespace_has_the_containers_own_ids() {
    for gamut in each() {
        let id = changed(&gamut, &["--userns", "auto"]);
        gamut.call(&["commit", &id, "new:1"]).ok();
        let run = [
            "run",
            "--rm",
            "--network",
            "none",
            "new:1",
            "stat",
            "-c",
            "%u:%g",
            "/new/d",
            "/var",
        ];
        assert_eq!(gamut.call(&run).ok().lines(), ["33:34", "0:0"]);
        let (_, text) = path(&gamut, "all.tar");
        gamut.call(&["export", "-o", &text, &id]).ok();
        let listed = program("tar", &["tvf", &text, "--numeric-owner", "new/d", "bin/sh"]);
        assert!(
            listed.contains("33/34") && listed.contains(" 0/0 "),
            "{listed}"
        );
    }
}

#[test]
fn an_export_is_the_whole_root_without_mounts() {
    for gamut in each() {
        let (mounted, source) = path(&gamut, "mounted");
        std::fs::create_dir(&mounted).expect("made");
        std::fs::write(mounted.join("inside"), "x").expect("written");
        let id = changed(
            &gamut,
            &["-v", &format!("{source}:/mnt"), "--tmpfs", "/tmp"],
        );
        gamut.exec(&id, "echo t >/tmp/t");
        let (file, text) = path(&gamut, "all.tar");
        let mut contents = Vec::new();
        for state in ["running", "stopped"] {
            gamut.call(&["export", "-o", &text, &id]).ok();
            let listed = program("tar", &["tf", &text]);
            let names: Vec<&str> = listed.lines().collect();
            for name in ["new/f", "bin/sh", "mnt/", "etc/passwd", "proc/"] {
                assert!(names.contains(&name), "{state}: no {name} in {listed}");
            }
            for name in [
                "mnt/inside",
                "etc/group",
                "media/",
                "var/deep/",
                "tmp/t",
                "proc/1/",
            ] {
                assert!(!names.contains(&name), "{state}: {name}");
            }
            contents.push(std::fs::read(&file).expect("read"));
            gamut.call(&["stop", "-t", "0", &id]).ok();
        }
        assert!(contents[0] == contents[1], "a stop changed the files");
        gamut.call(&["import", &text, "flat:1"]).ok();
        let run = [
            "run",
            "--rm",
            "--network",
            "none",
            "flat:1",
            "/bin/cat",
            "/new/g",
        ];
        gamut.call(&run).ok().prints("hi");
        gamut
            .call(&["export", "-o", &text, "nobody"])
            .refused(1, &["nobody"]);
        gamut.call(&["export", "-o", "/no/such/dir/x", &id]).code(1);
    }
}

#[test]
fn copies_go_where_dockers_rules_say() {
    for gamut in each() {
        let id = gamut.idle(&[]);
        let (source, from) = path(&gamut, "src");
        std::fs::create_dir_all(source.join("sub")).expect("made");
        std::fs::write(source.join("a"), "a").expect("written");
        std::fs::write(source.join("sub/b"), "b").expect("written");
        std::os::unix::fs::symlink("a", source.join("l")).expect("linked");
        std::os::unix::fs::chown(source.join("a"), Some(1000), Some(1001)).expect("owned");
        let to = |path: &str| format!("{id}:{path}");
        let cp = |from: &str, to: &str| gamut.call(&["cp", "-q", from, to]);
        let (a, content, l) = (
            format!("{from}/a"),
            format!("{from}/."),
            format!("{from}/l"),
        );
        gamut.exec(&id, "mkdir -p /t/there; ln -s /t/there /t/link");
        // A directory: not there, there, its content only.
        cp(&from, &to("/t/new")).ok();
        cp(&from, &to("/t/there")).ok();
        cp(&content, &to("/t/link")).ok();
        // A file: into a directory, to a name, over a file.
        cp(&a, &to("/t/link/in")).ok();
        cp(&a, &to("/t/there/")).ok();
        cp(&a, &to("t/there/in")).ok();
        cp(&l, &to("/t/l")).ok();
        gamut.call(&["cp", "-q", "-L", &l, &to("/t/followed")]).ok();
        let seen = gamut.exec(
            &id,
            "cd /t; find . | sort; stat -c %u:%g new/a; readlink l; cat followed",
        );
        assert_eq!(
            seen.split_whitespace().collect::<Vec<_>>().join(" "),
            ". ./followed ./l ./link ./new ./new/a ./new/l ./new/sub ./new/sub/b ./there ./there/a \
         ./there/in ./there/l ./there/src ./there/src/a ./there/src/l ./there/src/sub \
         ./there/src/sub/b ./there/sub ./there/sub/b 1000:1001 a a"
        );
        cp(&from, &to("/t/followed")).refused(1, &["directory"]);
        cp(&a, &to("/t/none/x")).refused(1, &["/t/none/x"]);
        cp(&a, &to("/t/none/")).refused(1, &["/t/none/"]);
        cp("/no/such", &to("/t")).refused(1, &["/no/such"]);
        cp(&to("/no/such"), &from).refused(1, &["/no/such"]);
        cp(&to("/t"), &to("/x")).refused(1, &["containers"]);
        cp(&from, "/tmp").refused(1, &["CONTAINER:PATH"]);
        // And out.
        let (out, text) = path(&gamut, "out");
        cp(&to("/t/there"), &text).ok();
        cp(&to("/t/there/src/."), &format!("{text}/flat")).ok();
        assert_eq!(std::fs::read(out.join("flat/sub/b")).expect("read"), b"b");
        assert_eq!(std::fs::metadata(out.join("in")).expect("there").uid(), 0);
        let list = gamut.call(&["cp", &to("/t/there/src"), "-"]).ok();
        assert!(list.out.contains("src/sub/b"), "no tar");
    }
}

#[test]
fn tars_are_copied_by_streams_and_owned_by_whom_is_asked() {
    for gamut in each() {
        let id = gamut.idle(&["--user", "1234:4321"]);
        let (source, from) = path(&gamut, "f");
        std::fs::write(&source, "x").expect("written");
        gamut
            .call(&["cp", "-a", "-q", &from, &format!("{id}:/f")])
            .ok();
        let own = format!(
            "tar c -C {} f | gzip | {} --root {} --runroot {} cp - {id}:/tmp",
            gamut.dir().display(),
            gamut_tests::gamut::binary().display(),
            gamut.root().display(),
            gamut.runroot().display()
        );
        gamut
            .call(&["exec", "--user", "0", &id, "mkdir", "-p", "/tmp"])
            .ok();
        program("sh", &["-c", &own]);
        assert_eq!(
            gamut.exec(&id, "stat -c %u:%g /f; cat /tmp/f"),
            "1234:4321\nx"
        );
    }
}

#[test]
fn volumes_are_reached_running_and_stopped() {
    for gamut in each() {
        let (bound, source) = path(&gamut, "bound");
        std::fs::create_dir(&bound).expect("made");
        let bind = format!("{source}:/mnt");
        let read_only = format!("{source}:/ro:ro");
        let id = gamut.idle(&["-v", &bind, "-v", "vol:/data", "-v", &read_only]);
        let (file, from) = path(&gamut, "f");
        std::fs::write(&file, "x").expect("written");
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o640)).expect("set");
        for state in ["running", "stopped"] {
            let put = |to: &str| gamut.call(&["cp", "-q", &from, &format!("{id}:{to}")]);
            put(&format!("/mnt/{state}")).ok();
            put(&format!("/data/{state}")).ok();
            put(&format!("/own-{state}")).ok();
            put(&format!("/ro/{state}-not")).code(1);
            let mode = std::fs::metadata(bound.join(state)).expect("there").mode();
            assert_eq!(mode & 0o7777, 0o640);
            gamut.call(&["stop", "-t", "0", &id]).ok();
        }
        gamut.call(&["start", &id]).ok();
        let seen = gamut.exec(&id, "ls /data /mnt; ls -d /own*");
        let seen: Vec<&str> = seen
            .split_whitespace()
            .filter(|w| !w.ends_with(':'))
            .collect();
        assert_eq!(
            seen,
            [
                "running",
                "stopped",
                "running",
                "stopped",
                "/own-running",
                "/own-stopped"
            ]
        );
    }
}

#[test]
fn a_container_cannot_lead_a_copy_out_of_itself() {
    for gamut in each() {
        let (outside, there) = path(&gamut, "outside");
        std::fs::create_dir(&outside).expect("made");
        std::fs::write(outside.join("secret"), "s").expect("written");
        let id = gamut.idle(&[]);
        gamut.exec(
        &id,
        &format!("mkdir -p /t{there}; ln -s {there} /t/out; ln -s /proc/1/root /t/magic; ln -s ../../../../../../.. /t/up"),
    );
        let (file, from) = path(&gamut, "f");
        std::fs::write(&file, "x").expect("written");
        for state in ["running", "stopped"] {
            for target in ["/t/out/f", "/t/magic/f", "/t/up/f"] {
                gamut.call(&["cp", "-q", &from, &format!("{id}:{target}")]);
            }
            let got = gamut.call(&["cp", "-q", &format!("{id}:/t/out/secret"), "-"]);
            assert!(got.code != 0, "{state}: {}", got.told());
            let left = std::fs::read_dir(&outside).expect("listed").count();
            assert_eq!(left, 1, "{state}: something came out");
            assert!(!PathBuf::from("/f").exists());
            gamut.call(&["stop", "-t", "0", &id]).ok();
        }
    }
}
