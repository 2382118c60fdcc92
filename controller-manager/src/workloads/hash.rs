//! The name of a pod template: short, stable, in letters that form no words.

use k8s_openapi::api::core::v1::PodTemplateSpec;

const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// FNV-1a over the template's JSON and the collision count.
pub(super) fn of(template: Option<&PodTemplateSpec>, collisions: Option<i32>) -> String {
    let mut sum: u32 = 0x811c_9dc5;
    let mut feed =
        |bytes: &[u8]| bytes.iter().for_each(|b| sum = (sum ^ u32::from(*b)).wrapping_mul(0x0100_0193));
    if let Some(template) = template {
        // Typed API objects always serialize; their maps are ordered, so the text is stable.
        feed(&serde_json::to_vec(template).unwrap_or_default());
    }
    if let Some(count) = collisions {
        feed(&count.to_le_bytes());
    }
    letters(sum)
}

/// A number in letters (and digits) that form no words, as upstream writes hashes.
pub(super) fn letters(sum: u32) -> String {
    sum.to_string().bytes().map(|b| char::from(LETTERS[usize::from(b) % LETTERS.len()])).collect()
}
