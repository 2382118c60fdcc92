//! A request's query. Pure.

use gantry_machinery::selector::{FieldSelector, Selector};
use gantry_types::{Status, StatusResult};

/// Decodes `%41`, and `+` where it stands for a space. Broken escapes stay as they are.
pub fn decode(text: &str, plus_is_space: bool) -> String {
    let digit =
        |b: Option<&u8>| b.and_then(|b| char::from(*b).to_digit(16)).and_then(|d| u8::try_from(d).ok());
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while let Some(&byte) = bytes.get(i) {
        i += 1;
        match (byte, digit(bytes.get(i)), digit(bytes.get(i + 1))) {
            (b'%', Some(high), Some(low)) => {
                out.push(high << 4 | low);
                i += 2;
            }
            (b'+', ..) if plus_is_space => out.push(b' '),
            (byte, ..) => out.push(byte),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// What rows of a table carry of their objects: `includeObject`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Include {
    None,
    #[default]
    Metadata,
    Object,
}

/// The options of a list.
#[derive(Debug)]
pub struct Options {
    pub labels: Selector,
    pub fields: FieldSelector,
    pub watch: bool,
    pub include: Include,
}

impl Options {
    /// # Errors
    /// 400 for what cannot be read.
    pub fn parse(raw: &str) -> StatusResult<Self> {
        let mut options = Self {
            labels: Selector::everything(),
            fields: FieldSelector::everything(),
            watch: false,
            include: Include::default(),
        };
        for (key, value) in raw.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, ""))) {
            let value = decode(value, true);
            let bad = |e: &dyn std::fmt::Display| Status::bad_request(e.to_string());
            match key {
                "labelSelector" => options.labels = Selector::parse(&value).map_err(|e| bad(&e))?,
                "fieldSelector" => {
                    options.fields = FieldSelector::parse(&value).map_err(|e| bad(&e))?;
                    options.fields.check(&[]).map_err(|e| bad(&e))?;
                }
                "watch" => options.watch = value != "0" && !value.eq_ignore_ascii_case("false"),
                "includeObject" => {
                    options.include = match value.as_str() {
                        "None" => Include::None,
                        "Object" => Include::Object,
                        "" | "Metadata" => Include::Metadata,
                        other => {
                            let why = format!("unrecognized includeObject value: {other:?}");
                            return Err(Status::bad_request(why));
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_read() {
        let check = |raw: &str, want: &str| {
            let got = Options::parse(raw).map(|o| {
                let fields: Vec<_> =
                    o.fields.terms().iter().map(|t| format!("{}~{}", t.field, t.value)).collect();
                format!("{} [{}] {} {:?}", o.labels, fields.join(" "), o.watch, o.include)
            });
            assert_eq!(got.unwrap_or_else(|s| format!("{} {}", s.code(), s.message())), want, "{raw}");
        };
        check("", " [] false Metadata");
        check("labelSelector=a%3Db%2Cc+in+%28d%29&limit=500", "a=b,c in (d) [] false Metadata");
        check(
            "watch=true&includeObject=Object&fieldSelector=metadata.name%3Dx",
            " [metadata.name~x] true Object",
        );
        check(
            "fieldSelector=spec.nodeName%3Dx",
            "400 \"spec.nodeName\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"",
        );
        check("fieldSelector=a", "400 invalid selector: 'a'; can't understand 'a'");
        assert!(Options::parse("labelSelector=%3D").is_err());
    }
}
