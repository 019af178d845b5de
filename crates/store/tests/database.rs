//! The state database: families of tables, and many writers at once.

use std::collections::{BTreeMap, HashSet};
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use gamut_spec::{Fault, Kind};
use gamut_store::db::{
    Container, Db, DbError, LeaseRequest, Network, NetworkOptions, Protocol, PublishedPort,
    Transaction,
};

fn open(directory: &Path) -> Db {
    Db::open(&directory.join("state.db")).expect("opened")
}

fn container(number: u32) -> Container {
    Container {
        id: format!("{number:064x}"),
        name: format!("c{number}"),
        image_id: None,
        image_ref: "none".into(),
        created_ns: i64::from(number),
        level: "container".into(),
        request: "{\"env\": [\"A=1\"]}".into(),
        labels: BTreeMap::from([("a".into(), "b".into())]),
        auto_remove: false,
        pod: None,
    }
}

fn network(name: &str, subnet4: Option<&str>, subnet6: Option<&str>) -> Network {
    let subnet4 = subnet4.map(|text| text.parse().expect("a subnet"));
    let subnet6 = subnet6.map(|text| text.parse().expect("a subnet"));
    Network {
        name: name.into(),
        bridge: format!("br-{name}"),
        subnet4,
        gateway4: subnet4.map(|s: gamut_store::db::Subnet4| (s.address.to_bits() + 1).into()),
        subnet6,
        gateway6: subnet6.map(|s: gamut_store::db::Subnet6| (s.address.to_bits() + 1).into()),
        options: NetworkOptions {
            mtu: Some(1500),
            ..NetworkOptions::default()
        },
    }
}

fn write<T>(db: &mut Db, change: impl FnOnce(&Transaction<'_>) -> Result<T, DbError>) -> T {
    db.write(change).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn a_new_database_is_its_owners_only_and_is_opened_again() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut db = open(directory.path());
    write(&mut db, |tx| tx.insert_container(&container(1)));
    let mode = std::fs::metadata(directory.path().join("state.db"))
        .expect("there")
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    drop(db);
    let db = open(directory.path());
    assert_eq!(db.containers().expect("listed"), [container(1)]);
}

#[test]
fn a_newer_database_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    drop(open(directory.path()));
    let path = directory.path().join("state.db");
    let other = rusqlite::Connection::open(&path).expect("opened");
    other
        .execute_batch("PRAGMA user_version=99")
        .expect("written");
    drop(other);
    let error = Db::open(&path).expect_err("refused");
    assert!(matches!(error, DbError::Newer { found: 99, .. }), "{error}");
    std::fs::write(
        &path,
        "no database, but as long as the header of one. ".repeat(40),
    )
    .expect("written");
    let error = Db::open(&path).expect_err("refused");
    assert_eq!(error.kind(), Kind::Unavailable, "{error}");
    assert!(error.hint().is_some());
}

#[test]
fn containers_are_found_by_id_name_and_beginning() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut db = open(directory.path());
    let mut named_like_an_id = container(0x1234);
    named_like_an_id.name = "00000".into();
    write(&mut db, |tx| {
        tx.insert_container(&container(1))?;
        tx.insert_container(&named_like_an_id)
    });
    assert_eq!(db.container("c1").expect("found"), container(1));
    assert_eq!(db.container("/c1").expect("found"), container(1));
    assert_eq!(db.container(&container(1).id).expect("found"), container(1));
    assert_eq!(
        db.container(&container(1).id[..60])
            .expect_err("two")
            .kind(),
        Kind::Invalid
    );
    assert_eq!(
        db.container("00000").expect("found").id,
        named_like_an_id.id
    );
    assert_eq!(
        db.container(&named_like_an_id.id[..63])
            .expect("found")
            .name,
        "00000"
    );
    for absent in ["", "c2", "fff", "%", "_"] {
        assert_eq!(
            db.container(absent).expect_err("absent").kind(),
            Kind::NotFound,
            "{absent}"
        );
    }
}

#[test]
fn a_taken_name_names_its_holder() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut db = open(directory.path());
    write(&mut db, |tx| tx.insert_container(&container(1)));
    let mut second = container(2);
    second.name = "c1".into();
    let error = db
        .write(|tx| tx.insert_container(&second))
        .expect_err("taken");
    assert_eq!(error.kind(), Kind::Conflict);
    assert!(error.to_string().contains(&container(1).id), "{error}");
    let again = db.write(|tx| {
        tx.insert_container(&Container {
            name: "x".into(),
            ..container(1)
        })
    });
    assert_eq!(again.expect_err("taken").kind(), Kind::Conflict);
    assert!(write(&mut db, |tx| tx.remove_container(&container(1).id)));
    assert!(!write(&mut db, |tx| tx.remove_container(&container(1).id)));
    write(&mut db, |tx| tx.insert_container(&second));
}

#[test]
fn a_failed_change_changes_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut db = open(directory.path());
    let failed = db.write(|tx| {
        tx.insert_container(&container(1))?;
        tx.remove_network("absent")
    });
    assert_eq!(failed.expect_err("absent").kind(), Kind::NotFound);
    assert_eq!(db.containers().expect("listed"), []);
}

#[test]
fn addresses_are_leased_from_below_and_given_back() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut db = open(directory.path());
    let bridge = network("bridge", Some("10.88.0.0/16"), Some("fd00:1::/64"));
    write(&mut db, |tx| tx.insert_network(&bridge));
    assert_eq!(db.network("bridge").expect("found").as_ref(), Some(&bridge));
    assert_eq!(
        db.networks().expect("listed"),
        std::slice::from_ref(&bridge)
    );
    let again = db
        .write(|tx| tx.insert_network(&bridge))
        .expect_err("there");
    assert_eq!(again.kind(), Kind::Conflict);
    for number in 1..=3 {
        let made = container(number);
        let lease = write(&mut db, |tx| {
            tx.insert_container(&made)?;
            tx.lease(&LeaseRequest::new("bridge", &made.id))
        });
        assert_eq!(
            lease.address4,
            Some(Ipv4Addr::new(10, 88, 0, 1 + number as u8))
        );
        assert_eq!(
            lease.address6.map(|a| a.to_string()),
            Some(format!("fd00:1::{}", number + 1))
        );
        assert_eq!(
            lease.mac.to_string(),
            format!("02:42:0a:58:00:0{}", number + 1)
        );
        assert_eq!(
            write(&mut db, |tx| tx
                .lease(&LeaseRequest::new("bridge", &made.id))),
            lease
        );
        assert_eq!(db.leases_of(&made.id).expect("listed"), [lease]);
    }
    let error = db
        .write(|tx| tx.remove_network("bridge"))
        .expect_err("in use");
    assert_eq!(error.kind(), Kind::Conflict);
    write(&mut db, |tx| tx.release(&container(2).id));
    write(&mut db, |tx| tx.remove_container(&container(1).id));
    assert_eq!(db.leases("bridge").expect("listed").len(), 1);
    write(&mut db, |tx| tx.insert_container(&container(4)));
    let four = container(4).id;
    let lease = write(&mut db, |tx| tx.lease(&LeaseRequest::new("bridge", &four)));
    assert_eq!(lease.address4, Some(Ipv4Addr::new(10, 88, 0, 2)));
    for number in [3, 4] {
        write(&mut db, |tx| tx.release(&container(number).id));
    }
    write(&mut db, |tx| tx.remove_network("bridge"));
}

#[test]
fn wanted_addresses_are_checked() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut db = open(directory.path());
    write(&mut db, |tx| {
        tx.insert_network(&network("n", Some("192.0.2.0/29"), None))?;
        (1..=9).try_for_each(|number| tx.insert_container(&container(number)))
    });
    let id = container(7).id;
    let mut request = LeaseRequest::new("n", &id);
    request.address6 = Some("fd00::5".parse().expect("an address"));
    assert_eq!(
        db.write(|tx| tx.lease(&request))
            .expect_err("no IPv6")
            .kind(),
        Kind::Conflict
    );
    let mut lease = |number: u32, address: Option<&str>| {
        let id = container(number).id;
        let mut request = LeaseRequest::new("n", &id);
        request.address4 = address.map(|text| text.parse().expect("an address"));
        db.write(|tx| tx.lease(&request))
    };
    let four = lease(1, Some("192.0.2.4")).expect("free");
    assert_eq!(four.address4, Some(Ipv4Addr::new(192, 0, 2, 4)));
    for address in [
        "192.0.2.4",
        "192.0.2.0",
        "192.0.2.1",
        "192.0.2.7",
        "192.0.3.4",
    ] {
        let error = lease(2, Some(address)).expect_err(address);
        assert_eq!(error.kind(), Kind::Conflict, "{error}");
    }
    let rest: Vec<_> = (2..=5)
        .map(|number| lease(number, None).expect("free").address4)
        .collect();
    let expected = [2, 3, 5, 6].map(|last| Some(Ipv4Addr::new(192, 0, 2, last)));
    assert_eq!(rest, expected);
    let full = lease(6, None).expect_err("full");
    assert!(matches!(full, DbError::NetworkFull { .. }), "{full}");
    let id = container(7).id;
    let absent = db.write(|tx| tx.lease(&LeaseRequest::new("absent", &id)));
    assert_eq!(absent.expect_err("absent").kind(), Kind::NotFound);
}

fn port(address: &str, host_port: u16, protocol: Protocol) -> PublishedPort {
    PublishedPort {
        protocol,
        host_address: address.parse().expect("an address"),
        host_port,
        container_port: 80,
    }
}

#[test]
fn published_ports_are_in_each_others_way() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut db = open(directory.path());
    let (one, two) = (container(1), container(2));
    write(&mut db, |tx| {
        tx.insert_container(&one)?;
        tx.insert_container(&two)?;
        tx.publish(
            &one.id,
            &[
                port("0.0.0.0", 8080, Protocol::Tcp),
                port("::", 8080, Protocol::Tcp),
                port("127.0.0.1", 9090, Protocol::Udp),
            ],
        )
    });
    for taken in [
        port("0.0.0.0", 8080, Protocol::Tcp),
        port("127.0.0.1", 8080, Protocol::Tcp),
        port("::1", 8080, Protocol::Tcp),
        port("0.0.0.0", 9090, Protocol::Udp),
        port("127.0.0.1", 9090, Protocol::Udp),
    ] {
        let free = port("0.0.0.0", 1, Protocol::Tcp);
        let error = db
            .write(|tx| tx.publish(&two.id, &[free, taken.clone()]))
            .expect_err("taken");
        assert!(
            matches!(&error, DbError::PortTaken { holder, .. } if holder == "c1"),
            "{taken:?}: {error}"
        );
    }
    assert_eq!(db.published(&two.id).expect("listed"), []);
    let free = [
        port("0.0.0.0", 8080, Protocol::Udp),
        port("127.0.0.2", 9090, Protocol::Udp),
        port("::", 9090, Protocol::Udp),
        port("0.0.0.0", 8081, Protocol::Tcp),
    ];
    write(&mut db, |tx| tx.publish(&two.id, &free));
    assert_eq!(db.published(&two.id).expect("listed").len(), 4);
    assert_eq!(db.all_published().expect("listed").len(), 7);
    write(&mut db, |tx| tx.unpublish(&one.id));
    write(&mut db, |tx| tx.remove_container(&two.id));
    assert_eq!(db.all_published().expect("listed"), []);
    let itself = [
        port("0.0.0.0", 7, Protocol::Tcp),
        port("127.0.0.1", 7, Protocol::Tcp),
    ];
    assert!(db.write(|tx| tx.publish(&one.id, &itself)).is_err());
    let any: IpAddr = "0.0.0.0".parse().expect("an address");
    assert!(any.is_unspecified());
}

#[test]
fn many_writers_wait_for_each_other() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path();
    // They find no database, and make it together.
    std::thread::scope(|scope| {
        for writer in 0..8_u32 {
            scope.spawn(move || {
                let mut db = open(path);
                let _ = db.write(|tx| tx.insert_network(&network("n", Some("10.0.0.0/16"), None)));
                for number in writer * 25..(writer + 1) * 25 {
                    let made = container(number);
                    write(&mut db, |tx| {
                        tx.insert_container(&made)?;
                        tx.lease(&LeaseRequest::new("n", &made.id))
                    });
                }
            });
        }
    });
    let db = open(path);
    let leases = db.leases("n").expect("listed");
    let addresses: HashSet<_> = leases.iter().map(|lease| lease.address4).collect();
    assert_eq!((leases.len(), addresses.len()), (200, 200));
}

/// The test binary run again as another process.
const CHILD: &str = "GAMUT_TEST_WRITE_INTO";

#[test]
fn killed_writers_leave_a_whole_database() {
    if let Some(path) = std::env::var_os(CHILD) {
        let mut db = open(Path::new(&path));
        for number in 0.. {
            let number = std::process::id() * 10_000 + number;
            write(&mut db, |tx| {
                tx.insert_container(&container(number))?;
                tx.publish(&container(number).id, &[])
            });
        }
    }
    let directory = tempfile::tempdir().expect("a directory");
    let mut db = open(directory.path());
    let spawn = || {
        std::process::Command::new(std::env::current_exe().expect("ourselves"))
            .args(["--exact", "database::killed_writers_leave_a_whole_database"])
            .env(CHILD, directory.path())
            .stdout(std::process::Stdio::null())
            .spawn()
            .expect("started")
    };
    for round in 0..3 {
        let mut children = [spawn(), spawn()];
        let wanted = (round + 1) * 40;
        while db.containers().expect("listed").len() < wanted {
            std::thread::yield_now();
        }
        for child in &mut children {
            child.kill().expect("killed");
            child.wait().expect("waited for");
        }
        write(&mut db, |tx| tx.insert_container(&container(round as u32)));
    }
    let check = rusqlite::Connection::open(directory.path().join("state.db")).expect("opened");
    let verdict: String = check
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .expect("checked");
    assert_eq!(verdict, "ok");
}
