//! Making, making again, making at once, and leaving nothing.

use std::os::fd::AsFd;
use std::sync::Barrier;

use gamut_net::link::{Inside, Interior, delete_link, host_interface, list_links, within};
use gamut_net::subnet::{Subnet4, choose, used};
use gamut_net::{Endpoint, endpoint};
use gamut_sys::netlink::{own_network_namespace, unshare_network};

use crate::lab::*;

#[test]
fn ensuring_twice_changes_nothing() {
    let Some(lab) = Lab::new() else { return };
    let again = lab.network.ensure().unwrap();
    assert_eq!(again.changes, []);
    // Half of it gone: the rest is found and the missing part made.
    lab.table().delete().unwrap();
    lab.network.ensure().unwrap();
    delete_link("gamut0").unwrap();
    let changes = lab.network.ensure().unwrap().changes;
    assert!(
        changes.iter().all(|change| change.path.contains("gamut0")),
        "{changes:?}"
    );
    let container = lab.container(2);
    let server = listen(&lab.client, (CLIENT4, 7000));
    assert_eq!(
        visit(&container.netns, "192.0.2.2:7000", &server),
        ip(HOST4)
    );
}

#[test]
fn the_first_use_says_what_it_changed() {
    if !root() {
        return;
    }
    unshare_network().unwrap();
    // A new namespace starts with what the host has, which may forward already.
    for family in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
        std::fs::write(format!("/proc/sys/net/{family}"), "0").unwrap();
    }
    let changes = network().ensure().unwrap().changes;
    let paths: Vec<_> = changes.iter().map(|change| change.path.as_str()).collect();
    assert!(paths.contains(&"net/ipv4/ip_forward"), "{paths:?}");
    assert!(paths.contains(&"net/ipv6/conf/all/forwarding"), "{paths:?}");
    assert!(
        paths.contains(&"net/ipv4/conf/gamut0/route_localnet"),
        "{paths:?}"
    );
    let kept = std::fs::read_to_string("/proc/sys/net/ipv4/conf/all/route_localnet").unwrap();
    assert_eq!(kept.trim(), "0");
}

#[test]
fn eight_at_once_make_one_network() {
    if !root() {
        return;
    }
    unshare_network().unwrap();
    loopback_up();
    let host = own_network_namespace().unwrap();
    let start = Barrier::new(8);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (2..10_u8)
            .map(|number| {
                let (host, start) = (&host, &start);
                scope.spawn(move || {
                    within(host.as_fd(), || {
                        start.wait();
                        let network = network();
                        let mut ensured = network.ensure().unwrap();
                        let (netns, mut inside) = Inside::create().unwrap();
                        let id = format!("{number:02x}").repeat(32);
                        let ipv4 = std::net::Ipv4Addr::new(10, 89, 0, number);
                        let place = Endpoint::at(&network, &id, ipv4);
                        endpoint::attach_inside(&mut ensured, netns.as_fd(), &mut inside, &place)
                            .unwrap();
                        let port = 8000 + u16::from(number);
                        let binding = gamut_net::Binding {
                            container_port: 80,
                            protocol: gamut_net::Protocol::Tcp,
                            host: ([0, 0, 0, 0], port).into(),
                        };
                        endpoint::publish(&mut ensured, &id, &[binding], ipv4, None).unwrap();
                        netns
                    })
                    .unwrap()
                })
            })
            .collect();
        let all: Vec<_> = workers.into_iter().map(|one| one.join().unwrap()).collect();
        assert_eq!(list_links("ve").unwrap().len(), 8);
        let network = network();
        let mut table = gamut_net::nft::Table::open(&network.table).unwrap();
        assert_eq!(table.list_elements().unwrap().len(), 8);
        let server = listen(&all[3], "0.0.0.0:80");
        visit_from_host("10.89.0.5:80", &server);
        visit_from_host("127.0.0.1:8005", &server);
    });
}

#[test]
fn a_container_takes_its_links_along() {
    let Some(lab) = Lab::new() else { return };
    let container = lab.container(2);
    let name = host_interface(&container.id, 0);
    assert_eq!(list_links(&name).unwrap().len(), 1);
    // The same container again while the kernel still clears up after the first.
    drop(container);
    let again = lab.container(2);
    assert_eq!(list_links("ve").unwrap().len(), 1);
    delete_link(&name).unwrap();
    delete_link(&name).unwrap();
    assert_eq!(list_links("ve").unwrap(), []);
    drop(again);
    delete_link("gamut0").unwrap();
    let mut table = lab.table();
    assert!(table.exists().unwrap());
    table.delete().unwrap();
    table.delete().unwrap();
    assert!(!table.exists().unwrap());
    assert_eq!(table.list_elements().unwrap(), []);
    let names: Vec<_> = list_links("")
        .unwrap()
        .into_iter()
        .map(|link| link.name)
        .collect();
    assert!(
        names
            .iter()
            .all(|name| ["lo", "out0", "sit0", "tunl0"].contains(&name.as_str()))
    );
}

#[test]
fn subnets_of_the_host_are_seen() {
    let Some(lab) = Lab::new() else { return };
    let used = used().unwrap();
    let candidates = ["192.0.2.0/25", "10.89.4.0/24", "10.91.0.0/24"];
    let candidates = candidates.map(|text| text.parse::<Subnet4>().unwrap());
    assert_eq!(choose(candidates, &used).unwrap(), candidates[2]);
    let six = lab.network.ipv6.unwrap().0.prefix();
    assert!(used.iter().any(|one| one.overlaps(&six)));
}

#[test]
fn configuring_a_namespace_without_an_interface_fails_by_name() {
    let Some(lab) = Lab::new() else { return };
    let (netns, mut inside) = Inside::create().unwrap();
    let interior = Interior {
        interface: "eth0",
        ipv4: "10.89.0.2".parse().unwrap(),
        subnet4: lab.network.ipv4,
        ipv6: None,
        gateway4: None,
        gateway6: None,
    };
    let error = inside.configure(netns.as_fd(), &interior).unwrap_err();
    assert!(error.to_string().contains("eth0"), "{error}");
}
