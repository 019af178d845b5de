//! `-t`: a real terminal on both sides.

use gamut_tests::Gamut;

#[test]
fn it_is_a_terminal_of_the_right_size() {
    let Some(gamut) = Gamut::new() else { return };
    let image = gamut.image("busybox");
    let mut terminal = gamut.terminal(&["run", "--rm", "-it", "--network", "none", &image, "sh"]);
    terminal.expect("# ");
    terminal.send("tty; stty size; echo TERM=$TERM\n");
    terminal.expect("/dev/pts/0");
    terminal.expect("24 80");
    terminal.expect("TERM=xterm");
    terminal.send("exit 9\n");
    assert_eq!(terminal.wait(), 9);
}

#[test]
fn a_change_of_size_goes_inside() {
    let Some(gamut) = Gamut::new() else { return };
    let image = gamut.image("busybox");
    let mut terminal = gamut.terminal(&["run", "--rm", "-it", "--network", "none", &image, "sh"]);
    terminal.expect("# ");
    terminal.resize(50, 132);
    terminal.send("until [ \"$(stty size)\" = '50 132' ]; do sleep 0.05; done; echo res''ized\n");
    terminal.expect("resized");
    terminal.send("exit\n");
    assert_eq!(terminal.wait(), 0);
}

#[test]
fn ctrl_c_is_for_the_inside() {
    let Some(gamut) = Gamut::new() else { return };
    let image = gamut.image("busybox");
    let mut terminal = gamut.terminal(&[
        "run",
        "--rm",
        "-it",
        "--network",
        "none",
        &image,
        "sh",
        "-c",
        "trap 'echo caught; exit 5' INT; echo re''ady; while :; do sleep 0.1; done",
    ]);
    terminal.expect("ready");
    terminal.send("\x03");
    terminal.expect("caught");
    assert_eq!(terminal.wait(), 5);
}

#[test]
fn detach_keys_leave_the_container_running() {
    let Some(gamut) = Gamut::new() else { return };
    let image = gamut.image("busybox");
    let mut terminal = gamut.terminal(&[
        "run",
        "-it",
        "--network",
        "none",
        "--name",
        "left",
        &image,
        "sh",
    ]);
    terminal.expect("# ");
    terminal.send("\x10\x11"); // ctrl-p ctrl-q
    assert_eq!(terminal.wait(), 0);
    assert_eq!(gamut.inspect("left")["State"]["Running"], true);
    // And back again, on the same shell, with other keys.
    let mut again = gamut.terminal(&["attach", "--detach-keys", "ctrl-x,x", "left"]);
    again.send("echo on''ce more\n");
    again.expect("once more");
    again.send("\x18x");
    assert_eq!(again.wait(), 0);
    assert_eq!(gamut.inspect("left")["State"]["Running"], true);
}

#[test]
fn the_users_own_terminal_is_as_before() {
    let Some(gamut) = Gamut::new() else { return };
    let binary = std::env::var("GAMUT_BIN").unwrap_or_default();
    let image = gamut.image("busybox");
    let (root, runroot) = (gamut.dir().join("root"), gamut.dir().join("run"));
    let line = format!(
        "before=$(stty -g); {binary} --root {} --runroot {} run --rm -it --network none {image} true; [ \"$before\" = \"$(stty -g)\" ] && echo same settings",
        root.display(),
        runroot.display()
    );
    if binary.is_empty() {
        return gamut_tests::skip::skipped("GAMUT_BIN is not set");
    }
    let mut terminal = gamut_tests::Terminal::open(
        gamut_tests::user::Caller::Root,
        "sh",
        &["-c".to_owned(), line],
        &[],
        (24, 80),
    )
    .unwrap();
    terminal.expect("same settings");
    terminal.wait();
}

#[test]
fn t_without_a_terminal_still_gives_one_inside() {
    let Some(gamut) = Gamut::new() else { return };
    assert_eq!(gamut.run(&["-t"], &["tty"]).ok().text(), "/dev/pts/0");
    // Both streams are the one terminal, whose line ends are CR LF.
    let both = gamut
        .run(&["-t"], &["sh", "-c", "echo out; echo err >&2"])
        .ok();
    assert_eq!(both.out, "out\r\nerr\r\n");
    assert_eq!(both.err, "");
}

#[test]
fn exec_has_a_terminal_of_its_own() {
    let Some(gamut) = Gamut::new() else { return };
    let id = gamut.idle(&[]);
    let mut terminal = gamut.terminal(&["exec", "-it", &id, "sh"]);
    terminal.expect("# ");
    terminal.send("stty size; exit 4\n");
    terminal.expect("24 80");
    assert_eq!(terminal.wait(), 4);
}
