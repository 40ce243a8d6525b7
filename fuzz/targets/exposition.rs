//! Expositions and series selectors: no input panics or takes long, an exposition that is cut off
//! is none, and what is read is read again from its canonical form.
//!
//! Input: a series selector, and on further lines an exposition.
#![no_main]

use depthgauge::exposition::{Format, LABELS_MAX, Sample, SeriesSelector, parse};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let end = input.iter().position(|byte| *byte == b'\n').unwrap_or(input.len());
    let (line, body) = (&input[..end], input.get(end + 1..).unwrap_or_default());
    let selector = std::str::from_utf8(line).ok().and_then(|line| line.parse::<SeriesSelector>().ok());
    if let Some(selector) = &selector {
        let printed = selector.to_string();
        let again: SeriesSelector = printed.parse().expect("what is printed is a selector");
        assert_eq!(again.to_string(), printed);
    }
    for format in [Format::Text, Format::OpenMetrics] {
        let Some(samples) = all(body, format) else { continue };
        let mut printed: String = samples.iter().map(canonical).collect();
        if format == Format::OpenMetrics {
            assert!(all(printed.as_bytes(), format).is_none(), "without an end: {printed:?}");
            printed.push_str("# EOF\n");
        }
        let again = all(printed.as_bytes(), format).expect("what is printed is an exposition");
        assert_eq!(again.len(), samples.len());
        for (one, other) in samples.iter().zip(&again) {
            assert_eq!((&one.name, &one.labels, one.written), (&other.name, &other.labels, other.written));
            assert_eq!(one.value.to_bits(), other.value.to_bits());
            assert!(one.labels.len() <= LABELS_MAX);
            let Some(selector) = &selector else { continue };
            assert_eq!(selector.matches(one), selector.matches(other));
            assert!(!selector.matches(one) || selector.name() == one.name);
        }
    }
});

/// All samples, unless the text is invalid.
fn all(body: &[u8], format: Format) -> Option<Vec<Sample<'_>>> {
    parse(body, format).ok()?.collect::<Result<_, _>>().ok()
}

/// With every name in quotation marks.
fn canonical(sample: &Sample<'_>) -> String {
    let labels: String =
        sample.labels.iter().map(|(name, value)| format!(",{}={}", quote(name), quote(value))).collect();
    format!("{{{}{labels}}} {}\n", quote(&sample.name), sample.written)
}

fn quote(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n"))
}
