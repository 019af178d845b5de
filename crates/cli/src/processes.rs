//! What ps(1) prints, of some processes only.

/// The heading, and the lines of these processes; `None`: there is no column PID to know them by.
#[must_use]
pub fn of(printed: &str, pids: &[i32]) -> Option<String> {
    let mut lines = printed.lines();
    let heading = lines.next()?;
    let column = heading.split_whitespace().position(|word| word == "PID")?;
    let ours = lines.filter(|line| {
        let pid = line.split_whitespace().nth(column);
        pid.and_then(|word| word.parse().ok())
            .is_some_and(|pid| pids.contains(&pid))
    });
    Some(
        [heading]
            .into_iter()
            .chain(ours)
            .map(|line| format!("{line}\n"))
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    #[test]
    fn lines_are_known_by_their_column() {
        let printed = "UID  PID CMD\nroot   1 init\nroot  20 1\nroot 300 sh\n";
        assert_eq!(
            super::of(printed, &[20]).as_deref(),
            Some("UID  PID CMD\nroot  20 1\n")
        );
        assert_eq!(super::of("CMD\ninit\n", &[1]), None);
    }
}
