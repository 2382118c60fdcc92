//! Numbers and percentages.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// A number, or a percentage of `total`, rounded up or down. Zero where there is none.
pub(super) fn scaled(value: Option<&IntOrString>, total: i32, up: bool) -> i32 {
    match value {
        None => 0,
        Some(IntOrString::Int(n)) => *n,
        Some(IntOrString::String(text)) => {
            let percent: i64 = text.strip_suffix('%').and_then(|t| t.parse().ok()).unwrap_or(0);
            let product = percent.saturating_mul(i64::from(total));
            let whole = if up { product.saturating_add(99) } else { product }.div_euclid(100);
            i32::try_from(whole).unwrap_or(0)
        }
    }
}
