//! How long a container's network takes: `cargo run --release -p gamut-net --example attach`.
//! Runs as root, in a network namespace of its own; under `strace -f -c` it counts system calls.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use gamut_net::link::Inside;
use gamut_net::{Binding, Endpoint, Network, Protocol, Reach, endpoint};
use gamut_sys::netlink::unshare_network;

type Anything = Box<dyn std::error::Error>;

fn main() -> Result<(), Anything> {
    let rounds = std::env::args()
        .nth(1)
        .map_or(Ok(50), |text| text.parse())?;
    unshare_network()?;
    let network = Network {
        table: "gamut-example".to_owned(),
        bridge: "gamut0".to_owned(),
        ipv4: "10.89.0.0/16".parse()?,
        gateway4: Ipv4Addr::new(10, 89, 0, 1),
        ipv6: Some(("fd00:89::/64".parse()?, "fd00:89::1".parse()?)),
        reach: Reach::Outside,
        mtu: 1500,
    };
    let first = Instant::now();
    network.ensure()?;
    println!("the first ensure          {:>8.1?}", first.elapsed());
    let mut all: [Vec<Duration>; 6] = Default::default();
    // Kept to the end: the kernel's clearing up after a namespace would be measured too.
    let mut kept = Vec::new();
    for number in 2..2 + rounds {
        let times = one(&network, number, &mut kept)?;
        all.iter_mut()
            .zip(times)
            .for_each(|(all, time)| all.push(time));
    }
    let names = [
        "a new namespace",
        "ensure",
        "attach",
        "publish",
        "unpublish",
    ];
    for (name, mut times) in names.into_iter().zip(all) {
        times.sort_unstable();
        let (median, best) = (times[times.len() / 2], times[0]);
        println!("{name:<18} median {median:>8.1?}, best {best:>8.1?}");
    }
    Ok(())
}

fn one(
    network: &Network,
    number: u8,
    kept: &mut Vec<std::os::fd::OwnedFd>,
) -> Result<[Duration; 6], Anything> {
    let ipv4 = Ipv4Addr::new(10, 89, 0, number);
    let place = Endpoint::at(network, &format!("{number:064}")[54..], ipv4);
    let port = 8000 + u16::from(number);
    let bindings = [
        SocketAddr::from(([0; 4], port)),
        SocketAddr::from(([0_u16; 8], port)),
    ];
    let bindings = bindings.map(|host| Binding {
        container_port: 80,
        protocol: Protocol::Tcp,
        host,
    });
    let mut times = [Duration::ZERO; 6];
    let (netns, mut inside) = timed(&mut times[0], Inside::create)?;
    let mut ensured = timed(&mut times[1], || network.ensure())?;
    timed(&mut times[2], || {
        endpoint::attach_inside(&mut ensured, netns.as_fd(), &mut inside, &place)
    })?;
    let id = "f".repeat(64);
    timed(&mut times[3], || {
        endpoint::publish(&mut ensured, &id, &bindings, ipv4, place.ipv6)
    })?;
    let closing = timed(&mut times[4], || {
        endpoint::unpublish(network, &id, &bindings, ipv4, place.ipv6)
    })?;
    timed(&mut times[5], || drop(closing));
    kept.push(netns);
    Ok(times)
}

fn timed<T>(time: &mut Duration, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = work();
    *time = start.elapsed();
    result
}
