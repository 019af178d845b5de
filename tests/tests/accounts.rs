//! A registry that wants a login and has a certificate of its own: by podman's flags, wherever a registry is
//! spoken to.

use gamut_tests::Gamut;
use gamut_tests::patience::until;
use gamut_tests::skip::skipped;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// `geheim`, as bcrypt keeps it.
const USER: &str = "me:$2y$05$abcdefghijklmnopqrstuuVWu8RjbNovPZWAMRdd7iqaaG0mI53Uu\n";

/// Ended with the value.
struct Registry {
    process: Child,
    /// `address:port`; not loopback's, which needs no certificate.
    address: String,
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn printed(program: &str, words: &[&str]) -> String {
    let output = Command::new(program).args(words).output().expect("it runs");
    assert!(output.status.success(), "{program}: {output:?}");
    String::from_utf8(output.stdout).expect("text")
}

/// An address of this machine that other machines could reach.
fn own_address() -> Option<String> {
    let listed = printed("ip", &["-4", "-o", "addr", "show", "scope", "global"]);
    let word = listed.split_whitespace().find(|word| word.contains('/'))?;
    Some(word.split('/').next()?.to_owned())
}

impl Registry {
    /// Its files are in `dir`: certs/ca.crt is what a client wants.
    fn start(dir: &Path) -> Option<Registry> {
        let Some(ip) = own_address() else {
            skipped("this machine has no address but loopback's");
            return None;
        };
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../lab/registry");
        let program = printed(&script.to_string_lossy(), &["binary"]);
        let free = TcpListener::bind((ip.as_str(), 0)).expect("a port");
        let address = free.local_addr().expect("bound").to_string();
        drop(free);
        std::fs::create_dir(dir.join("certs")).expect("made");
        let (key, certificate) = (dir.join("key"), dir.join("certs/ca.crt"));
        let made = Command::new("openssl")
            .args([
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
                "-nodes",
            ])
            .args(["-days", "30", "-subj", "/CN=registry", "-addext"])
            .arg(format!("subjectAltName=IP:{ip}"))
            .arg("-keyout")
            .arg(&key)
            .arg("-out")
            .arg(&certificate)
            .output()
            .expect("openssl runs");
        assert!(made.status.success(), "{made:?}");
        std::fs::write(dir.join("users"), USER).expect("written");
        let config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage:\n  filesystem: {{rootdirectory: {}}}\n             http:\n  addr: \"{address}\"\n  tls: {{certificate: {}, key: {}}}\n             auth:\n  htpasswd: {{realm: lab, path: {}}}\n",
            dir.join("data").display(),
            certificate.display(),
            key.display(),
            dir.join("users").display()
        );
        std::fs::write(dir.join("config.yml"), config).expect("written");
        let process = Command::new(program.trim())
            .arg("serve")
            .arg(dir.join("config.yml"))
            .env("OTEL_TRACES_EXPORTER", "none")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        let registry = Registry { process, address };
        until("the registry listens", || {
            TcpStream::connect(&registry.address).is_ok()
        });
        Some(registry)
    }
}

#[test]
fn flags_say_how_a_registry_is_met() {
    let Some(gamut) = Gamut::new() else { return };
    let dir = gamut.dir().join("registry");
    std::fs::create_dir(&dir).expect("made");
    let Some(registry) = Registry::start(&dir) else {
        return;
    };
    let certs = dir.join("certs").display().to_string();
    let trusted = ["--cert-dir", certs.as_str()];
    let known = ["--creds", "me:geheim"];
    let name = format!("{}/made:1", registry.address);
    let image = gamut.image("busybox");
    gamut.call(&["pull", "-q", &image]).ok();
    gamut.call(&["tag", &image, &name]).ok();
    let call =
        |verb: &[&str], flags: &[&str], words: &[&str]| gamut.call(&[verb, flags, words].concat());

    // Nobody vouches for it, then it is not known who asks.
    call(&["push", "--retry", "0"], &known, &[&name]).refused(1, &["certificate"]);
    call(&["push"], &trusted, &[&name]).refused(1, &["gamut login"]);
    let wrong = ["--creds", "me:wrong"];
    call(&["push"], &[trusted, wrong].concat(), &[&name]).refused(1, &[]);
    let both = [trusted, known].concat();
    call(&["push", "-q"], &both, &[&name]).ok();
    call(&["push", "-q", "--tls-verify=false"], &known, &[&name]).ok();

    gamut.call(&["rmi", &name]).ok();
    call(&["pull", "-q"], &trusted, &[&name]).refused(1, &[]);
    call(
        &["pull", "-q", "--retry", "1", "--retry-delay", "10ms"],
        &both,
        &[&name],
    )
    .ok();
    gamut.call(&["rmi", &name]).ok();
    let ran = call(
        &["run", "--rm", "--network", "none"],
        &both,
        &[&name, "echo", "from there"],
    );
    ran.ok().prints("from there");
    gamut.call(&["rmi", &name]).ok();
    call(&["create", "--tls-verify=false"], &known, &[&name]).ok();
    gamut.learn_ids();

    let found = call(
        &["search", "--list-tags", "--format", "{{.Tag}}"],
        &both,
        &[&name[..name.len() - 2]],
    );
    found.ok().prints("1");
    call(&["manifest", "inspect"], &both, &[&name]).ok();
    call(&["manifest", "create"], &both, &["list:1", &name]).ok();
    call(&["manifest", "add"], &both, &["list:1", &name]).ok();
    let pushed = format!("{}/list:1", registry.address);
    call(&["manifest", "push", "-q"], &both, &["list:1", &pushed]).ok();
    call(&["manifest", "inspect", "--insecure"], &known, &[&pushed]).ok();
    let copied = format!("{}/copied:1", registry.address);
    call(&["image", "copy", "-q"], &both, &[&name, &copied]).ok();
}

#[test]
fn logins_in_a_file_of_ones_own() {
    let Some(gamut) = Gamut::new() else { return };
    let dir = gamut.dir().join("registry");
    std::fs::create_dir(&dir).expect("made");
    let Some(registry) = Registry::start(&dir) else {
        return;
    };
    let certs = dir.join("certs").display().to_string();
    let file = dir.join("auth.json").display().to_string();
    let server = registry.address.as_str();
    let kept = ["--authfile", file.as_str()];
    let login = |flags: &[&str], password: &str| {
        let words = [&["login", "-u", "me", "--password-stdin"], flags, &[server]].concat();
        gamut.call_with_input(&words, password)
    };
    login(&kept, "geheim").refused(1, &["certificate"]);
    let flags = [kept.as_slice(), &["--cert-dir", &certs]].concat();
    login(&flags, "wrong").refused(1, &[]);
    assert!(!Path::new(&file).exists());
    login(&flags, "geheim").ok().prints("Login Succeeded");
    login(
        &[kept.as_slice(), &["--tls-verify=false"]].concat(),
        "geheim",
    )
    .ok();

    let who = |flags: &[&str]| gamut.call(&[&["login", "--get-login"], flags, &[server]].concat());
    who(&kept).ok().prints("me");
    who(&[]).refused(1, &[server]);

    let name = format!("{server}/made:1");
    let image = gamut.image("busybox");
    gamut.call(&["pull", "-q", &image]).ok();
    gamut.call(&["tag", &image, &name]).ok();
    gamut
        .call(&[&["push", "-q"], flags.as_slice(), &[&name]].concat())
        .ok();
    gamut
        .call(&["push", "-q", "--cert-dir", &certs, &name])
        .refused(1, &["gamut login"]);

    let logout = |words: &[&str]| gamut.call(&[&["logout"], words].concat());
    let removed = format!("Removing login credentials for {server}");
    logout(&[kept.as_slice(), &["--all"]].concat())
        .ok()
        .prints(&removed);
    who(&kept).refused(1, &[server]);
    logout(&[kept.as_slice(), &[server]].concat()).ok();
}

#[test]
fn a_pull_by_policy_and_platform() {
    let Some(gamut) = Gamut::new() else { return };
    let image = gamut.image("busybox");
    let pull = |flags: &[&str]| gamut.call(&[&["pull", "-q"], flags, &[&image]].concat());
    pull(&["--policy", "never"]).refused(1, &["busybox"]);
    pull(&["--policy", "missing"]).ok().prints(&image);
    pull(&["--policy", "never"]).ok().prints(&image);
    pull(&["--policy", "newer"]).ok().prints(&image);
    pull(&["--arch", "nosuch"]).refused(1, &["nosuch"]);
    let host = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    pull(&["--os", "linux", "--arch", host]).ok();
    pull(&["--arch", host, "--platform", "linux/amd64"]).refused(125, &["--platform"]);
    let ran = gamut.run(&["--arch", host, "--os", "linux"], &["echo", "here"]);
    ran.ok().prints("here");
}
