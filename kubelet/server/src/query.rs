//! The query of a request. Pure.

/// Pairs in the order sent, decoded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query(Vec<(String, String)>);

/// Decodes `%41`, and `+` where it stands for a space. Broken escapes stay as they are.
pub fn decode(text: &str, plus_is_space: bool) -> String {
    let hex = |b: Option<&u8>| b.and_then(|b| char::from(*b).to_digit(16)).and_then(|d| u8::try_from(d).ok());
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while let Some(&byte) = bytes.get(i) {
        i += 1;
        match (byte, hex(bytes.get(i)), hex(bytes.get(i + 1))) {
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

impl Query {
    pub fn parse(raw: &str) -> Self {
        let pair = |p: &str| {
            let (k, v) = p.split_once('=').unwrap_or((p, ""));
            (decode(k, true), decode(v, true))
        };
        Self(raw.split('&').filter(|p| !p.is_empty()).map(pair).collect())
    }

    /// The first value of a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    pub fn all(&self, key: &str) -> Vec<String> {
        self.0.iter().filter(|(k, _)| k == key).map(|(_, v)| v.clone()).collect()
    }

    /// Present, and neither `0` nor `false`.
    pub fn is_true(&self, key: &str) -> bool {
        self.get(key).is_some_and(|v| v != "0" && !v.eq_ignore_ascii_case("false"))
    }

    /// Exactly `1`, as streams are asked for.
    pub fn is_one(&self, key: &str) -> bool {
        self.get(key) == Some("1")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_read() {
        let q = Query::parse("command=sh&command=-c&command=echo+%22a%2Bb%22&input=1&x=%4&e");
        assert_eq!(q.all("command"), ["sh", "-c", "echo \"a+b\""]);
        assert!(q.is_one("input") && !q.is_one("x") && q.is_true("e") && !q.is_true("none"));
        assert_eq!(q.get("x"), Some("%4"));
    }
}
