//! What texts may not show: of an OCID, only its last characters. Pure.
//!
//! Sentences are made without OCIDs; this is for those that quote what a user wrote.

/// How every OCID begins.
const OCID: &str = "ocid1.";
/// Of each, this many characters are shown.
const TAIL: usize = 6;

/// The text, with `…` and the last six characters for every OCID in it.
pub(super) fn redacted(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(OCID) {
        let (before, ocid) = rest.split_at(start);
        let end = ocid.find(|c: char| !(c.is_ascii_alphanumeric() || "._-".contains(c))).unwrap_or(ocid.len());
        let (ocid, after) = ocid.split_at(end);
        safe.push_str(before);
        safe.push('…');
        safe.push_str(&ocid[ocid.len() - TAIL..]);
        rest = after;
    }
    safe.push_str(rest);
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ocid_is_its_last_six_characters_wherever_it_stands() {
        for (text, safe) in [
            ("", ""),
            ("nothing to hide", "nothing to hide"),
            ("ocid1.queue.oc1.eu-frankfurt-1.amaaaaaaxyz123456", "…123456"),
            ("a \"ocid1.queue.oc1..aaabcdef\", ocid1.user.oc1..x_y-z12: b", "a \"…abcdef\", …_y-z12: b"),
            ("ends with ocid1.", "ends with …ocid1."),
        ] {
            assert_eq!(redacted(text), safe, "{text}");
        }
    }
}
