//! The form of an OCID, whatever it identifies. Pure.

/// Characters that are shown of an OCID outside the log: enough to tell two queues apart.
const SUFFIX: usize = 6;
/// Oracle states no limit; every OCID seen is under 120 characters, the docs say 255.
const LENGTH_MAX: usize = 255;

/// Whether a text is an OCID of a type that fits: `ocid1.TYPE.REALM.[REGION].….UNIQUE ID`.
pub(super) fn is_ocid(text: &str, fits: impl Fn(&str) -> bool) -> bool {
    let legal = |part: &str| part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    let parts: Vec<&str> = text.split('.').collect();
    parts.len() >= 5
        && parts[0] == "ocid1"
        && fits(parts[1])
        && !parts[2].is_empty()
        && !parts[parts.len() - 1].is_empty()
        && parts.iter().all(|part| legal(part))
        && text.len() <= LENGTH_MAX
}

/// The last characters of an OCID.
pub(super) fn suffix(ocid: &str) -> &str {
    // ASCII only, by construction.
    &ocid[ocid.len().saturating_sub(SUFFIX)..]
}
