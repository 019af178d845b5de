//! Columns of text as Docker prints them: Go's `text/tabwriter` with a minimum width of 10 and
//! three spaces of padding.

const MINIMUM_WIDTH: usize = 10;
const PADDING: usize = 3;

/// Aligns `text`, whose cells end with a tab and whose rows end with a newline. As in Go, the
/// last cell of a row belongs to no column, and a column is a run of adjacent rows that have it.
pub fn align(text: &str) -> String {
    let rows: Vec<Vec<&str>> = text.lines().map(|row| row.split('\t').collect()).collect();
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let mut widths: Vec<Vec<usize>> = rows.iter().map(|row| vec![0; row.len()]).collect();
    for column in 0..columns {
        let has_column = |row: &Vec<&str>| row.len() > column + 1;
        let mut start = 0;
        while start < rows.len() {
            let run = rows[start..]
                .iter()
                .take_while(|row| has_column(row))
                .count();
            let cells = rows[start..start + run].iter().map(|row| row[column]);
            let widest = cells.map(width).max().unwrap_or(0);
            for row in &mut widths[start..start + run] {
                row[column] = (widest + PADDING).max(MINIMUM_WIDTH);
            }
            start += run.max(1);
        }
    }
    let mut output = String::with_capacity(text.len() * 2);
    for (row, widths) in rows.iter().zip(&widths) {
        for (cell, column_width) in row.iter().zip(widths) {
            output.push_str(cell);
            let missing = column_width.saturating_sub(width(cell));
            output.extend(std::iter::repeat_n(' ', missing));
        }
        output.push('\n');
    }
    output
}

/// Text with control characters, and those that reorder what is read, as visible escapes.
pub fn visible(text: &str) -> String {
    let mut output = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            // Bidirectional overrides and isolates (Unicode TR 9) can make a name look like another.
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                output.extend(character.escape_unicode());
            }
            control if control.is_control() => output.extend(control.escape_default()),
            plain => output.push(plain),
        }
    }
    output
}

/// Width as tabwriter counts it: characters.
fn width(cell: &str) -> usize {
    cell.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_and_three_spaces() {
        let text = "CONTAINER ID\tIMAGE\tNAMES\n0123456789ab\ta-rather-long-image\tx\n";
        let expected = "CONTAINER ID   IMAGE                 NAMES\n\
                        0123456789ab   a-rather-long-image   x\n";
        assert_eq!(align(text), expected);
    }

    #[test]
    fn narrow_columns_have_ten_places() {
        assert_eq!(
            align("PID\tUSER\n1\troot\n"),
            "PID       USER\n1         root\n"
        );
    }

    #[test]
    fn a_column_is_a_run_of_adjacent_rows() {
        let text = "a-very-long-cell-here\tb\nalone\nshort\tb\n";
        assert_eq!(
            align(text),
            "a-very-long-cell-here   b\nalone\nshort     b\n"
        );
    }

    #[test]
    fn characters_count_not_bytes() {
        assert_eq!(align("ééééééééé\tx\n"), "ééééééééé   x\n");
        assert_eq!(align(""), "");
    }

    #[test]
    fn control_characters_become_visible() {
        assert_eq!(visible("a\x1b[2Jb\n"), "a\\u{1b}[2Jb\\n");
        assert_eq!(visible("\u{202e}x"), "\\u{202e}x");
        assert_eq!(visible("grün"), "grün");
    }
}
