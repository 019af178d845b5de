//! The maps of sparse files: the old form in GNU headers, and the three forms in PAX records (GNU tar
//! manual, "Storing Sparse Files"): 0.0 and 0.1 with the map among the records, 1.0 with the map
//! before the data.

use super::UnpackProblem;
use super::header::number;
use super::pax;

/// Where the data of a sparse file goes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Sparse {
    /// Bytes of the file, holes included.
    pub(crate) real_bytes: u64,
    /// Offset and length of each run of data, ascending.
    pub(crate) runs: Vec<(u64, u64)>,
}

impl Sparse {
    /// Checked: the runs are in order, within the file, and as long as the data that is there.
    pub(super) fn new(
        real_bytes: u64,
        runs: Vec<(u64, u64)>,
        stored_bytes: u64,
    ) -> Result<Self, UnpackProblem> {
        let mut end = 0_u64;
        let mut total = 0_u64;
        for &(offset, length) in &runs {
            let run_end = offset
                .checked_add(length)
                .filter(|&e| offset >= end && e <= real_bytes);
            end = run_end.ok_or(UnpackProblem::Archive(
                "a sparse file's map is not in order",
            ))?;
            total += length;
        }
        if total == stored_bytes {
            Ok(Self { real_bytes, runs })
        } else {
            Err(UnpackProblem::Archive(
                "a sparse file's map does not match its size",
            ))
        }
    }
}

/// Appends the runs of one piece of an old GNU map; false when the map ends in it.
pub(super) fn add_runs(map: &[u8], runs: &mut Vec<(u64, u64)>) -> Result<bool, UnpackProblem> {
    for run in map.chunks_exact(24) {
        if run[0] == 0 {
            return Ok(false);
        }
        let (offset, length) = (number(&run[..12])?, number(&run[12..])?);
        runs.push((offset, length));
    }
    Ok(true)
}

/// What PAX records say of a sparse file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct PaxSparse {
    major: Option<u64>,
    /// Offsets and lengths by turns.
    map: Option<Vec<u64>>,
    /// The file's name; the one in the header is made up.
    pub(super) name: Option<Vec<u8>>,
    real_bytes: Option<u64>,
}

/// Where a map is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum PaxMap {
    /// It was among the records.
    Known(Vec<(u64, u64)>),
    /// It comes before the data.
    InData,
}

impl PaxSparse {
    /// One record, its key without `GNU.sparse.`.
    pub(super) fn apply(&mut self, key: &[u8], value: &[u8]) -> Result<(), UnpackProblem> {
        let map = &mut self.map;
        match key {
            b"major" => self.major = pax::number(value)?,
            b"name" => self.name = pax::text(value)?,
            b"size" | b"realsize" => self.real_bytes = pax::number(value)?,
            b"offset" | b"numbytes" => {
                let number = pax::number(value)?.ok_or(BAD_MAP)?;
                map.get_or_insert_default().push(number);
            }
            b"map" => {
                let numbers = value.split(|&byte| byte == b',').map(decimal);
                *map = Some(numbers.collect::<Result<_, _>>()?);
            }
            // The number of runs, and the second half of the version.
            _ => {}
        }
        Ok(())
    }

    /// The real size and where the map is. `None`: the records are no map after all.
    pub(super) fn describe(self) -> Result<Option<(u64, PaxMap)>, UnpackProblem> {
        let map = match (self.major, self.map) {
            (Some(1), _) => PaxMap::InData,
            (Some(0) | None, Some(numbers)) => PaxMap::Known(pairs(&numbers)?),
            (Some(0) | None, None) => return Ok(None),
            (Some(_), _) => {
                let what = "sparse file of an unknown version".to_owned();
                return Err(UnpackProblem::EntryType(what));
            }
        };
        let real_bytes = self.real_bytes.ok_or(UnpackProblem::Archive(
            "a sparse file's records lack its size",
        ))?;
        Ok(Some((real_bytes, map)))
    }
}

const BAD_MAP: UnpackProblem = UnpackProblem::Archive("a sparse file's map is none");

/// How many lines a map before the data has: the number of runs, and two for each. `None`: the first
/// one is not there yet.
pub(super) fn lines_of_map(text: &[u8]) -> Result<Option<u64>, UnpackProblem> {
    let Some(end) = text.iter().position(|&byte| byte == b'\n') else {
        return Ok(None);
    };
    let runs = decimal(&text[..end])?;
    Ok(Some(runs.saturating_mul(2).saturating_add(1)))
}

/// A map before the data, all of whose lines are there.
pub(super) fn map(text: &[u8]) -> Result<Vec<(u64, u64)>, UnpackProblem> {
    let lines = lines_of_map(text)?.ok_or(BAD_MAP)?;
    let lines = usize::try_from(lines).map_err(|_| BAD_MAP)?;
    let numbers = text.split(|&byte| byte == b'\n').take(lines).skip(1);
    pairs(&numbers.map(decimal).collect::<Result<Vec<_>, _>>()?)
}

fn pairs(numbers: &[u64]) -> Result<Vec<(u64, u64)>, UnpackProblem> {
    let (pairs, rest) = numbers.as_chunks::<2>();
    match rest {
        [] => Ok(pairs
            .iter()
            .map(|&[offset, length]| (offset, length))
            .collect()),
        _ => Err(BAD_MAP),
    }
}

fn decimal(text: &[u8]) -> Result<u64, UnpackProblem> {
    pax::number(text)?.ok_or(BAD_MAP)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms_of_a_map_say_the_same() {
        let described = |records: &[(&str, &str)]| {
            let mut sparse = PaxSparse::default();
            for (key, value) in records {
                sparse
                    .apply(key.as_bytes(), value.as_bytes())
                    .expect("a record");
            }
            sparse.describe().ok().flatten()
        };
        let known = Some((100, PaxMap::Known(vec![(0, 5), (50, 7)])));
        let records = [
            ("size", "100"),
            ("numblocks", "2"),
            ("offset", "0"),
            ("numbytes", "5"),
            ("offset", "50"),
            ("numbytes", "7"),
        ];
        assert_eq!(described(&records), known);
        assert_eq!(described(&[("size", "100"), ("map", "0,5,50,7")]), known);
        let one = [("major", "1"), ("minor", "0"), ("realsize", "100")];
        assert_eq!(described(&one), Some((100, PaxMap::InData)));
        assert_eq!(described(&[("map", "0,5,50"), ("size", "100")]), None);
        assert_eq!(described(&[("major", "2"), ("size", "1")]), None);
        assert_eq!(described(&[("map", "0,5")]), None);
    }

    #[test]
    fn a_map_before_the_data_ends_with_its_last_line() {
        assert_eq!(lines_of_map(b"12").expect("read"), None);
        assert_eq!(lines_of_map(b"2\n").expect("read"), Some(5));
        assert_eq!(
            map(b"2\n0\n5\n50\n7\n\0\0").expect("read"),
            [(0, 5), (50, 7)]
        );
        assert_eq!(map(b"0\n\0").expect("read"), []);
        assert!(map(b"x\n").is_err() && map(b"1\n2\n").is_err());
        let many = b"18446744073709551615\n0\n";
        assert_eq!(lines_of_map(many).expect("read"), Some(u64::MAX));
    }
}
