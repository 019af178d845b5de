//! Which ids of the host stand behind a container's: user_namespaces(7).

/// One line of an id map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdRange {
    /// The first id inside.
    pub inside: u32,
    /// The host's id of that one.
    pub outside: u32,
    /// How many there are.
    pub count: u32,
}

/// The ids of a container's user namespace; without ranges they are the host's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IdMap {
    /// Users.
    pub uids: Vec<IdRange>,
    /// Groups.
    pub gids: Vec<IdRange>,
}

impl IdMap {
    /// The container's ids of a file's owner. Ids that are not in its ranges stay: they are those of
    /// the image's own layers, which are never written with the container's.
    pub(crate) fn inside(&self, uid: u32, gid: u32) -> (u32, u32) {
        let find = |ranges: &[IdRange], id: u32| {
            let found = ranges.iter().find_map(|range| {
                let at = id.checked_sub(range.outside)?;
                (at < range.count).then(|| range.inside + at)
            });
            found.unwrap_or(id)
        };
        (find(&self.uids, uid), find(&self.gids, gid))
    }

    /// The host's ids for an owner as the container has it; `None`: the container has no such id.
    pub(crate) fn outside(&self, uid: u32, gid: u32) -> Option<(u32, u32)> {
        let find = |ranges: &[IdRange], id: u32| match ranges {
            [] => Some(id),
            _ => ranges.iter().find_map(|range| {
                let at = id.checked_sub(range.inside)?;
                (at < range.count).then(|| range.outside + at)
            }),
        };
        Some((find(&self.uids, uid)?, find(&self.gids, gid)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_go_in_and_out() {
        let range = IdRange {
            inside: 0,
            outside: 100_000,
            count: 65_536,
        };
        let map = IdMap {
            uids: vec![range],
            gids: vec![range],
        };
        assert_eq!(map.inside(100_033, 100_000), (33, 0));
        assert_eq!(map.inside(33, 165_536), (33, 165_536));
        assert_eq!(map.outside(33, 0), Some((100_033, 100_000)));
        assert_eq!(map.outside(65_536, 0), None);
        assert_eq!(IdMap::default().outside(7, 8), Some((7, 8)));
    }
}
