//! The name of a pod template: short, stable, in letters that form no words; upstream's to the letter.

use gantry_machinery::spew;
use k8s_openapi::api::core::v1::PodTemplateSpec;

const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// FNV-1a over the template as Go prints it and the collision count. A template that holds what we cannot print
/// so (quantities beyond 64 bits, mostly) is hashed as JSON: its name differs from upstream's, which compares
/// templates, not names.
pub(super) fn of(template: Option<&PodTemplateSpec>, collisions: Option<i32>) -> String {
    let mut sum: u32 = 0x811c_9dc5;
    let mut feed =
        |bytes: &[u8]| bytes.iter().for_each(|b| sum = (sum ^ u32::from(*b)).wrapping_mul(0x0100_0193));
    if let Some(template) = template {
        match spew::print("v1.PodTemplateSpec", template) {
            Some(text) => feed(text.as_bytes()),
            // Typed API objects always serialize; their maps are ordered, so the text is stable.
            None => feed(&serde_json::to_vec(template).unwrap_or_default()),
        }
    }
    if let Some(count) = collisions {
        feed(&count.to_le_bytes());
        feed(&[0; 4]);
    }
    letters(sum)
}

/// A number in letters (and digits) that form no words, as upstream writes hashes.
pub(super) fn letters(sum: u32) -> String {
    sum.to_string().bytes().map(|b| char::from(LETTERS[usize::from(b) % LETTERS.len()])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_named_as_upstream_names_them() {
        let text = r#"{"metadata":{"labels":{"app":"agent"}},"spec":{"containers":[{"name":"agent","image":"r/agent:1",
            "resources":{},"terminationMessagePath":"/dev/termination-log","terminationMessagePolicy":"File",
            "imagePullPolicy":"IfNotPresent"}],"restartPolicy":"Always","terminationGracePeriodSeconds":30,
            "dnsPolicy":"ClusterFirst","securityContext":{},"schedulerName":"default-scheduler"}}"#;
        let template: PodTemplateSpec = serde_json::from_str(text).unwrap();
        assert_eq!(of(Some(&template), None), "7486475477");
        assert_ne!(of(Some(&template), Some(0)), of(Some(&template), Some(1)));
        assert_ne!(of(Some(&template), None), of(Some(&template), Some(0)));
    }
}
