//! Columns of text aligned with spaces, as Go's `tabwriter` does for kubectl.

/// Aligns rows: a column is as wide as its widest cell and `padding` more, at least `minimum`. The last cell
/// of a row is not padded. `known` widths are kept and widened, for tables that go on.
pub fn align(rows: &[Vec<String>], minimum: usize, padding: usize, known: &mut Vec<usize>) -> String {
    for row in rows {
        for (i, cell) in row.iter().enumerate().take(row.len().saturating_sub(1)) {
            let width = (cell.chars().count() + padding).max(minimum);
            match known.get_mut(i) {
                Some(w) => *w = (*w).max(width),
                None => known.push(width),
            }
        }
    }
    let mut out = String::new();
    for row in rows {
        for (i, cell) in row.iter().enumerate() {
            out.push_str(cell);
            if i + 1 < row.len() {
                let width = known.get(i).copied().unwrap_or_default();
                out.extend(std::iter::repeat_n(' ', width.saturating_sub(cell.chars().count())));
            }
        }
        out.push('\n');
    }
    out
}

/// As `get` aligns.
pub fn table(rows: &[Vec<String>]) -> String {
    align(rows, 6, 3, &mut Vec::new())
}

/// Text with tabs in it, as `describe` aligns it.
pub fn described(written: &str) -> String {
    text(written, 0, 2)
}

/// Text with tabs in it, aligned: a column is a run of neighbouring lines that have it.
pub fn text(text: &str, minimum: usize, padding: usize) -> String {
    let lines: Vec<Vec<&str>> = text.lines().map(|l| l.split('\t').collect()).collect();
    let mut widths: Vec<Vec<usize>> = lines.iter().map(|l| vec![0; l.len()]).collect();
    let deepest = lines.iter().map(Vec::len).max().unwrap_or_default();
    for column in 0..deepest {
        let mut start = 0;
        while start < lines.len() {
            // A cell ended by a tab belongs to a column.
            if lines[start].len() <= column + 1 {
                start += 1;
                continue;
            }
            let mut end = start;
            while end < lines.len() && lines[end].len() > column + 1 {
                end += 1;
            }
            let widest =
                lines[start..end].iter().map(|l| l[column].chars().count()).max().unwrap_or_default();
            for row in &mut widths[start..end] {
                row[column] = (widest + padding).max(minimum);
            }
            start = end;
        }
    }
    let mut out = String::new();
    for (line, widths) in lines.iter().zip(&widths) {
        for (cell, width) in line.iter().zip(widths) {
            out.push_str(cell);
            out.extend(std::iter::repeat_n(' ', width.saturating_sub(cell.chars().count())));
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align() {
        let rows = |t: &[&[&str]]| -> Vec<Vec<String>> {
            t.iter().map(|r| r.iter().map(|c| (*c).to_owned()).collect()).collect()
        };
        assert_eq!(table(&rows(&[&["NAME", "AGE"], &["longer", "5m"]])), "NAME     AGE\nlonger   5m\n");
        assert_eq!(table(&rows(&[&["A", "B"], &["x", "y"]])), "A     B\nx     y\n");
        assert_eq!(
            described("Name:\tx\nLabels:\ta=b\n\tc=d\nStatus:\nX:\ty\n"),
            "Name:    x\nLabels:  a=b\n         c=d\nStatus:\nX:  y\n"
        );
    }
}
