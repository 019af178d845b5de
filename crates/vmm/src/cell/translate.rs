//! The guest's plan: the host's, with the paths that are there in the guest, and without what the machine
//! itself is for. Pure.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use gamut_plan::Level;
use gamut_plan::cell::StartError;
use gamut_plan::guest::{GuestIpv6, GuestMount, GuestNetwork, GuestSetup, ROOT_SERIAL};
use gamut_plan::launch::{
    Endpoint, FilesPlan, LaunchPlan, LogPlan, NetworkPlan, Reach, RootPlan, Trace,
};
use oci_spec::runtime::{LinuxNamespaceType, Mount, Spec};
use rustix::rand::{GetRandomFlags, getrandom};

use super::control::failed_call;
use crate::wire::Access;

/// Where the guest has what is made for its workload; a file system of the guest's own.
const BASE: &str = "/run/gamut";
/// How much the guest's random numbers begin with.
const ENTROPY_BYTES: usize = 64;
/// What lets mounts pass between a host's tree and a container's, which two kernels cannot.
const SHARED: [&str; 4] = ["shared", "rshared", "slave", "rslave"];

/// Something of the host's that the guest has in its share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Export {
    /// In the share's root: [`Export::UPPER`], the directory of the writable layer; `lower-0`, `lower-1`, … ,
    /// directories of the image; `0`, `1`, …, directories or files that are bound.
    pub name: String,
    /// On the host.
    pub source: PathBuf,
    pub access: Access,
}

impl Export {
    /// Nobody else changes what is in this one while the machine runs.
    pub const UPPER: &'static str = "upper";
}

/// What a plan is in a guest.
#[derive(Debug, Clone, PartialEq)]
pub struct Guest {
    /// With the guest's paths.
    pub plan: LaunchPlan,
    pub mounts: Vec<GuestMount>,
    pub network: Option<GuestNetwork>,
    pub exports: Vec<Export>,
}

/// Translates a plan.
///
/// # Errors
/// [`StartError::Request`]: it asks for what two kernels cannot share.
pub fn translate(plan: &LaunchPlan) -> Result<Guest, StartError> {
    if let Some(join) = plan.joins.first() {
        return Err(impossible(&format!(
            "a {} namespace of another container",
            join.namespace
        )));
    }
    let mut exports = Vec::new();
    let mut mounts = vec![GuestMount::Share { target: share() }];
    let root = root(plan, &mut exports, &mut mounts)?;
    let mut guest = plan.clone();
    guest.level = Level::Container;
    guest.machine = None;
    guest.root = root;
    guest.network = NetworkPlan::Host;
    guest.log = LogPlan::None;
    guest.herald = None;
    guest.trace = Trace::Off;
    guest.files = FilesPlan {
        directory: Path::new(BASE).join("files"),
        cache: Path::new(BASE).join("cache"),
        ..plan.files.clone()
    };
    leave_network(&mut guest.spec);
    bind(&mut guest.spec, &mut exports)?;
    Ok(Guest {
        network: network(&plan.network)?,
        plan: guest,
        mounts,
        exports,
    })
}

impl Guest {
    /// What the machine is to be, as of now.
    pub(super) fn setup(&self) -> Result<GuestSetup, StartError> {
        let mut entropy = [0; ENTROPY_BYTES];
        // As long as this it comes whole (getrandom(2)).
        getrandom(&mut entropy[..], GetRandomFlags::empty())
            .map_err(|errno| failed_call("ask for random bytes", errno))?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        Ok(GuestSetup {
            time_ns: now.map_or(0, |now| now.as_nanos() as u64),
            entropy: base64::engine::general_purpose::STANDARD.encode(entropy),
            mounts: self.mounts.clone(),
            network: self.network,
        })
    }
}

fn impossible(what: &str) -> StartError {
    StartError::Request {
        message: format!("{what} cannot be had in a machine, whose kernel is not the host's"),
        hint: Some("leave it out, or use `--isolation container`".into()),
    }
}

fn share() -> PathBuf {
    Path::new(BASE).join("share")
}

/// The image by block device, the topmost first as overlays have it; where there is none its directories by
/// the share. The writable layer stays on the host in any case.
fn root(
    plan: &LaunchPlan,
    exports: &mut Vec<Export>,
    mounts: &mut Vec<GuestMount>,
) -> Result<RootPlan, StartError> {
    let mut give = |name: String, source: &Path, access| {
        let inside = share().join(&name);
        exports.push(Export {
            name,
            source: source.to_owned(),
            access,
        });
        inside
    };
    let (directory, [upper, work]) = writable(&plan.root).ok_or_else(|| {
        impossible("a writable layer whose directories are not in one of their own")
    })?;
    let inside = give(Export::UPPER.into(), directory, Access::ReadWrite);
    let (upper, work) = (inside.join(upper), inside.join(work));
    let images = plan.machine.iter().flat_map(|machine| &machine.images);
    let mut first = 1;
    let mut lower: Vec<PathBuf> = Vec::new();
    for (number, files) in images.enumerate() {
        let target = Path::new(BASE).join(format!("image/{number}"));
        // Far fewer than a partition table has room for.
        let partitions = files.len() as u32;
        mounts.push(GuestMount::Erofs {
            serial: ROOT_SERIAL.into(),
            first,
            partitions,
            target: target.clone(),
        });
        first += partitions;
        lower.push(target);
    }
    if lower.is_empty() {
        let layers = plan.root.lower.iter().enumerate();
        lower.extend(
            layers.map(|(at, source)| give(format!("lower-{at}"), source, Access::ReadOnly)),
        );
    }
    Ok(RootPlan {
        lower,
        upper,
        work,
        durability: plan.root.durability,
    })
}

/// The directory that both of a writable layer's are in, and their names: an overlay wants them in one mount.
fn writable(root: &RootPlan) -> Option<(&Path, [&OsStr; 2])> {
    let (directory, work) = (root.upper.parent()?, root.work.parent()?);
    let names = [root.upper.file_name()?, root.work.file_name()?];
    (directory == work).then_some((directory, names))
}

/// The guest's network is the workload's: it needs no other.
fn leave_network(spec: &mut Spec) {
    let Some(mut linux) = spec.linux().clone() else {
        return;
    };
    let listed = linux.namespaces().clone().unwrap_or_default();
    let mut kept = listed;
    kept.retain(|namespace| namespace.typ() != LinuxNamespaceType::Network);
    linux.set_namespaces(Some(kept));
    spec.set_linux(Some(linux));
}

fn is_bind(mount: &Mount) -> bool {
    let options = mount.options().as_deref().unwrap_or_default();
    mount.typ().as_deref() == Some("bind") || options.iter().any(|o| o == "bind" || o == "rbind")
}

/// Each source of a bind is shared under a number.
fn bind(spec: &mut Spec, exports: &mut Vec<Export>) -> Result<(), StartError> {
    let Some(mut mounts) = spec.mounts().clone() else {
        return Ok(());
    };
    let binds = mounts.iter_mut().filter(|mount| is_bind(mount));
    for (number, mount) in binds.enumerate() {
        let options = mount.options().as_deref().unwrap_or_default();
        if let Some(shared) = options.iter().find(|o| SHARED.contains(&o.as_str())) {
            let target = mount.destination().display();
            return Err(impossible(&format!("`{shared}` for the mount on {target}")));
        }
        let is_read_only = options.iter().any(|o| o == "ro" || o == "rro");
        let Some(source) = mount.source().clone() else {
            return Err(impossible("a bind without a source"));
        };
        let name = number.to_string();
        mount.set_source(Some(share().join(&name)));
        exports.push(Export {
            name,
            source,
            access: match is_read_only {
                true => Access::ReadOnly,
                false => Access::ReadWrite,
            },
        });
    }
    spec.set_mounts(Some(mounts));
    Ok(())
}

fn network(plan: &NetworkPlan) -> Result<Option<GuestNetwork>, StartError> {
    match plan {
        NetworkPlan::None => Ok(None),
        NetworkPlan::Bridge(bridged) => Ok(bridged.way_out().map(place)),
        NetworkPlan::Pasta(_) => Err(impossible("a network by pasta")),
        NetworkPlan::Host => Err(impossible("the host's network")),
        NetworkPlan::Namespace(_) => Err(impossible("a network of the host")),
        NetworkPlan::Container(_) => Err(impossible("the network of another container")),
    }
}

fn place(endpoint: &Endpoint) -> GuestNetwork {
    let leads_out = endpoint.reach == Reach::Outside;
    GuestNetwork {
        mac: endpoint.mac,
        mtu: endpoint.mtu,
        address4: endpoint.address4,
        subnet4: endpoint.subnet4,
        gateway4: endpoint.gateway4.filter(|_| leads_out),
        ipv6: endpoint
            .address6
            .zip(endpoint.subnet6)
            .map(|(address, subnet)| GuestIpv6 {
                address,
                subnet: (subnet, endpoint.prefix6),
                gateway: endpoint.gateway6.filter(|_| leads_out),
            }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gamut_plan::launch::{
        Durability, Groups, Join, MachinePlan, Removal, SeccompPlan, Stdin, StopPlan, StreamsPlan,
        Terminal, UserPlan,
    };
    use gamut_plan::request::RestartPolicy;
    use oci_spec::runtime::{LinuxBuilder, LinuxNamespaceBuilder, MountBuilder, SpecBuilder};

    fn plan(binds: &[(&str, &[&str])]) -> LaunchPlan {
        let namespaces = [LinuxNamespaceType::Pid, LinuxNamespaceType::Network]
            .map(|kind| LinuxNamespaceBuilder::default().typ(kind).build().unwrap());
        let linux = LinuxBuilder::default().namespaces(namespaces.to_vec());
        let mut mounts = vec![
            MountBuilder::default()
                .destination("/proc")
                .typ("proc")
                .source("proc")
                .build()
                .unwrap(),
        ];
        for (source, options) in binds {
            let options: Vec<String> = options.iter().map(|o| (*o).to_owned()).collect();
            let bind = MountBuilder::default()
                .destination(format!("/mnt{source}"))
                .typ("bind")
                .source(*source)
                .options(options);
            mounts.push(bind.build().unwrap());
        }
        let spec = SpecBuilder::default()
            .linux(linux.build().unwrap())
            .mounts(mounts);
        LaunchPlan {
            version: LaunchPlan::VERSION,
            id: "0".repeat(64),
            name: "one".into(),
            image: "image".into(),
            level: Level::Microvm,
            spec: spec.build().unwrap(),
            user: UserPlan::default(),
            joins: Vec::new(),
            root: RootPlan {
                lower: vec!["/image".into()],
                upper: "/c/own/fs".into(),
                work: "/c/own/work".into(),
                durability: Durability::Volatile,
            },
            network: NetworkPlan::None,
            seccomp: SeccompPlan::Default,
            files: FilesPlan::default(),
            streams: StreamsPlan {
                stdin: Stdin::Closed,
                terminal: Terminal::None,
            },
            log: LogPlan::None,
            herald: None,
            stop: StopPlan {
                signal: 15,
                timeout_s: None,
            },
            removal: Removal::OnExit,
            restart: RestartPolicy::No,
            pod_to_end: None,
            health: None,
            groups: Groups::Needed,
            grouping: Default::default(),
            secrets: Vec::new(),
            trace: Trace::On,
            machine: Some(MachinePlan {
                discovery: Default::default(),
                vcpus: 1,
                memory_bytes: 1 << 28,
                kernel: "/k".into(),
                is_kernel_kept: true,
                initramfs: "/i".into(),
                images: vec![
                    vec!["/m".into(), "/1".into(), "/2".into()],
                    vec!["/base".into()],
                ],
            }),
        }
    }

    #[test]
    fn images_are_partitions_in_their_order() {
        let guest = translate(&plan(&[])).unwrap();
        let image = |first, partitions, target: &str| GuestMount::Erofs {
            serial: ROOT_SERIAL.into(),
            first,
            partitions,
            target: target.into(),
        };
        assert_eq!(
            guest.mounts[1..],
            [
                image(1, 3, "/run/gamut/image/0"),
                image(4, 1, "/run/gamut/image/1")
            ]
        );
        let lower = ["/run/gamut/image/0", "/run/gamut/image/1"].map(PathBuf::from);
        assert_eq!(guest.plan.root.lower, lower);
        let names: Vec<&str> = guest.exports.iter().map(|e| e.name.as_str()).collect();
        assert_eq!(names, [Export::UPPER]);
        assert_eq!(guest.exports[0].source, Path::new("/c/own"));
        assert_eq!(
            guest.plan.root.work,
            Path::new("/run/gamut/share/upper/work")
        );
    }

    #[test]
    fn directories_are_shared_where_there_is_no_image() {
        let mut plan = plan(&[]);
        plan.machine = None;
        let guest = translate(&plan).unwrap();
        assert_eq!(
            guest.plan.root.lower,
            [PathBuf::from("/run/gamut/share/lower-0")]
        );
        assert_eq!(guest.exports[1].source, PathBuf::from("/image"));
        assert_eq!(guest.exports[1].access, Access::ReadOnly);
    }

    #[test]
    fn the_guest_is_a_container_on_its_own_network() {
        let guest = translate(&plan(&[])).unwrap();
        assert_eq!(guest.plan.level, Level::Container);
        assert_eq!(guest.plan.network, NetworkPlan::Host);
        assert_eq!(guest.plan.machine, None);
        let linux = guest.plan.spec.linux().as_ref().unwrap();
        let kinds: Vec<_> = linux
            .namespaces()
            .iter()
            .flatten()
            .map(|n| n.typ())
            .collect();
        assert_eq!(kinds, [LinuxNamespaceType::Pid]);
        assert_eq!(guest.network, None);
    }

    #[test]
    fn binds_come_by_number_and_keep_their_way() {
        let plan = plan(&[
            ("/data", &["rbind", "rprivate"]),
            ("/etc/x", &["bind", "ro"]),
        ]);
        let guest = translate(&plan).unwrap();
        let sources: Vec<_> = guest.plan.spec.mounts().iter().flatten().collect();
        assert_eq!(sources[0].source().as_deref(), Some(Path::new("proc")));
        let shared = |number| Some(Path::new("/run/gamut/share").join(number));
        assert_eq!(sources[1].source(), &shared("0"));
        assert_eq!(sources[2].source(), &shared("1"));
        let exported: Vec<_> = guest.exports[1..]
            .iter()
            .map(|e| (e.source.to_str().unwrap(), e.access))
            .collect();
        assert_eq!(
            exported,
            [("/data", Access::ReadWrite), ("/etc/x", Access::ReadOnly)]
        );
    }

    #[test]
    fn what_two_kernels_cannot_share_is_refused() {
        let is_refused = |plan: &LaunchPlan| {
            matches!(
                translate(plan),
                Err(StartError::Request { hint: Some(_), .. })
            )
        };
        assert!(is_refused(&plan(&[("/data", &["rbind", "rshared"])])));
        let mut joined = plan(&[]);
        joined.joins = vec![Join {
            namespace: LinuxNamespaceType::Pid,
            container: "other".into(),
        }];
        assert!(is_refused(&joined));
        let mut hosted = plan(&[]);
        hosted.network = NetworkPlan::Host;
        assert!(is_refused(&hosted));
    }
}
