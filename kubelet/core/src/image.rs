//! Image names and pull policy.

/// What to do about an image before a container starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pull {
    UsePresent,
    Pull,
    /// Absent, and the policy forbids pulling.
    Refuse,
}

/// The policy, or its default: `Always` for `:latest` or no tag, `IfNotPresent` otherwise.
pub fn policy<'a>(declared: Option<&'a str>, image: &str) -> &'a str {
    match declared {
        Some(p) if !p.is_empty() => p,
        _ if with_default_tag(image).is_ok_and(|i| i.ends_with(":latest")) => "Always",
        _ => "IfNotPresent",
    }
}

pub fn decide(policy: &str, present: bool) -> Pull {
    match (policy, present) {
        ("Never", false) => Pull::Refuse,
        ("Always", _) | (_, false) => Pull::Pull,
        (_, true) => Pull::UsePresent,
    }
}

/// The reference with `:latest` added where it has neither tag nor digest.
///
/// # Errors
/// Where the reference cannot be one, with the distribution library's words.
pub fn with_default_tag(image: &str) -> Result<String, String> {
    let fail = |why: &str| Err(format!("couldn't parse image name {image:?}: {why}"));
    let (name, digest) = match image.split_once('@') {
        Some((n, d)) => (n, Some(d)),
        None => (image, None),
    };
    let last = name.rsplit('/').next().unwrap_or(name);
    let (repository, tag) = match last.split_once(':') {
        Some((_, tag)) => (&name[..name.len() - tag.len() - 1], Some(tag)),
        None => (name, None),
    };
    let tag_ok = |t: &str| {
        !t.is_empty()
            && t.len() <= 128
            && t.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
            && !t.starts_with(['.', '-'])
    };
    let digest_ok = |d: &str| {
        d.split_once(':')
            .is_some_and(|(a, h)| !a.is_empty() && h.len() >= 32 && h.chars().all(|c| c.is_ascii_hexdigit()))
    };
    let path = match repository.split_once('/') {
        // The first part is a host where it looks like one; hosts may hold capitals and ports.
        Some((host, rest)) if host.contains(['.', ':']) || host == "localhost" => rest,
        _ => repository,
    };
    if path.is_empty() || tag.is_some_and(|t| !tag_ok(t)) || digest.is_some_and(|d| !digest_ok(d)) {
        return fail("invalid reference format");
    }
    if path.chars().any(|c| c.is_ascii_uppercase()) {
        return fail("invalid reference format: repository name must be lowercase");
    }
    let part_ok = |p: &str| {
        p.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c))
            && p.starts_with(|c: char| c.is_ascii_alphanumeric())
            && p.ends_with(|c: char| c.is_ascii_alphanumeric())
    };
    if !path.split('/').all(part_ok) {
        return fail("invalid reference format");
    }
    Ok(if tag.is_none() && digest.is_none() { format!("{image}:latest") } else { image.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_get_a_tag_or_an_error() {
        let check = |image: &str, want: Result<&str, &str>| {
            assert_eq!(with_default_tag(image), want.map(str::to_owned).map_err(str::to_owned), "{image}");
        };
        check("busybox", Ok("busybox:latest"));
        check("host:5000/a/b", Ok("host:5000/a/b:latest"));
        check("a/b:1.2", Ok("a/b:1.2"));
        check("Registry.io/a_b/c:V1", Ok("Registry.io/a_b/c:V1"));
        check(
            "A",
            Err(
                "couldn't parse image name \"A\": invalid reference format: repository name must be lowercase",
            ),
        );
        check("a b", Err("couldn't parse image name \"a b\": invalid reference format"));
        check("", Err("couldn't parse image name \"\": invalid reference format"));
    }

    #[test]
    fn policies_decide() {
        assert_eq!(policy(None, "a"), "Always");
        assert_eq!(policy(None, "a:1"), "IfNotPresent");
        assert_eq!(decide("Always", true), Pull::Pull);
        assert_eq!(decide("IfNotPresent", true), Pull::UsePresent);
        assert_eq!(decide("IfNotPresent", false), Pull::Pull);
        assert_eq!(decide("Never", false), Pull::Refuse);
    }
}
