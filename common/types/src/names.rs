//! Names: the DNS and qualified-name rules with upstream's messages, and generated suffixes.
//!
//! Every check returns the list of what is wrong, in upstream's words and order; an empty list is a valid
//! name. None of them looks beyond the string it is given.

use rand::Rng;

pub const DNS1123_LABEL_MAX: usize = 63;
pub const DNS1123_SUBDOMAIN_MAX: usize = 253;
pub const DNS1035_LABEL_MAX: usize = 63;
pub const LABEL_VALUE_MAX: usize = 63;

const LABEL_RE: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const SUBDOMAIN_RE: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
const QUALIFIED_RE: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";
const QUALIFIED_MSG: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";
const SUBDOMAIN_MSG: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character";

fn max_len(n: usize) -> String {
    format!("must be no more than {n} characters")
}

fn max_bytes(n: usize) -> String {
    format!("must be no more than {n} bytes")
}

/// `must be between 1 and 65535, inclusive`.
pub fn inclusive_range_error(lo: i64, hi: i64) -> String {
    format!("must be between {lo} and {hi}, inclusive")
}

/// Completes a message with examples and the regular expression, as upstream prints them.
pub fn regex_error(message: &str, regex: &str, examples: &[&str]) -> String {
    if examples.is_empty() {
        return format!("{message} (regex used for validation is '{regex}')");
    }
    let quoted: Vec<String> = examples.iter().map(|e| format!("'{e}', ")).collect();
    format!("{message} (e.g. {}regex used for validation is '{regex}')", quoted.join(" or "))
}

fn lower_alnum(b: u8) -> bool {
    b.is_ascii_lowercase() || b.is_ascii_digit()
}

/// `first` at the first byte, `last` at the last, `middle` in between; never empty.
fn shaped(s: &str, first: fn(u8) -> bool, middle: fn(u8) -> bool, last: fn(u8) -> bool) -> bool {
    match s.as_bytes() {
        [] => false,
        [one] => first(*one),
        [a, mid @ .., z] => first(*a) && last(*z) && mid.iter().all(|b| middle(*b)),
    }
}

fn is_label(s: &str) -> bool {
    shaped(s, lower_alnum, |b| lower_alnum(b) || b == b'-', lower_alnum)
}

fn is_label_caseless(s: &str) -> bool {
    shaped(
        s,
        |b| b.is_ascii_alphanumeric(),
        |b| b.is_ascii_alphanumeric() || b == b'-',
        |b| b.is_ascii_alphanumeric(),
    )
}

fn is_subdomain(s: &str) -> bool {
    s.split('.').all(is_label)
}

/// A label that may contain underscores and start with one.
fn is_label_underscore(s: &str) -> bool {
    let s = s.strip_prefix('_').unwrap_or(s);
    shaped(s, lower_alnum, |b| lower_alnum(b) || b == b'-' || b == b'_', lower_alnum)
}

fn is_qualified_part(s: &str) -> bool {
    shaped(
        s,
        |b| b.is_ascii_alphanumeric(),
        |b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'),
        |b| b.is_ascii_alphanumeric(),
    )
}

/// An RFC 1123 label: most names inside an object, and names of namespaces.
pub fn dns1123_label(value: &str) -> Vec<String> {
    let mut errs = Vec::new();
    if value.len() > DNS1123_LABEL_MAX {
        errs.push(max_len(DNS1123_LABEL_MAX));
    }
    if !is_label(value) {
        errs.push(if is_subdomain(value) {
            "must not contain dots".to_owned()
        } else {
            regex_error(
                "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character",
                LABEL_RE,
                &["my-name", "123-abc"],
            )
        });
    }
    errs
}

/// An RFC 1123 subdomain: the names of most objects.
pub fn dns1123_subdomain(value: &str) -> Vec<String> {
    let mut errs = Vec::new();
    if value.len() > DNS1123_SUBDOMAIN_MAX {
        errs.push(max_len(DNS1123_SUBDOMAIN_MAX));
    }
    if !is_subdomain(value) {
        errs.push(regex_error(SUBDOMAIN_MSG, SUBDOMAIN_RE, &["example.com"]));
    }
    errs
}

/// A subdomain in which upper case letters are allowed.
pub fn dns1123_subdomain_caseless(value: &str) -> Vec<String> {
    let mut errs = Vec::new();
    if value.len() > DNS1123_SUBDOMAIN_MAX {
        errs.push(max_bytes(DNS1123_SUBDOMAIN_MAX));
    }
    if !value.split('.').all(is_label_caseless) {
        errs.push(regex_error(
            "an RFC 1123 subdomain must consist of alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character",
            SUBDOMAIN_RE,
            &["Example.com"],
        ));
    }
    errs
}

/// A subdomain in which underscores are allowed (DNS search paths).
pub fn dns1123_subdomain_underscore(value: &str) -> Vec<String> {
    let mut errs = Vec::new();
    if value.len() > DNS1123_SUBDOMAIN_MAX {
        errs.push(max_len(DNS1123_SUBDOMAIN_MAX));
    }
    if !value.split('.').all(is_label_underscore) {
        errs.push(regex_error(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', and must start and end with an alphanumeric character",
            "_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?(\\._?[a-z0-9]([-_a-z0-9]*[a-z0-9])?)*",
            &["example.com"],
        ));
    }
    errs
}

/// A DNS-1035 label: names of services.
pub fn dns1035_label(value: &str) -> Vec<String> {
    let mut errs = Vec::new();
    if value.len() > DNS1035_LABEL_MAX {
        errs.push(max_len(DNS1035_LABEL_MAX));
    }
    if !shaped(value, |b| b.is_ascii_lowercase(), |b| lower_alnum(b) || b == b'-', lower_alnum) {
        errs.push(regex_error(
            "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character",
            "[a-z]([-a-z0-9]*[a-z0-9])?",
            &["my-name", "abc-123"],
        ));
    }
    errs
}

/// `*.` and a subdomain: hosts of ingresses.
pub fn wildcard_dns1123_subdomain(value: &str) -> Vec<String> {
    let mut errs = Vec::new();
    if value.len() > DNS1123_SUBDOMAIN_MAX {
        errs.push(max_len(DNS1123_SUBDOMAIN_MAX));
    }
    if !value.strip_prefix("*.").is_some_and(is_subdomain) {
        errs.push(regex_error(
            "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character",
            &format!("\\*\\.{SUBDOMAIN_RE}"),
            &["*.example.com"],
        ));
    }
    errs
}

/// A label key, annotation key, finalizer or resource name: `[<dns subdomain>/]<name>`.
pub fn qualified_name(value: &str) -> Vec<String> {
    let regex = || regex_error(QUALIFIED_MSG, QUALIFIED_RE, &["MyName", "my.name", "123-abc"]);
    let mut errs = Vec::new();
    let mut parts = value.split('/');
    let name = match (parts.next(), parts.next(), parts.next()) {
        (Some(name), None, _) => name,
        (Some(prefix), Some(name), None) => {
            if prefix.is_empty() {
                errs.push("prefix part must be non-empty".to_owned());
            } else {
                if prefix.len() > DNS1123_SUBDOMAIN_MAX {
                    errs.push(format!("prefix part {}", max_bytes(DNS1123_SUBDOMAIN_MAX)));
                }
                if !is_subdomain(prefix) {
                    let why = regex_error(SUBDOMAIN_MSG, SUBDOMAIN_RE, &["example.com"]);
                    errs.push(format!("prefix part {why}"));
                }
            }
            name
        }
        _ => {
            return vec![format!(
                "a valid label key {} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')",
                regex()
            )];
        }
    };
    if name.is_empty() {
        errs.push("name part must be non-empty".to_owned());
    } else if name.len() > 63 {
        errs.push(format!("name part {}", max_bytes(63)));
    }
    if !is_qualified_part(name) {
        errs.push(format!("name part {}", regex()));
    }
    errs
}

/// A label's value; empty is allowed.
pub fn label_value(value: &str) -> Vec<String> {
    let mut errs = Vec::new();
    if value.len() > LABEL_VALUE_MAX {
        errs.push(max_bytes(LABEL_VALUE_MAX));
    }
    if !value.is_empty() && !is_qualified_part(value) {
        errs.push(regex_error(
            "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character",
            "(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?",
            &["MyValue", "my_value", "12345"],
        ));
    }
    errs
}

/// A finalizer's name.
pub fn finalizer_name(value: &str) -> Vec<String> {
    qualified_name(value)
}

/// A name that can stand as one segment of a URL path: RBAC objects and some others.
pub fn path_segment_name(value: &str) -> Vec<String> {
    if matches!(value, "." | "..") {
        return vec![format!("may not be '{value}'")];
    }
    path_segment_prefix(value)
}

/// The beginning of such a name.
pub fn path_segment_prefix(value: &str) -> Vec<String> {
    ['/', '%'].into_iter().filter(|c| value.contains(*c)).map(|c| format!("may not contain '{c}'")).collect()
}

/// A C identifier.
pub fn c_identifier(value: &str) -> Vec<String> {
    let first = |b: u8| b.is_ascii_alphabetic() || b == b'_';
    let rest = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    if shaped(value, first, rest, rest) {
        return Vec::new();
    }
    vec![regex_error(
        "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric characters or '_'",
        "[A-Za-z_][A-Za-z0-9_]*",
        &["my_name", "MY_NAME", "MyName"],
    )]
}

/// A port number other than 0.
pub fn port_number(port: i64) -> Vec<String> {
    in_range(port, 1, 65535)
}

pub fn in_range(value: i64, lo: i64, hi: i64) -> Vec<String> {
    if (lo..=hi).contains(&value) { Vec::new() } else { vec![inclusive_range_error(lo, hi)] }
}

/// A Unix user or group id.
pub fn user_or_group_id(id: i64) -> Vec<String> {
    in_range(id, 0, i64::from(i32::MAX))
}

/// The name of a container's or service's port.
pub fn port_name(value: &str) -> Vec<String> {
    let mut errs = Vec::new();
    if value.len() > 15 {
        errs.push(max_len(15));
    }
    if value.is_empty() || !value.bytes().all(|b| lower_alnum(b) || b == b'-') {
        errs.push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".to_owned());
    }
    if !value.bytes().any(|b| b.is_ascii_lowercase()) {
        errs.push("must contain at least one letter (a-z)".to_owned());
    }
    if value.contains("--") {
        errs.push("must not contain consecutive hyphens".to_owned());
    }
    if value.starts_with('-') || value.ends_with('-') {
        errs.push("must not begin or end with a hyphen".to_owned());
    }
    errs
}

/// `25%`.
pub fn percent(value: &str) -> Vec<String> {
    let digits = value.strip_suffix('%');
    if digits.is_some_and(|d| !d.is_empty() && d.bytes().all(|b| b.is_ascii_digit())) {
        return Vec::new();
    }
    vec![regex_error(
        "a valid percent string must be a numeric string followed by an ending '%'",
        "[0-9]+%",
        &["1%", "93%"],
    )]
}

/// The name of an HTTP header.
pub fn http_header_name(value: &str) -> Vec<String> {
    if !value.is_empty() && value.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
        return Vec::new();
    }
    vec![regex_error(
        "a valid HTTP header must consist of alphanumeric characters or '-'",
        "[-A-Za-z0-9]+",
        &["X-Header-Name"],
    )]
}

fn ch_dir_prefix(value: &str) -> Option<String> {
    match value {
        "." => Some("must not be '.'".to_owned()),
        ".." => Some("must not be '..'".to_owned()),
        v if v.starts_with("..") => Some("must not start with '..'".to_owned()),
        _ => None,
    }
}

/// An environment variable, strictly.
pub fn env_var_name(value: &str) -> Vec<String> {
    let first = |b: u8| b.is_ascii_alphabetic() || matches!(b, b'-' | b'.' | b'_');
    let rest = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    let mut errs = Vec::new();
    if !shaped(value, first, rest, rest) {
        errs.push(regex_error(
            "a valid environment variable name must consist of alphabetic characters, digits, '_', '-', or '.', and must not start with a digit",
            "[-._a-zA-Z][-._a-zA-Z0-9]*",
            &["my.env-name", "MY_ENV.NAME", "MyEnvName1"],
        ));
    }
    errs.extend(ch_dir_prefix(value));
    errs
}

/// An environment variable as containers may have since the relaxed rule: printable ASCII but `=`.
pub fn relaxed_env_var_name(value: &str) -> Vec<String> {
    let mut errs = Vec::new();
    if value.is_empty() {
        errs.push("environment variable name must be non-empty".to_owned());
    }
    if !value.bytes().all(|b| matches!(b, b' '..=b'~') && b != b'=') {
        errs.push(
            "a valid environment variable name must consist only of printable ASCII characters other than '='"
                .to_owned(),
        );
    }
    errs
}

/// A key of a config map or secret.
pub fn config_map_key(value: &str) -> Vec<String> {
    let mut errs = Vec::new();
    if value.len() > DNS1123_SUBDOMAIN_MAX {
        errs.push(max_len(DNS1123_SUBDOMAIN_MAX));
    }
    if value.is_empty()
        || !value.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'))
    {
        errs.push(regex_error(
            "a valid config key must consist of alphanumeric characters, '-', '_' or '.'",
            "[-._a-zA-Z0-9]+",
            &["key.name", "KEY_NAME", "key-name"],
        ));
    }
    errs.extend(ch_dir_prefix(value));
    errs
}

/// How objects of a kind may be named. `prefix` says the text is a `generateName`, to which a suffix will be
/// added, so that it may end in a dash.
pub type NameCheck = fn(name: &str, prefix: bool) -> Vec<String>;

/// Upstream checks a prefix ending in a dash with its last two bytes replaced by one letter.
fn mask_trailing_dash(name: &str) -> String {
    match name.strip_suffix('-') {
        Some(rest) if !rest.is_empty() => {
            let mut bytes = rest.as_bytes().to_vec();
            bytes.pop();
            bytes.push(b'a');
            String::from_utf8_lossy(&bytes).into_owned()
        }
        _ => name.to_owned(),
    }
}

fn masked(check: fn(&str) -> Vec<String>, name: &str, prefix: bool) -> Vec<String> {
    if prefix { check(&mask_trailing_dash(name)) } else { check(name) }
}

/// [`NameCheck`] for most kinds.
pub fn name_is_dns_subdomain(name: &str, prefix: bool) -> Vec<String> {
    masked(dns1123_subdomain, name, prefix)
}

/// [`NameCheck`] for namespaces and others named by a label.
pub fn name_is_dns_label(name: &str, prefix: bool) -> Vec<String> {
    masked(dns1123_label, name, prefix)
}

/// [`NameCheck`] for services.
pub fn name_is_dns1035_label(name: &str, prefix: bool) -> Vec<String> {
    masked(dns1035_label, name, prefix)
}

/// [`NameCheck`] for RBAC objects and others that only have to fit in a URL.
pub fn name_is_path_segment(name: &str, prefix: bool) -> Vec<String> {
    if prefix { path_segment_prefix(name) } else { path_segment_name(name) }
}

/// The letters of generated names: no vowels and nothing that looks like one, so that no words appear.
pub const SUFFIX_ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

const GENERATED_SUFFIX: usize = 5;
const GENERATED_BASE_MAX: usize = 63 - GENERATED_SUFFIX;

/// `n` random letters of [`SUFFIX_ALPHABET`], each equally likely.
pub fn random_suffix(n: usize, rng: &mut impl Rng) -> String {
    let mut out = String::with_capacity(n);
    while out.len() < n {
        let mut bits = rng.next_u64();
        for _ in 0..12 {
            if let Some(letter) = SUFFIX_ALPHABET.get((bits & 31) as usize)
                && out.len() < n
            {
                out.push(char::from(*letter));
            }
            bits >>= 5;
        }
    }
    out
}

/// The name for a `generateName`: the base cut to 58 bytes and five random letters.
pub fn generate_name(base: &str, rng: &mut impl Rng) -> String {
    let mut end = base.len().min(GENERATED_BASE_MAX);
    while !base.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{}", &base[..end], random_suffix(GENERATED_SUFFIX, rng))
}

/// Turns any text (a hash in decimal) into the same alphabet, letter by letter: pod template hashes.
pub fn safe_encode(text: &str) -> String {
    text.bytes().map(|b| char::from(SUFFIX_ALPHABET[usize::from(b) % SUFFIX_ALPHABET.len()])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_judged_in_upstream_words() {
        let check = |errs: Vec<String>, want: &[&str]| assert_eq!(errs, want);
        let long = "a".repeat(64);
        check(dns1123_label("a-1"), &[]);
        check(dns1123_label(&long), &["must be no more than 63 characters"]);
        check(dns1123_label("a.b"), &["must not contain dots"]);
        check(
            dns1123_label("A"),
            &[
                "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')",
            ],
        );
        check(dns1123_subdomain("a.b-c.d"), &[]);
        check(
            dns1123_subdomain("a..b"),
            &[
                "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
            ],
        );
        check(qualified_name("example.com/My_Name"), &[]);
        check(qualified_name(&long), &["name part must be no more than 63 bytes"]);
        check(
            qualified_name("/"),
            &[
                "prefix part must be non-empty",
                "name part must be non-empty",
                "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')",
            ],
        );
        assert_eq!(qualified_name("a/b/c").len(), 1);
        check(label_value(""), &[]);
        assert_eq!(label_value("-a").len(), 1);
        check(path_segment_name(".."), &["may not be '..'"]);
        check(path_segment_name("a/b%"), &["may not contain '/'", "may not contain '%'"]);
        check(
            port_name("1--"),
            &[
                "must contain at least one letter (a-z)",
                "must not contain consecutive hyphens",
                "must not begin or end with a hyphen",
            ],
        );
        check(config_map_key("..a"), &["must not start with '..'"]);
        assert_eq!(name_is_dns_subdomain("web-", true), Vec::<String>::new());
        assert_eq!(name_is_dns_subdomain("web-", false).len(), 1);
        assert!(c_identifier("_a1").is_empty() && !c_identifier("1a").is_empty());
        assert!(relaxed_env_var_name("a b").is_empty() && !relaxed_env_var_name("a=b").is_empty());
        assert!(wildcard_dns1123_subdomain("*.a.b").is_empty());
        assert!(!wildcard_dns1123_subdomain("*").is_empty());
    }

    #[test]
    fn generated_names_fit() {
        let mut rng = rand::rng();
        for base in ["web-", &"x".repeat(80), &"é".repeat(40)] {
            let name = generate_name(base, &mut rng);
            assert!(name.len() <= 63, "{name}");
            assert!(name.bytes().rev().take(5).all(|b| SUFFIX_ALPHABET.contains(&b)), "{name}");
        }
        assert_eq!(safe_encode("0123456789"), "456789bcdf");
    }
}
