//! Quantities as the node needs them: thousandths and whole units, rounded up.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// Parts per billion of one unit; the API keeps no finer fractions.
fn nanos(text: &str) -> Option<i128> {
    let end =
        text.find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | '+' | '-'))).unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (negative, digits) = match number.as_bytes().first()? {
        b'-' => (true, &number[1..]),
        b'+' => (false, &number[1..]),
        _ => (false, number),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let mantissa: i128 = format!("{whole}{fraction}").parse().ok()?;
    let scale = i32::try_from(fraction.len()).ok()?;
    let (binary, exponent) = match suffix {
        "" => (1, 0),
        "n" => (1, -9),
        "u" => (1, -6),
        "m" => (1, -3),
        "k" => (1, 3),
        "M" => (1, 6),
        "G" => (1, 9),
        "T" => (1, 12),
        "P" => (1, 15),
        "E" => (1, 18),
        "Ki" => (1_i128 << 10, 0),
        "Mi" => (1 << 20, 0),
        "Gi" => (1 << 30, 0),
        "Ti" => (1 << 40, 0),
        "Pi" => (1 << 50, 0),
        "Ei" => (1 << 60, 0),
        other => (1, other.strip_prefix(['e', 'E'])?.parse().ok()?),
    };
    let power = exponent - scale + 9;
    let value = mantissa.checked_mul(binary)?;
    let value = match u32::try_from(power) {
        Ok(up) => value.checked_mul(10_i128.checked_pow(up)?)?,
        Err(_) => {
            let by = 10_i128.checked_pow(power.unsigned_abs())?;
            value / by + i128::from(value % by != 0)
        }
    };
    Some(if negative { -value } else { value })
}

fn round_up(value: i128, by: i128) -> i64 {
    let up = value / by + i128::from(value > 0 && value % by != 0);
    i64::try_from(up).unwrap_or(if value < 0 { i64::MIN } else { i64::MAX })
}

/// Thousandths of a unit, rounded up; zero where unreadable.
pub fn milli(q: &Quantity) -> i64 {
    round_up(nanos(&q.0).unwrap_or(0), 1_000_000)
}

/// Whole units, rounded up; zero where unreadable.
pub fn value(q: &Quantity) -> i64 {
    round_up(nanos(&q.0).unwrap_or(0), 1_000_000_000)
}

/// `q / divisor` rounded up to a whole number, as downward API fields are; a zero divisor counts as one.
pub fn divided(q: i128, divisor: &Quantity) -> i64 {
    let by = nanos(&divisor.0).filter(|d| *d > 0).unwrap_or(1_000_000_000);
    round_up(q, by)
}

/// The exact value in billionths, for [`divided`].
pub fn exact(q: &Quantity) -> i128 {
    nanos(&q.0).unwrap_or(0)
}

/// Thousandths in canonical form (`1500m`, `2`).
pub fn from_milli(milli: i64) -> Quantity {
    Quantity(if milli % 1000 == 0 { (milli / 1000).to_string() } else { format!("{milli}m") })
}

/// Bytes in the largest binary unit that divides them.
pub fn from_bytes(bytes: i64) -> Quantity {
    for (suffix, shift) in [("Ei", 60), ("Pi", 50), ("Ti", 40), ("Gi", 30), ("Mi", 20), ("Ki", 10)] {
        if bytes != 0 && bytes % (1 << shift) == 0 {
            return Quantity(format!("{}{suffix}", bytes >> shift));
        }
    }
    Quantity(bytes.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_read() {
        let check = |text: &str, want: (i64, i64)| {
            let q = Quantity(text.into());
            assert_eq!((milli(&q), value(&q)), want, "{text}");
        };
        check("100m", (100, 1));
        check("1.5", (1500, 2));
        check("0.1", (100, 1));
        check("2Ki", (2_048_000, 2048));
        check("1.5Gi", (1_610_612_736_000, 1_610_612_736));
        check("1e3", (1_000_000, 1000));
        check(
            "1E",
            (1_000_000_000_000_000_000_000_i128.min(i128::from(i64::MAX)) as i64, 1_000_000_000_000_000_000),
        );
        check("1n", (1, 1));
        check("", (0, 0));
        check("x", (0, 0));
    }

    #[test]
    fn quantities_print() {
        assert_eq!(from_bytes(64 << 20).0, "64Mi");
        assert_eq!(from_bytes(1000).0, "1000");
        assert_eq!(from_milli(1500).0, "1500m");
        assert_eq!(divided(exact(&Quantity("1500m".into())), &Quantity("1".into())), 2);
        assert_eq!(divided(exact(&Quantity("64Mi".into())), &Quantity("1Mi".into())), 64);
    }
}
