//! What form of answer a client accepts.

use gantry_types::{Status, StatusResult};

/// A wire form.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Media {
    #[default]
    Json,
    Yaml,
    Protobuf,
}

impl Media {
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Yaml => "application/yaml",
            Self::Protobuf => "application/vnd.kubernetes.protobuf",
        }
    }

    /// The content type of a stream of watch events.
    pub fn stream_type(self) -> &'static str {
        match self {
            Self::Json | Self::Yaml => "application/json",
            Self::Protobuf => "application/vnd.kubernetes.protobuf;stream=watch",
        }
    }
}

/// What stands in for the object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Transform {
    #[default]
    None,
    Table,
    PartialObjectMetadata,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Accepted {
    pub media: Media,
    pub transform: Transform,
    pub pretty: bool,
}

struct Clause<'a> {
    media: &'a str,
    params: Vec<(&'a str, &'a str)>,
    quality: f32,
}

fn clauses(accept: &str) -> Vec<Clause<'_>> {
    let mut out: Vec<Clause<'_>> = accept
        .split(',')
        .map(str::trim)
        .filter(|c| !c.is_empty())
        .map(|clause| {
            let mut parts = clause.split(';').map(str::trim);
            let media = parts.next().unwrap_or_default();
            let params: Vec<_> =
                parts.filter_map(|p| p.split_once('=')).map(|(k, v)| (k.trim(), v.trim())).collect();
            let quality =
                params.iter().find(|(k, _)| *k == "q").and_then(|(_, v)| v.parse().ok()).unwrap_or(1.0);
            Clause { media, params, quality }
        })
        .collect();
    // Stable: equal qualities stay in the client's order.
    out.sort_by(|a, b| b.quality.total_cmp(&a.quality));
    out
}

fn media_of(name: &str) -> Option<Media> {
    match name {
        "application/json" | "*/*" | "application/*" => Some(Media::Json),
        "application/yaml" => Some(Media::Yaml),
        "application/vnd.kubernetes.protobuf" => Some(Media::Protobuf),
        _ => None,
    }
}

/// The transformation a clause asks for; `None` where it is one we do not have.
fn transform_of(params: &[(&str, &str)]) -> Option<Transform> {
    let get = |name: &str| params.iter().find(|(k, _)| *k == name).map(|(_, v)| *v);
    match (get("as"), get("g"), get("v")) {
        (None, ..) => Some(Transform::None),
        (Some("Table"), Some("meta.k8s.io"), Some("v1" | "v1beta1")) => Some(Transform::Table),
        (
            Some("PartialObjectMetadata" | "PartialObjectMetadataList"),
            Some("meta.k8s.io"),
            Some("v1" | "v1beta1"),
        ) => Some(Transform::PartialObjectMetadata),
        _ => None,
    }
}

/// The first clause we can serve. `transforms` says whether the answer can be a table or metadata only.
///
/// # Errors
/// `NotAcceptable`, naming what there is.
pub fn accept(header: Option<&str>, transforms: bool) -> StatusResult<Accepted> {
    let header = header.unwrap_or_default();
    if header.is_empty() {
        return Ok(Accepted::default());
    }
    let mut known = false;
    for clause in clauses(header) {
        let Some(media) = media_of(clause.media) else { continue };
        known = true;
        let Some(transform) = transform_of(&clause.params) else { continue };
        if transform != Transform::None && !transforms {
            continue;
        }
        let pretty = clause.params.iter().any(|(k, v)| *k == "pretty" && matches!(*v, "1" | "true"));
        return Ok(Accepted { media, transform, pretty });
    }
    if known {
        // The form is one of ours, what should stand in for the object is not.
        return Err(Status::not_acceptable(
            "only the following media types are accepted: application/json, application/yaml, application/vnd.kubernetes.protobuf",
        ));
    }
    let mut status = Status::not_acceptable(
        "406: Not Acceptable\n\nAvailable representations: application/json, application/yaml, application/vnd.kubernetes.protobuf",
    );
    status.body_mut().details = Some(gantry_types::status::StatusDetails::default());
    Err(status)
}

/// Whether a human is likely to read the answer: asked for, or a browser or command line client that did not
/// say otherwise.
pub fn wants_pretty(parameter: Option<&str>, user_agent: &str) -> bool {
    match parameter {
        Some(value) => value != "0" && !value.eq_ignore_ascii_case("false"),
        None => ["curl", "Wget", "Mozilla/5.0"].iter().any(|agent| user_agent.starts_with(agent)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clauses_are_taken_in_order() {
        let check = |header: &str, want: Option<(Media, Transform)>| {
            assert_eq!(accept(Some(header), true).ok().map(|a| (a.media, a.transform)), want, "{header}");
        };
        check("", Some((Media::Json, Transform::None)));
        check("*/*", Some((Media::Json, Transform::None)));
        check(
            "application/vnd.kubernetes.protobuf,application/json",
            Some((Media::Protobuf, Transform::None)),
        );
        check(
            "application/json;as=Table;v=v1;g=meta.k8s.io,application/json",
            Some((Media::Json, Transform::Table)),
        );
        check(
            "application/json;as=Table;v=v9;g=meta.k8s.io,application/json",
            Some((Media::Json, Transform::None)),
        );
        check("application/json;q=0.5, application/yaml", Some((Media::Yaml, Transform::None)));
        check("text/html", None);
        check("application/json;stream=watch", Some((Media::Json, Transform::None)));
    }
}
