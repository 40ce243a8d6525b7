//! Names and counts in a sentence, and names in a URL. Pure.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// What names of Kubernetes are made of stays readable.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.');

/// `oci_queue_length{queue=orders}`: a metric, and the selector of the request, if any.
pub fn title(metric: &str, selector: &str) -> String {
    if selector.is_empty() { metric.to_owned() } else { format!("{metric}{{{selector}}}") }
}

/// `1 source`, `2 sources`.
pub fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// A name or a selector as it stands in the path or the query of a URL.
pub fn escaped(text: &str) -> String {
    utf8_percent_encode(text, ESCAPED).to_string()
}

/// At most so many bytes of a text. It ends with `…` if that is not all.
pub fn shortened(text: &str, bytes: usize) -> Cow<'_, str> {
    if text.len() <= bytes {
        return text.into();
    }
    format!("{}…", &text[..text.floor_char_boundary(bytes.saturating_sub('…'.len_utf8()))]).into()
}

/// The name that is meant by a misspelt one: it differs by at most two letters, or in case.
pub fn nearest<'n>(misspelt: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    let misspelt = misspelt.to_ascii_lowercase();
    let off = |name: &str| strsim::damerau_levenshtein(&misspelt, &name.to_ascii_lowercase());
    let (off, meant) = names.into_iter().map(|name| (off(name), name)).min()?;
    (off <= 2 && off < meant.len() / 2).then_some(meant)
}

/// The suggestion of it, after a blank; empty without one.
pub fn did_you_mean(meant: Option<&str>) -> String {
    meant.map(|meant| format!(" did you mean `{meant}`?")).unwrap_or_default()
}

/// At most `most` names, and no more than fit `bytes` with the note how many are left out: `a, b
/// and 3 more`.
pub fn that_fit(names: &[&str], bytes: usize, most: usize) -> String {
    // Room for " and N more".
    let limit = bytes.saturating_sub(20);
    let (mut text, mut told) = (String::new(), 0);
    for name in names.iter().take(most) {
        if text.len() + 2 + name.len() > limit {
            break;
        }
        if told > 0 {
            text.push_str(", ");
        }
        text.push_str(name);
        told += 1;
    }
    if told < names.len() {
        text.push_str(&format!(" and {} more", names.len() - told));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_at_most_two_letters_away() {
        let names = ["oci_queue_length", "oci_queue_visible", "jobs"];
        for (misspelt, meant) in [
            ("oci_queue_lenght", Some("oci_queue_length")),
            ("OCI_QUEUE_VISIBLE", Some("oci_queue_visible")),
            ("oci_queue_depth", None),
            ("job", Some("jobs")),
            ("logs", None),
        ] {
            assert_eq!(nearest(misspelt, names), meant, "{misspelt}");
        }
    }

    #[test]
    fn a_text_that_is_cut_says_so() {
        for (text, bytes, shown) in [
            ("", 5, ""),
            ("short", 5, "short"),
            ("longer", 5, "lo…"),
            ("üü", 4, "üü"),
            ("üüü", 5, "ü…"),
            ("long", 3, "…"),
        ] {
            assert_eq!(shortened(text, bytes), shown, "{text:?} {bytes}");
        }
    }

    #[test]
    fn what_does_not_fit_is_counted() {
        let names: Vec<String> = (0..25).map(|n| format!("queue-{n:02}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        assert_eq!(that_fit(&names[..2], 400, 10), "queue-00, queue-01");
        assert_eq!(that_fit(&names, 400, 3), "queue-00, queue-01, queue-02 and 22 more");
        assert_eq!(that_fit(&names, 45, 10), "queue-00, queue-01 and 23 more");
        for bytes in [40, 100, 400] {
            assert!(that_fit(&names, bytes, 100).len() <= bytes, "{bytes}");
        }
    }
}
