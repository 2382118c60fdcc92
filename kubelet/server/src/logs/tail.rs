//! Finding the last lines of a file without reading all of it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

const BLOCK: u64 = 64 << 10;

/// Where the last `lines` lines begin. A last line without a newline counts as one.
///
/// # Errors
/// Where the file cannot be read.
pub fn start(file: &File, lines: u64) -> io::Result<u64> {
    let size = file.metadata()?.len();
    if lines == 0 {
        return Ok(size);
    }
    let mut block = vec![0; usize::try_from(BLOCK.min(size)).unwrap_or_default()];
    let (mut end, mut found) = (size, 0);
    while end > 0 {
        let begin = end.saturating_sub(BLOCK);
        let part = &mut block[..usize::try_from(end - begin).unwrap_or_default()];
        file.read_exact_at(part, begin)?;
        for (i, _) in part.iter().enumerate().rev().filter(|(_, b)| **b == b'\n') {
            let after = begin + i as u64 + 1;
            // The newline at the very end closes the last line; it begins none.
            if after == size {
                continue;
            }
            found += 1;
            if found == lines {
                return Ok(after);
            }
        }
        end = begin;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn check(text: &[u8], lines: u64, want: u64) {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(text).unwrap();
        assert_eq!(start(&file, lines).unwrap(), want, "{lines} of {} bytes", text.len());
    }

    #[test]
    fn the_start_is_found() {
        check(b"a\nb\nc\n", 0, 6);
        check(b"a\nb\nc\n", 1, 4);
        check(b"a\nb\nc\n", 2, 2);
        check(b"a\nb\nc\n", 3, 0);
        check(b"a\nb\nc\n", 9, 0);
        check(b"a\nb\nc", 1, 4);
        check(b"", 3, 0);
        let long = b"0123456789\n".repeat(20_000);
        check(&long, 10_000, 110_000);
        check(&long, 1, 219_989);
    }
}
