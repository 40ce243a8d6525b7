//! Accept headers: what is agreed on is one of the things offered, and one that the headers ask
//! for; whatever they say, `*/*` after it finds something.
//!
//! Input: one header a line.
#![no_main]

use depthgauge::api::accept::{Conversion, Encoding, negotiate};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &str| {
    let headers: Vec<&str> = input.lines().collect();
    let offer = |encoding: Encoding, conversion: Option<Conversion<'_>>| match conversion {
        None => Some((encoding, false)),
        Some(Conversion { kind: "Table", group: "meta.k8s.io", version: "v1" }) => Some((encoding, true)),
        Some(_) => None,
    };
    let accepted = negotiate(|| headers.iter().copied(), offer);
    if let Some(accepted) = accepted {
        let (encoding, table) = accepted.offer;
        // Both halves of a type are trimmed, as goautoneg does it.
        let lower = input.to_ascii_lowercase().split('/').map(str::trim).collect::<Vec<_>>().join("/");
        let silent = headers.iter().all(|header| header.is_empty());
        assert!(silent || lower.contains(encoding.media_type()) || lower.contains('*'), "{encoding:?} for {input:?}");
        assert!(!table || input.contains("Table"), "a Table for {input:?}");
        assert!(!accepted.pretty || input.contains("pretty"), "indented for {input:?}");
    }
    let forgiving = || headers.iter().copied().chain(["*/*"]);
    let may_refuse = input.contains(['q', 'Q']);
    assert!(may_refuse || negotiate(forgiving, offer).is_some(), "nothing for {input:?} and */*");
    // Nothing that is wanted is not met where everything is offered.
    let only_json = |encoding: Encoding, conversion: Option<Conversion<'_>>| {
        (encoding == Encoding::Json && conversion.is_none()).then_some(())
    };
    assert!(negotiate(|| headers.iter().copied(), only_json).is_none() || accepted.is_some(), "{input:?}");
});
