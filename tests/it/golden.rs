//! Wire documents in `tests/golden/`: what is answered must equal what is there.
//!
//! `UPDATE_GOLDEN=1 cargo test` writes them anew; the diff is then for a reviewer.

use std::path::Path;

/// After what a test writes into a page.
const PART_END: &str = "<!-- end of generated -->";

/// Compares a JSON text with `tests/golden/NAME`; timestamps are normalised.
pub fn check(name: &str, json: &str) {
    let mut value: serde_json::Value = serde_json::from_str(json).unwrap_or_else(|error| panic!("{error}: {json}"));
    normalise(&mut value);
    check_text(name, &format!("{}\n", serde_json::to_string_pretty(&value).unwrap()));
}

/// Compares a text with `tests/golden/NAME`, byte for byte.
pub fn check_text(name: &str, text: &str) {
    check_file(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name), text);
}

/// Compares a text with a file that is made of what the program says, byte for byte.
pub fn check_file(path: &Path, text: &str) {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(path, text).unwrap();
        return;
    }
    let golden = std::fs::read_to_string(path).unwrap_or_default();
    assert_eq!(text, golden, "{} differs; if that is right: UPDATE_GOLDEN=1 cargo test", path.display());
}

/// Compares a text with the part of a page between two comments, which the rest of the page surrounds.
pub fn check_part(page: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(page);
    let whole = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{page}: {error}"));
    let (before, rest) = whole.split_once("<!-- generated: ").unwrap_or_else(|| panic!("{page}: nothing is generated"));
    let (command, rest) = rest.split_once(" -->\n").unwrap_or_else(|| panic!("{page}: a comment is open"));
    let (_, after) = rest.split_once(PART_END).unwrap_or_else(|| panic!("{page} lacks {PART_END}"));
    let text = text.trim_matches('\n');
    check_file(&path, &format!("{before}<!-- generated: {command} -->\n\n{text}\n\n{PART_END}{after}"));
}

/// A text with each timestamp replaced by the same one.
pub fn undated(text: &str) -> String {
    const NOW: &str = "2026-11-22T14:02:03Z";
    let mut text = text.to_owned();
    let digits = |text: &str, mask: &str| {
        text.len() == mask.len()
            && text.bytes().zip(mask.bytes()).all(|(a, b)| if b == b'0' { a.is_ascii_digit() } else { a == b })
    };
    for at in 0..text.len().saturating_sub(NOW.len() - 1) {
        if text.get(at..at + NOW.len()).is_some_and(|part| digits(part, "0000-00-00T00:00:00Z")) {
            text.replace_range(at..at + NOW.len(), NOW);
        }
    }
    text
}

/// A value list in protobuf as hexadecimal digits, with its timestamps replaced likewise.
pub fn undated_protobuf(bytes: &[u8]) -> String {
    let mut bytes = bytes.to_vec();
    // Seconds since 1970 are five bytes here until the year 3058.
    let times: Vec<usize> =
        bytes.windows(3).enumerate().filter(|(_, window)| *window == [0x1a, 8, 8]).map(|(at, _)| at).collect();
    for at in times {
        bytes[at + 3..at + 8].copy_from_slice(&[0x87, 0xec, 0x8b, 0xd8, 0x06]);
    }
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn normalise(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Object(fields) => {
            for (key, value) in fields {
                match value.as_str() {
                    Some(text) if key == "timestamp" => {
                        assert!(text.len() == 20 && text.ends_with('Z'), "{text}");
                        *value = "2026-11-22T14:02:03Z".into();
                    }
                    _ => normalise(value),
                }
            }
        }
        serde_json::Value::Array(items) => items.iter_mut().for_each(normalise),
        _ => {}
    }
}
