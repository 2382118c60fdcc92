//! Resource quantities (`100m`, `1.5Gi`): exact arithmetic and canonical printing.
//!
//! A quantity is a decimal number with up to 38 digits and a memory of how it was written: decimal suffix,
//! binary suffix or exponent. Fractions finer than a billionth are rounded away from zero, as upstream does.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

/// Why a text is not a quantity, in upstream's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    #[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
    Format,
    #[error("unable to parse numeric part of quantity")]
    Numeric,
    #[error("unable to parse quantity's suffix")]
    Suffix,
}

/// How a quantity prints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Format {
    /// `12M`
    #[default]
    DecimalSi,
    /// `12Mi`
    BinarySi,
    /// `12e6`
    DecimalExponent,
}

/// An exact quantity: `value` times ten to the power of `scale`. Compares and hashes by amount, whatever
/// the format.
#[derive(Clone, Debug, Default)]
pub struct Quantity {
    value: i128,
    scale: i32,
    format: Format,
    /// The text it was parsed from, where upstream would print that again instead of the canonical form.
    text: Option<Box<str>>,
}

const NANO: i32 = -9;
const DECIMAL: [(i32, &str); 10] =
    [(-9, "n"), (-6, "u"), (-3, "m"), (0, ""), (3, "k"), (6, "M"), (9, "G"), (12, "T"), (15, "P"), (18, "E")];
const BINARY: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];

fn pow10(n: u32) -> Option<i128> {
    10i128.checked_pow(n)
}

/// Divides by a power of ten, away from zero; whether nothing was lost.
fn div_pow10(value: i128, n: u32) -> (i128, bool) {
    match pow10(n) {
        Some(d) => match (value / d, value % d) {
            (q, 0) => (q, true),
            (q, _) => (q + value.signum(), false),
        },
        None => (value.signum(), value == 0),
    }
}

/// The parts of a quantity's text.
struct Parts<'a> {
    negative: bool,
    whole: &'a str,
    fraction: &'a str,
    suffix: &'a str,
}

fn take_while(s: &str, ok: impl Fn(u8) -> bool) -> (&str, &str) {
    s.split_at(s.bytes().position(|b| !ok(b)).unwrap_or(s.len()))
}

fn split(text: &str) -> Result<Parts<'_>, QuantityError> {
    let digit = |b: u8| b.is_ascii_digit();
    let (negative, rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let (_, rest) = take_while(rest, |b| b == b'0');
    let (whole, rest) = take_while(rest, digit);
    let (fraction, suffix) = match rest.strip_prefix('.') {
        Some(rest) => take_while(rest, digit),
        None => ("", rest),
    };
    let (_, exponent) = take_while(suffix, |b| b"eEinumkKMGTP".contains(&b));
    let exponent = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
    if !exponent.bytes().all(digit) {
        return Err(QuantityError::Format);
    }
    Ok(Parts { negative, whole: if whole.is_empty() { "0" } else { whole }, fraction, suffix })
}

/// Base, exponent and format of a suffix.
fn interpret(suffix: &str) -> Result<(u8, i32, Format), QuantityError> {
    if let Some((exp, _)) = DECIMAL.iter().find(|(_, s)| *s == suffix) {
        return Ok((10, *exp, Format::DecimalSi));
    }
    if let Some(i) = BINARY.iter().position(|s| *s == suffix) {
        return Ok((2, i as i32 * 10, Format::BinarySi));
    }
    let digits = suffix.strip_prefix(['e', 'E']).filter(|d| !d.is_empty()).ok_or(QuantityError::Suffix)?;
    let exp: i64 = digits.parse().map_err(|_| QuantityError::Suffix)?;
    // Beyond this no amount of resources means anything, and arithmetic on the scale stays safe.
    let exp = i32::try_from(exp).ok().filter(|e| e.abs() < 1 << 24).ok_or(QuantityError::Suffix)?;
    Ok((10, exp, Format::DecimalExponent))
}

impl FromStr for Quantity {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        if text.is_empty() {
            return Err(QuantityError::Format);
        }
        let parts = split(text)?;
        let (base, exponent, mut format) = interpret(parts.suffix)?;
        let digits = [parts.whole, parts.fraction].concat();
        let significant = digits.trim_start_matches('0');
        let places = i32::try_from(parts.fraction.len()).map_err(|_| QuantityError::Numeric)?;
        let mut scale = if base == 10 { exponent - places } else { -places };

        // Digits finer than a billionth only decide whether to round up, so any number of them may come.
        let excess = (NANO - scale).max(0) as usize;
        let (kept, dropped) = significant.split_at(significant.len().saturating_sub(excess));
        let mut lost = false;
        let mut value: i128 = if base == 2 {
            if significant.len() > 38 {
                return Err(QuantityError::Numeric);
            }
            significant.parse().or(if significant.is_empty() {
                Ok(0)
            } else {
                Err(QuantityError::Numeric)
            })?
        } else {
            lost = dropped.bytes().any(|b| b != b'0');
            scale = scale.max(NANO);
            kept.parse().or(if kept.is_empty() { Ok(0) } else { Err(QuantityError::Numeric) })?
        };
        if base == 2 {
            // What does not fit is beyond the largest amount, and capped with it below.
            value = value.saturating_mul(1 << exponent);
            if scale < NANO {
                value = div_pow10(value, (NANO - scale) as u32).0;
                scale = NANO;
            }
            let max = Self { value: i128::from(i64::MAX), ..Self::default() };
            let amount = Self { value, scale, ..Self::default() };
            if amount > max {
                (value, scale) = (max.value, 0);
            } else if value != 0 && amount < Self::from_int(1) {
                format = Format::DecimalSi;
            }
        } else if lost {
            value += 1;
        }
        let text = keeps_text(&parts, &digits, base, exponent).then(|| text.into());
        if parts.negative {
            value = -value;
        }
        Ok(Self { value, scale, format, text })
    }
}

/// Whether upstream's parser takes its short way and keeps the text, canonical or nearly so.
fn keeps_text(p: &Parts<'_>, digits: &str, base: u8, exponent: i32) -> bool {
    if base == 2 {
        let precision = 15 - p.whole.len() as i32 - exponent * 3 / 10 - 1;
        let low = digits.as_bytes().last().map_or(0, |_| digits.parse::<i64>().unwrap_or(0) & 7);
        return p.fraction.is_empty() && precision >= 0 && low != 0;
    }
    let scale = exponent - p.fraction.len() as i32;
    digits.len() <= 18
        && scale >= NANO
        && scale % 3 == 0
        && !digits.ends_with("000")
        && !digits.starts_with('0')
}

impl Quantity {
    /// A whole number, printed with decimal suffixes.
    pub fn from_int(value: i64) -> Self {
        Self { value: i128::from(value), ..Self::default() }
    }

    /// A number of thousandths (`1500` is `1500m`).
    pub fn from_milli(value: i64) -> Self {
        Self { value: i128::from(value), scale: -3, ..Self::default() }
    }

    /// A number of bytes, printed with binary suffixes.
    pub fn from_bytes(value: i64) -> Self {
        Self { value: i128::from(value), format: Format::BinarySi, ..Self::default() }
    }

    #[must_use]
    pub fn with_format(mut self, format: Format) -> Self {
        self.format = format;
        self.text = None;
        self
    }

    pub fn format(&self) -> Format {
        self.format
    }

    pub fn is_zero(&self) -> bool {
        self.value == 0
    }

    /// -1, 0 or 1.
    pub fn sign(&self) -> i32 {
        self.value.signum() as i32
    }

    /// The amount in units of ten to the power of `scale`, rounded away from zero, saturating.
    pub fn scaled_value(&self, scale: i32) -> i64 {
        let by = self.scale - scale;
        let wide = if by < 0 {
            div_pow10(self.value, by.unsigned_abs()).0
        } else {
            let factor = pow10(by.unsigned_abs());
            match factor.and_then(|f| self.value.checked_mul(f)) {
                Some(v) => v,
                None => self.value.signum().saturating_mul(i128::MAX),
            }
        };
        wide.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
    }

    /// The amount rounded away from zero to a whole number, saturating.
    pub fn value(&self) -> i64 {
        self.scaled_value(0)
    }

    /// The amount in thousandths, rounded away from zero, saturating.
    pub fn milli_value(&self) -> i64 {
        self.scaled_value(-3)
    }

    /// The nearest float.
    pub fn as_f64(&self) -> f64 {
        // Through text the rounding is exact; this is for metrics and messages, not for hot paths.
        format!("{}e{}", self.value, self.scale).parse().unwrap_or(0.0)
    }

    /// The exact whole number, where it is one and fits.
    pub fn as_int(&self) -> Option<i64> {
        let whole = if self.scale < 0 {
            match div_pow10(self.value, self.scale.unsigned_abs()) {
                (v, true) => v,
                _ => return None,
            }
        } else {
            self.value.checked_mul(pow10(self.scale.unsigned_abs())?)?
        };
        i64::try_from(whole).ok()
    }

    /// The sum. A zero takes the other's format. Saturates beyond 38 digits.
    pub fn add(&mut self, other: &Self) {
        if self.is_zero() {
            self.format = other.format;
        }
        self.text = None;
        let (a, b) = (&*self, other);
        let (value, scale) = match (a.value, b.value) {
            (_, 0) => (a.value, a.scale),
            (0, _) => (b.value, b.scale),
            _ => {
                let scale = a.scale.min(b.scale);
                let at = |q: &Self| {
                    pow10((q.scale - scale) as u32)
                        .and_then(|f| q.value.checked_mul(f))
                        .unwrap_or(q.value.signum().saturating_mul(i128::MAX))
                };
                (at(a).saturating_add(at(b)), scale)
            }
        };
        (self.value, self.scale) = (value, scale);
    }

    /// The difference. A zero takes the other's format.
    pub fn sub(&mut self, other: &Self) {
        let mut negated = other.clone();
        negated.neg();
        self.add(&negated);
    }

    /// Changes the sign.
    pub fn neg(&mut self) {
        self.text = None;
        self.value = -self.value;
    }

    /// The product with a whole number, saturating.
    pub fn mul(&mut self, by: i64) {
        self.text = None;
        self.value = self.value.saturating_mul(i128::from(by));
    }

    /// Rounds away from zero to a multiple of ten to the power of `scale`; whether nothing was lost.
    pub fn round_up(&mut self, scale: i32) -> bool {
        if self.scale >= scale {
            return true;
        }
        self.text = None;
        let (value, exact) = div_pow10(self.value, (scale - self.scale) as u32);
        (self.value, self.scale) = (value, scale);
        exact
    }

    fn write_decimal(&self, f: &mut fmt::Formatter<'_>, exponent_form: bool) -> fmt::Result {
        let (mut value, mut exp) = (self.value, self.scale);
        while value % 10 == 0 {
            value /= 10;
            exp += 1;
        }
        let zeros = exp.rem_euclid(3);
        exp -= zeros;
        write!(f, "{value}{}", ["", "0", "00"][zeros as usize])?;
        match DECIMAL.iter().find(|(e, _)| *e == exp) {
            _ if exp == 0 => Ok(()),
            Some((_, suffix)) if !exponent_form => f.write_str(suffix),
            _ => write!(f, "e{exp}"),
        }
    }
}

impl fmt::Display for Quantity {
    /// The canonical form: no fraction, the largest suffix that loses nothing.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(text) = &self.text {
            return f.write_str(text);
        }
        if self.is_zero() {
            return f.write_str("0");
        }
        match self.format {
            Format::DecimalExponent => self.write_decimal(f, true),
            Format::DecimalSi => self.write_decimal(f, false),
            Format::BinarySi => match self.as_int() {
                Some(mut v) if v.unsigned_abs() >= 1024 => {
                    let mut power = 0;
                    while v % 1024 == 0 && power < BINARY.len() - 1 {
                        v /= 1024;
                        power += 1;
                    }
                    write!(f, "{v}{}", BINARY[power])
                }
                _ => self.write_decimal(f, false),
            },
        }
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        let (a, b) = (self.value, other.value);
        if a.signum() != b.signum() || self.scale == other.scale || a == 0 {
            return a.cmp(&b);
        }
        let by = self.scale.abs_diff(other.scale);
        // Whichever has the larger scale is brought to the other's; where that does not fit it is larger.
        let up = |v: i128| pow10(by).and_then(|f| v.checked_mul(f));
        let larger = if a > 0 { Ordering::Greater } else { Ordering::Less };
        if self.scale > other.scale {
            up(a).map_or(larger, |a| a.cmp(&b))
        } else {
            up(b).map_or(larger.reverse(), |b| a.cmp(&b))
        }
    }
}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Quantity {}

impl std::hash::Hash for Quantity {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        let (mut value, mut scale) = (self.value, self.scale);
        while value != 0 && value % 10 == 0 {
            value /= 10;
            scale += 1;
        }
        (value, if value == 0 { 0 } else { scale }).hash(state);
    }
}

impl Serialize for Quantity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.text {
            Some(text) => serializer.serialize_str(text),
            None => serializer.collect_str(self),
        }
    }
}

impl<'de> Deserialize<'de> for Quantity {
    /// From a string or a bare number; `null` is zero.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Quantity;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a quantity")
            }
            fn visit_str<E: serde::de::Error>(self, s: &str) -> Result<Quantity, E> {
                s.trim().parse().map_err(E::custom)
            }
            fn visit_i64<E: serde::de::Error>(self, n: i64) -> Result<Quantity, E> {
                self.visit_str(&n.to_string())
            }
            fn visit_u64<E: serde::de::Error>(self, n: u64) -> Result<Quantity, E> {
                self.visit_str(&n.to_string())
            }
            fn visit_f64<E: serde::de::Error>(self, n: f64) -> Result<Quantity, E> {
                self.visit_str(&n.to_string())
            }
            fn visit_unit<E: serde::de::Error>(self) -> Result<Quantity, E> {
                Ok(Quantity::default())
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl TryFrom<&k8s_openapi::apimachinery::pkg::api::resource::Quantity> for Quantity {
    type Error = QuantityError;

    fn try_from(q: &k8s_openapi::apimachinery::pkg::api::resource::Quantity) -> Result<Self, QuantityError> {
        q.0.trim().parse()
    }
}

impl From<&Quantity> for k8s_openapi::apimachinery::pkg::api::resource::Quantity {
    fn from(q: &Quantity) -> Self {
        Self(q.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn q(s: &str) -> Quantity {
        s.parse().unwrap_or_else(|e| panic!("{s}: {e}"))
    }

    #[test]
    fn texts_print_canonically() {
        let check = |text: &str, want: &str| assert_eq!(q(text).to_string(), want, "{text}");
        for same in ["0", "100m", "1Gi", "5", "12e6", "1E3", "1025Ki", "3n", "-5", "1.500"] {
            check(same, same);
        }
        check("1.5", "1500m");
        check("1.5Gi", "1536Mi");
        check("200000000000.000000000Ei", "9223372036854775807");
        check("1024Ki", "1Mi");
        check("0.5", "500m");
        check("1000m", "1");
        check("1000k", "1M");
        check("1500Mi", "1500Mi");
        check("0.1Ki", "102400m");
        check("1.1Ki", "1126400m");
        check("0.0000000001", "1n");
        check("-0.0000000001", "-1n");
        check("0Ki", "0");
        check("0.000", "0");
        check("1e-3", "1e-3");
        check("10e-3", "10e-3");
        check("1000e3", "1e6");
        check("100Ei", "9223372036854775807");
        check("12.", "12.");
    }

    #[test]
    fn bad_texts_have_upstream_errors() {
        let check =
            |text: &str, want: QuantityError| assert_eq!(text.parse::<Quantity>(), Err(want), "{text}");
        for s in ["", "1.1.M", "1+1.0M", "0.1mi", "0.1am", "aoeu", "3.0ioe", ".5i x", "1 "] {
            let got = s.parse::<Quantity>();
            assert!(got.is_err(), "{s}: {got:?}");
        }
        check("abc", QuantityError::Format);
        check("1mi", QuantityError::Suffix);
        check("1e", QuantityError::Suffix);
        assert_eq!(
            QuantityError::Format.to_string(),
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
        );
    }

    #[test]
    fn values_round_up() {
        assert_eq!((q("1.5").value(), q("1500m").milli_value(), q("100n").milli_value()), (2, 1500, 1));
        assert_eq!((q("-1.5").value(), q("1Gi").value(), q("4E").milli_value()), (-2, 1 << 30, i64::MAX));
        assert_eq!((q("1.5Gi").as_int(), q("1500m").as_int()), (Some(3 << 29), None));
        let mut a = q("0");
        a.add(&q("1Mi"));
        a.sub(&q("512Ki"));
        assert_eq!(a.to_string(), "512Ki");
        assert_eq!(serde_json::to_string(&q("1.5Gi")).unwrap(), r#""1536Mi""#);
        assert_eq!(serde_json::from_str::<Quantity>("1.5").unwrap(), q("1500m"));
    }

    fn any_text() -> impl Strategy<Value = String> {
        ("[+-]?[0-9]{1,12}", "(\\.[0-9]{0,10})?", "(|n|u|m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei|e[+-]?[0-9]|E[0-9])")
            .prop_map(|(a, b, c)| a + &b + &c)
    }

    proptest! {
        #[test]
        fn printing_loses_nothing(text in any_text()) {
            let a = q(&text);
            let printed = a.clone().with_format(a.format()).to_string();
            let b = q(&printed);
            prop_assert_eq!(&a, &b);
            prop_assert_eq!(b.with_format(a.format()).to_string(), printed);
        }

        #[test]
        fn order_follows_difference(a in any_text(), b in any_text()) {
            let (a, b) = (q(&a), q(&b));
            let mut d = a.clone();
            d.sub(&b);
            prop_assert_eq!(d.sign() as i8, a.cmp(&b) as i8);
            // Sums are exact within 38 digits, counted from a billionth.
            if a.as_f64().abs().max(b.as_f64().abs()) < 1e28 {
                d.add(&b);
                prop_assert_eq!(d, a.clone());
            }
            prop_assert_eq!(a.cmp(&b), b.cmp(&a).reverse());
        }

        #[test]
        fn any_bytes_parse_or_fail(text in "\\PC{0,20}") {
            let _ = text.parse::<Quantity>();
        }
    }
}
