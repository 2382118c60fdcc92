//! Sets of completion indexes as text: `0,2-4,7`, in order and below the number of completions.

use gantry_types::field::go_quote;

fn index(text: &str, completions: i32) -> Result<i32, String> {
    let n: i64 = text
        .parse()
        .map_err(|_| format!("cannot convert string to integer for index: {}", go_quote(text)))?;
    if n >= i64::from(completions) {
        return Err(format!("too large index: {}", go_quote(text)));
    }
    i32::try_from(n).map_err(|_| format!("cannot convert string to integer for index: {}", go_quote(text)))
}

fn interval(text: &str, completions: i32) -> Result<(i32, i32), String> {
    let mut limits = text.split('-');
    let (first, second) = (limits.next().unwrap_or_default(), limits.next());
    if limits.next().is_some() {
        return Err(format!(
            "the fragment {} violates the requirement that an index interval can have at most two parts separated by '-'",
            go_quote(text)
        ));
    }
    let x = index(first, completions)?;
    let Some(second) = second else { return Ok((x, x)) };
    let y = index(second, completions)?;
    if x >= y {
        return Err(format!("non-increasing order, previous: {x}, current: {y}"));
    }
    Ok((x, y))
}

/// How many indexes a text names.
///
/// # Errors
/// What is wrong with the first bad interval, in upstream's words.
pub fn count(text: &str, completions: i32) -> Result<i32, String> {
    if text.is_empty() {
        return Ok(0);
    }
    let mut last: Option<i32> = None;
    let mut total = 0;
    for part in text.split(',') {
        let (x, y) = interval(part, completions)?;
        if let Some(last) = last.filter(|last| *last >= x) {
            return Err(format!("non-increasing order, previous: {last}, current: {x}"));
        }
        total += y - x + 1;
        last = Some(y);
    }
    Ok(total)
}

/// The first index two texts share; intervals that are none are passed over.
pub fn overlap(completed: &str, failed: &str, completions: i32) -> Option<i32> {
    let intervals = |text: &str| -> Vec<(i32, i32)> {
        text.split(',').filter_map(|part| interval(part, completions).ok()).collect()
    };
    let (completed, failed) = (intervals(completed), intervals(failed));
    let (mut c, mut f) = (0, 0);
    while let (Some((cx, cy)), Some((fx, fy))) = (completed.get(c), failed.get(f)) {
        if cx <= fy && fx <= cy {
            return Some(*cx.max(fx));
        }
        if cx <= fx {
            c += 1;
        } else {
            f += 1;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indexes_are_counted() {
        let check = |text: &str, want: Result<i32, &str>| {
            assert_eq!(count(text, 10), want.map_err(str::to_owned), "{text}");
        };
        check("", Ok(0));
        check("0,2-4,7", Ok(5));
        check("+1", Ok(1));
        check("3,2", Err("non-increasing order, previous: 3, current: 2"));
        check("4-4", Err("non-increasing order, previous: 4, current: 4"));
        check("10", Err("too large index: \"10\""));
        check("1,", Err("cannot convert string to integer for index: \"\""));
        check(
            "1-2-3",
            Err(
                "the fragment \"1-2-3\" violates the requirement that an index interval can have at most two parts separated by '-'",
            ),
        );
    }

    #[test]
    fn overlaps_are_found() {
        let check = |completed, failed, want| assert_eq!(overlap(completed, failed, 10), want);
        check("0-3", "4,5", None);
        check("0-3,6-8", "4,7-9", Some(7));
        check("x,2", "2", Some(2));
        check("", "2", None);
    }
}
