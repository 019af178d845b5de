//! What the tests stand on: an instance in a thread, a client, and a backend that takes notes.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use gamut_firecracker::http::BODY_BYTES_MAX;
use gamut_firecracker::machine::{Backend, Blueprint, Limits, Machine, MachineError, Outcome};
use gamut_firecracker::model::{BalloonStatistics, Level, Logger};
use gamut_firecracker::process::{self, Options, ProcessError};
use rustix::event::EventfdFlags;
use rustix::io::Errno;
use serde_json::Value;
use tempfile::TempDir;

/// What the machine was told, in order, and how it is to end.
#[derive(Debug, Clone, Default)]
pub(crate) struct Notes {
    lines: Arc<Mutex<Vec<String>>>,
    machine_end: Arc<Mutex<Option<(Outcome, OwnedFd)>>>,
    end: Arc<Mutex<Option<Outcome>>>,
}

impl Notes {
    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines.lock().expect("nobody panicked").clone()
    }

    fn note(&self, line: String) {
        self.lines.lock().expect("nobody panicked").push(line);
    }

    /// The machine ends.
    pub(crate) fn end(&self, outcome: Outcome) {
        *self.end.lock().expect("nobody panicked") = Some(outcome);
        let signal = self.machine_end.lock().expect("nobody panicked");
        let (_, fd) = signal.as_ref().expect("a machine");
        rustix::io::write(fd, &1u64.to_ne_bytes()).expect("an eventfd takes it");
    }
}

#[derive(Debug)]
struct Maker(Notes);

impl Backend for Maker {
    fn open_tap(&self, name: &str) -> Result<OwnedFd, Errno> {
        match name {
            "busy" => Err(Errno::BUSY),
            "" => Err(Errno::INVAL),
            _ => Ok(File::open("/dev/null").expect("it is there").into()),
        }
    }

    fn start(&mut self, blueprint: Blueprint) -> Result<Box<dyn Machine>, MachineError> {
        if blueprint.command_line.contains("no-start") {
            return Err(MachineError::new("told not to"));
        }
        self.0.note(format!(
            "start {} {} {:?}",
            blueprint.vcpus, blueprint.memory_mib, blueprint.pages
        ));
        self.0.note(blueprint.command_line.clone());
        for drive in &blueprint.drives {
            self.0.note(format!(
                "drive {} {:?} {:?}",
                drive.id, drive.access, drive.cache
            ));
        }
        for card in &blueprint.networks {
            let metadata = card.metadata.as_ref().map(|(address, _)| *address);
            self.0
                .note(format!("card {} {:?} {metadata:?}", card.id, card.mac));
        }
        let ended = rustix::event::eventfd(0, EventfdFlags::CLOEXEC).expect("an eventfd");
        let ours = ended.try_clone().expect("a descriptor");
        *self.0.machine_end.lock().expect("nobody panicked") = Some((Outcome::Shutdown, ours));
        Ok(Box::new(Noting {
            notes: self.0.clone(),
            ended,
        }))
    }
}

#[derive(Debug)]
struct Noting {
    notes: Notes,
    ended: OwnedFd,
}

impl Noting {
    fn note(&self, line: String) -> Result<(), MachineError> {
        self.notes.note(line);
        Ok(())
    }
}

impl Machine for Noting {
    fn pause(&mut self) -> Result<(), MachineError> {
        self.note("pause".to_owned())
    }

    fn resume(&mut self) -> Result<(), MachineError> {
        self.note("resume".to_owned())
    }

    fn send_ctrl_alt_del(&mut self) -> Result<(), MachineError> {
        self.note("ctrl-alt-del".to_owned())
    }

    fn set_balloon(&mut self, target_mib: u32) -> Result<(), MachineError> {
        self.note(format!("balloon {target_mib}"))
    }

    fn set_balloon_interval(&mut self, interval_s: u16) -> Result<(), MachineError> {
        self.note(format!("interval {interval_s}"))
    }

    fn balloon_statistics(&mut self) -> Result<BalloonStatistics, MachineError> {
        Ok(BalloonStatistics::new(512, 256, &[(4, 4096)]))
    }

    fn replace_drive(&mut self, id: &str, file: File) -> Result<(), MachineError> {
        let length = file.metadata().expect("a file").len();
        self.note(format!("replace {id} {length}"))
    }

    fn limit_drive(&mut self, id: &str, limits: Limits) -> Result<(), MachineError> {
        let [bytes, operations] = limits.map(|limit| limit.size);
        self.note(format!("limit {id} {bytes} {operations}"))
    }

    fn limit_network(
        &mut self,
        id: &str,
        receive: Limits,
        transmit: Limits,
    ) -> Result<(), MachineError> {
        self.note(format!(
            "limit {id} {} {}",
            receive[0].size, transmit[1].size
        ))
    }

    fn counters(&mut self) -> Vec<(String, Vec<(String, u64)>)> {
        vec![(
            "block_root".to_owned(),
            vec![("read_bytes".to_owned(), 512)],
        )]
    }

    fn ended(&self) -> BorrowedFd<'_> {
        self.ended.as_fd()
    }

    fn outcome(&mut self) -> Option<Outcome> {
        self.notes.end.lock().expect("nobody panicked").clone()
    }
}

/// A client of the instance whose socket is `api` in a folder.
#[derive(Debug)]
pub(crate) struct Client {
    folder: PathBuf,
}

/// An instance in a thread, and its client.
pub(crate) struct Instance {
    pub(crate) folder: TempDir,
    pub(crate) notes: Notes,
    client: Client,
    thread: JoinHandle<Result<(), ProcessError>>,
}

impl std::ops::Deref for Instance {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

/// An answer.
#[derive(Debug, PartialEq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Option<Value>,
}

impl Answer {
    /// What a failure says.
    pub(crate) fn fault(&self) -> &str {
        assert!(matches!(self.status, 400 | 413), "{self:?}");
        let body = self.body.as_ref().expect("a body");
        body["fault_message"].as_str().expect("words")
    }

    pub(crate) fn is_done(&self) {
        assert_eq!((self.status, &self.body), (204, &None), "{self:?}");
    }

    pub(crate) fn document(self) -> Value {
        assert_eq!(self.status, 200, "{self:?}");
        self.body.expect("a document")
    }
}

pub(crate) fn options(folder: &TempDir) -> Options {
    Options {
        id: "vm-1".to_owned(),
        api_socket: Some(folder.path().join("api")),
        config_file: None,
        metadata: None,
        logger: Logger {
            log_path: Some(folder.path().join("log")),
            level: Some(Level::Info),
            ..Logger::default()
        },
        metrics: None,
        body_bytes_max: BODY_BYTES_MAX,
        mmds_bytes_max: None,
    }
}

impl Client {
    pub(crate) fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
        }
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.join(name)).expect("a file")
    }

    /// Connects as soon as there is something to connect to.
    pub(crate) fn connect(&self) -> UnixStream {
        let began = Instant::now();
        loop {
            match UnixStream::connect(self.folder.join("api")) {
                Ok(stream) => return stream,
                Err(error) => assert!(began.elapsed() < Duration::from_secs(60), "{error}"),
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn ask(&self, method: &str, path: &str, body: Option<&str>) -> Answer {
        let mut stream = self.connect();
        write(&mut stream, method, path, body);
        read(&mut stream)
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, None)
    }

    /// The body's single quotes become double ones, and `DIR` the folder.
    pub(crate) fn put(&self, path: &str, body: &str) -> Answer {
        self.ask("PUT", path, Some(&self.json(body)))
    }

    pub(crate) fn patch(&self, path: &str, body: &str) -> Answer {
        self.ask("PATCH", path, Some(&self.json(body)))
    }

    pub(crate) fn delete(&self, path: &str) -> Answer {
        self.ask("DELETE", path, None)
    }

    pub(crate) fn bare(&self, method: &str, path: &str) -> Answer {
        self.ask(method, path, None)
    }

    pub(crate) fn json(&self, text: &str) -> String {
        text.replace('\'', "\"").replace("DIR", &self.path(""))
    }
}

impl Instance {
    pub(crate) fn new() -> Self {
        Self::with(|_, options| options)
    }

    /// With other options; in the folder, `kernel` and `disk` are files.
    pub(crate) fn with(change: impl FnOnce(&TempDir, Options) -> Options) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("kernel"), "ELF").expect("a file");
        std::fs::write(folder.path().join("disk"), [0; 1024]).expect("a file");
        let options = change(&folder, options(&folder));
        let notes = Notes::default();
        let backend = Box::new(Maker(notes.clone()));
        let thread = std::thread::spawn(move || process::run(options, backend));
        Self {
            client: Client::new(folder.path()),
            folder,
            notes,
            thread,
        }
    }

    /// A kernel and a root disk, and it runs.
    pub(crate) fn start(&self) {
        self.put("/boot-source", "{'kernel_image_path': 'DIR/kernel'}")
            .is_done();
        let drive = "{'drive_id': 'root', 'path_on_host': 'DIR/disk', 'is_root_device': true, 'is_read_only': true}";
        self.put("/drives/root", drive).is_done();
        self.put("/actions", "{'action_type': 'InstanceStart'}")
            .is_done();
    }

    /// The machine ends, and so does the instance.
    pub(crate) fn end(self, outcome: Outcome) -> Result<(), ProcessError> {
        self.notes.end(outcome);
        let ended = self.thread.join().expect("no panic");
        let socket = self.folder.path().join("api");
        assert!(!socket.exists(), "its name goes with it");
        ended
    }

    /// It ends by itself.
    pub(crate) fn join(self) -> (TempDir, Result<(), ProcessError>) {
        (self.folder, self.thread.join().expect("no panic"))
    }
}

pub(crate) fn write(stream: &mut UnixStream, method: &str, path: &str, body: Option<&str>) {
    let body = body.unwrap_or_default();
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).expect("it is taken");
}

/// One answer, and nothing behind it.
pub(crate) fn read(stream: &mut UnixStream) -> Answer {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).expect("a head");
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).expect("text");
    let status = head
        .split(' ')
        .nth(1)
        .expect("a status")
        .parse()
        .expect("a number");
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("Content-Length: "))
        .map_or(0, |length| length.parse().expect("a number"));
    let mut body = vec![0; length];
    stream.read_exact(&mut body).expect("a body");
    let body = (length > 0).then(|| serde_json::from_slice(&body).expect("JSON"));
    Answer { status, head, body }
}
