//! Continue tokens, in upstream's form: unpadded URL-safe base64 of `{"v":"meta.k8s.io/v1","rv":N,"start":"…"}`.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gantry_types::{Status, StatusResult};
use serde::{Deserialize, Serialize};

const VERSION: &str = "meta.k8s.io/v1";

/// Where a list goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// The revision of the list; negative for "the newest, consistent or not".
    pub revision: i64,
    /// The first key not yet looked at, complete.
    pub start: String,
}

#[derive(Serialize, Deserialize)]
struct Wire {
    #[serde(rename = "v", default)]
    version: String,
    #[serde(rename = "rv", default)]
    revision: i64,
    #[serde(rename = "start", default)]
    start: String,
}

fn refuse(why: &str) -> Status {
    Status::bad_request(format!("invalid continue token: continue key is not valid{why}"))
}

/// Makes a token; `start` lies below `prefix`.
pub fn encode(token: &Token, prefix: &str) -> String {
    let start = token.start.strip_prefix(prefix).unwrap_or(&token.start).to_owned();
    let wire = Wire { version: VERSION.into(), revision: token.revision, start };
    // A struct of strings and numbers always serializes.
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(&wire).unwrap_or_default())
}

/// # Errors
/// 400 in upstream's words; a token can never lead out of `prefix`.
pub fn decode(text: &str, prefix: &str) -> StatusResult<Token> {
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|e| refuse(&format!(": {e}")))?;
    let wire: Wire = serde_json::from_slice(&bytes).map_err(|e| refuse(&format!(": {e}")))?;
    if wire.version != VERSION {
        return Err(refuse(&format!(": server does not recognize this encoded version {}", wire.version)));
    }
    if wire.revision == 0 {
        return Err(refuse(": incorrect encoded start resourceVersion (version meta.k8s.io/v1)"));
    }
    if wire.start.is_empty() {
        return Err(refuse(": encoded start key empty (version meta.k8s.io/v1)"));
    }
    let relative = wire.start.strip_prefix('/').unwrap_or(&wire.start);
    if relative.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(refuse(&format!(": {}", wire.start)));
    }
    Ok(Token { revision: wire.revision, start: format!("{prefix}{relative}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_round_trip_and_stay_inside() {
        let prefix = "/registry/pods/";
        let token = Token { revision: 12, start: "/registry/pods/ns/a\0".into() };
        let text = encode(&token, prefix);
        assert_eq!(
            URL_SAFE_NO_PAD.decode(&text).unwrap(),
            br#"{"v":"meta.k8s.io/v1","rv":12,"start":"ns/a\u0000"}"#
        );
        assert_eq!(decode(&text, prefix).unwrap(), token);
        let check = |wire: &str, expected: &str| {
            let status = decode(&URL_SAFE_NO_PAD.encode(wire), prefix).unwrap_err();
            assert_eq!((status.code(), status.message()), (400, expected));
        };
        check(
            r#"{"v":"meta.k8s.io/v1","rv":1,"start":"../secrets/x"}"#,
            "invalid continue token: continue key is not valid: ../secrets/x",
        );
        check(
            r#"{"v":"meta.k8s.io/v1","rv":0,"start":"a"}"#,
            "invalid continue token: continue key is not valid: incorrect encoded start resourceVersion (version meta.k8s.io/v1)",
        );
        check(
            r#"{"v":"v2","rv":1,"start":"a"}"#,
            "invalid continue token: continue key is not valid: server does not recognize this encoded version v2",
        );
        assert!(decode("%%%", prefix).is_err());
    }
}
