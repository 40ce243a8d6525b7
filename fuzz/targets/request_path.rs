//! Request lines: what is taken for a metric has a namespace and a name that can exist, and the
//! query is read as everybody reads it.
//!
//! Input: `METHOD URI`.
#![no_main]

use depthgauge::request::{Attributes, PREFIX, Target, query_value};
use http::{Method, Uri};
use libfuzzer_sys::fuzz_target;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

fuzz_target!(|input: &str| {
    let Some((method, uri)) = input.split_once(' ') else { return };
    let (Ok(method), Ok(uri)) = (method.parse::<Method>(), uri.parse::<Uri>()) else { return };
    let attributes = Attributes::of(&method, &uri);

    if let Target::Values { namespace, metric } = &attributes.target {
        assert!((1..=63).contains(&namespace.len()) && (1..=253).contains(&metric.len()), "{uri}");
        assert!(uri.path().starts_with(PREFIX), "{uri}");
        // The same question written otherwise is the same question.
        let encoded = |text| utf8_percent_encode(text, NON_ALPHANUMERIC);
        let path = format!("{PREFIX}/namespaces/{}/{}", encoded(namespace), encoded(metric));
        let again = Attributes::of(&method, &path.parse().expect("percent-encoded"));
        assert_eq!(again.target, attributes.target, "{uri}");
    }
    // Whoever asks for a list is never taken for one who watches, and the other way round.
    let pairs: Vec<_> = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()).collect();
    let watch = pairs.iter().find(|(key, _)| key == "watch");
    let watch = watch.is_some_and(|(_, value)| !matches!(value.to_ascii_lowercase().as_str(), "0" | "false"));
    let reads = matches!(method.as_str(), "GET" | "HEAD") && attributes.target != Target::Path;
    assert_eq!(attributes.verb == "watch", reads && watch, "{method} {uri}");
    assert_eq!(attributes.verb == "list", reads && !watch, "{method} {uri}");

    for key in pairs.iter().map(|(key, _)| key.as_ref()).chain(["labelSelector", "watch"]).filter(|key| !key.is_empty())
    {
        let expected = pairs.iter().find(|(name, _)| name == key).map(|(_, value)| value);
        assert_eq!(query_value(uri.query(), key).as_ref(), expected, "{key:?} of {uri}");
    }
});
