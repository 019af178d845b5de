//! `--user` and `--group-add`, looked up in the container's own /etc/passwd and /etc/group.
//!
//! The image wrote these files, so they are opened below the root only, never as a link out of
//! it, and read to a limit. Forms as Docker has them: `name`, `uid`, `name:group`, `uid:gid`.

use std::io::Read;
use std::os::fd::BorrowedFd;

use gamut_plan::cell::StartError;
use gamut_plan::launch::UserPlan;
use rustix::fs::{Mode, OFlags, ResolveFlags};

/// No honest /etc/passwd comes near.
const MAX_FILE_BYTES: u64 = 4 * 1024 * 1024;

/// Who a process is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) groups: Vec<u32>,
    pub(crate) home: String,
}

/// Looks `plan` up below `root`.
pub(crate) fn resolve(root: BorrowedFd<'_>, plan: &UserPlan) -> Result<Identity, StartError> {
    let passwd = read_below(root, "etc/passwd");
    if let Some(ids) = &plan.exact {
        let mut entries = passwd_entries(&passwd);
        let home = entries.find(|entry| entry.uid == ids.uid).map(|e| e.home);
        return Ok(Identity {
            uid: ids.uid,
            gid: ids.gid,
            groups: ids.groups.clone(),
            home: home
                .filter(|home| !home.is_empty())
                .unwrap_or("/")
                .to_owned(),
        });
    }
    let group = read_below(root, "etc/group");
    resolve_in(&passwd, &group, plan)
}

fn read_below(root: BorrowedFd<'_>, path: &str) -> String {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let mut text = Vec::new();
    if let Ok(fd) = rustix::fs::openat2(root, path, flags, Mode::empty(), resolve) {
        // A device or a fifo in its place reads as nothing, or to the limit.
        let _ = std::fs::File::from(fd)
            .take(MAX_FILE_BYTES)
            .read_to_end(&mut text);
    }
    String::from_utf8_lossy(&text).into_owned()
}

struct PasswdEntry<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

fn passwd_entries(text: &str) -> impl Iterator<Item = PasswdEntry<'_>> {
    text.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        let home = fields.nth(1).unwrap_or("");
        Some(PasswdEntry {
            name,
            uid,
            gid,
            home,
        })
    })
}

struct GroupEntry<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

fn group_entries(text: &str) -> impl Iterator<Item = GroupEntry<'_>> {
    text.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let gid = fields.nth(1)?.parse().ok()?;
        Some(GroupEntry {
            name,
            gid,
            members: fields.next().unwrap_or(""),
        })
    })
}

fn missing(what: &str, name: &str, file: &str) -> StartError {
    StartError::Request {
        message: format!(
            "unable to find {what} {name}: no matching entries in {file} of the image"
        ),
        hint: Some(format!("give a number, or a {what} that the image has")),
    }
}

/// Ids above 2³¹−1 are refused, as Docker does.
fn number(text: &str) -> Option<u32> {
    text.parse::<u32>()
        .ok()
        .filter(|n| i32::try_from(*n).is_ok())
}

fn resolve_in(passwd: &str, group: &str, plan: &UserPlan) -> Result<Identity, StartError> {
    let (user, wanted_group) = match plan.user.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|g| !g.is_empty())),
        None => (plan.user.as_str(), None),
    };
    let user = if user.is_empty() { "0" } else { user };
    // A name goes before a number: an image may have a user called "1000".
    let entry = passwd_entries(passwd)
        .find(|e| e.name == user)
        .or_else(|| number(user).and_then(|uid| passwd_entries(passwd).find(|e| e.uid == uid)));
    let mut identity = match (&entry, number(user)) {
        (Some(e), _) => {
            let home = if e.home.is_empty() { "/" } else { e.home };
            Identity {
                uid: e.uid,
                gid: e.gid,
                groups: Vec::new(),
                home: home.into(),
            }
        }
        (None, Some(uid)) => Identity {
            uid,
            gid: 0,
            groups: Vec::new(),
            home: "/".into(),
        },
        (None, None) => return Err(missing("user", user, "/etc/passwd")),
    };
    match wanted_group {
        Some(name) => identity.gid = group_id(group, name)?,
        // Docker takes the supplementary groups only when no group was named.
        None => {
            if let Some(e) = &entry {
                identity.groups = group_entries(group)
                    .filter(|g| g.members.split(',').any(|m| m == e.name))
                    .map(|g| g.gid)
                    .collect();
            }
        }
    }
    for name in &plan.groups {
        identity.groups.push(group_id(group, name)?);
    }
    // The kernel does not count the primary group among the others where a file denies the group
    // something (CVE-2022-36109).
    identity.groups.insert(0, identity.gid);
    let mut seen = std::collections::BTreeSet::new();
    identity.groups.retain(|gid| seen.insert(*gid));
    Ok(identity)
}

fn group_id(group: &str, name: &str) -> Result<u32, StartError> {
    group_entries(group)
        .find(|g| g.name == name)
        .map(|g| g.gid)
        .or_else(|| number(name))
        .ok_or_else(|| missing("group", name, "/etc/group"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nbroken\nwww:x:33:34:www:/var/www:/bin/sh\n4242:x:7:8::/x:/y\n";
    const GROUP: &str = "root:x:0:\nwww:x:34:\nssl:x:110:www,other\nadm:x:4:other\n";

    fn of(user: &str, groups: &[&str]) -> Result<Identity, StartError> {
        let plan = UserPlan {
            exact: None,
            user: user.into(),
            groups: groups.iter().map(|g| (*g).into()).collect(),
        };
        resolve_in(PASSWD, GROUP, &plan)
    }

    #[test]
    fn names_numbers_and_both() {
        let www = of("www", &[]).unwrap();
        assert_eq!(
            (www.uid, www.gid, www.groups.as_slice(), www.home.as_str()),
            (33, 34, &[34, 110][..], "/var/www")
        );
        let plain = of("1000", &[]).unwrap();
        assert_eq!((plain.uid, plain.gid, plain.home.as_str()), (1000, 0, "/"));
        let both = of("www:adm", &[]).unwrap();
        assert_eq!((both.uid, both.gid, both.groups.len()), (33, 4, 1));
        assert_eq!(of("", &[]).unwrap().home, "/root");
        assert_eq!(
            of("4242", &[]).unwrap().uid,
            7,
            "a name that looks like a number is a name"
        );
        assert_eq!(of("1:2", &["ssl", "9", "9"]).unwrap().groups[1..], [110, 9]);
    }

    #[test]
    fn what_is_not_there_is_named() {
        assert!(
            of("nobody", &[])
                .unwrap_err()
                .to_string()
                .contains("user nobody")
        );
        assert!(
            of("www:none", &[])
                .unwrap_err()
                .to_string()
                .contains("group none")
        );
        assert!(of("4294967295", &[]).is_err());
    }
}
