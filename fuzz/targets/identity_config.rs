//! The identity ConfigMap: what cannot be read changes nothing, and what can be read lets in
//! nobody whom it does not name.
//!
//! Input: `key=value`, separated by NUL; `@CA@` in a value is the aggregator's CA.
#![no_main]

use std::collections::BTreeMap;
use std::sync::LazyLock;

use depthgauge_fuzz::{Gate, Other, PROXY};
use http::{HeaderMap, HeaderValue};
use libfuzzer_sys::fuzz_target;

static GATE: LazyLock<Gate> = LazyLock::new(Gate::new);

fuzz_target!(|input: &str| {
    let mut headers = HeaderMap::new();
    headers.insert("x-remote-user", HeaderValue::from_static("u"));
    let data: BTreeMap<String, String> = input
        .split('\0')
        .filter_map(|pair| pair.split_once('='))
        .map(|(key, value)| (key.to_owned(), value.replace("@CA@", &GATE.authority)))
        .collect();
    // What is said of users' certificates stands apart, and is not what is asked for here.
    let mut of_the_proxy = data.clone();
    let of_users = of_the_proxy.remove("client-ca-file");
    GATE.trust.apply(&GATE.usual()).expect("the usual ConfigMap");
    let readable = GATE.trust.apply(&of_the_proxy).is_ok();
    GATE.trust.apply(&GATE.usual()).expect("the usual ConfigMap");
    let applied = GATE.trust.apply(&data);
    assert!(applied.is_err() || readable, "read by what it says of others: {data:?}");
    assert!(applied.is_ok() || !readable || of_users.is_some(), "misread for nothing: {data:?}");
    let admitted = |other| GATE.ask(other, &headers).map(|question| question.caller.user.clone());

    assert_eq!(admitted(Other::WrongAuthority), None, "{data:?}");
    if !readable {
        assert_eq!(admitted(Other::Proxy).as_deref(), Some("u"), "what was before is no longer in force: {data:?}");
        let wrong_name = admitted(Other::WrongName);
        assert_ne!(wrong_name.as_deref(), Some("u"), "{data:?}");
        assert!(wrong_name.is_none() || of_users.is_some(), "{data:?}");
        return;
    }
    let strings = |key: &str| -> Vec<String> {
        let json = data.get(key).filter(|json| !json.is_empty());
        json.map(|json| serde_json::from_str(json).expect("it was read")).unwrap_or_default()
    };
    let names = strings("requestheader-allowed-names");
    let trusted = data.get("requestheader-client-ca-file").is_some_and(|pem| pem.contains(&GATE.authority));
    let reads_user =
        strings("requestheader-username-headers").iter().any(|name| name.eq_ignore_ascii_case("x-remote-user"));
    for (other, name) in [(Other::Proxy, PROXY), (Other::WrongName, "somebody-else")] {
        let allowed = names.is_empty() || names.iter().any(|allowed| allowed == name);
        if admitted(other).as_deref() == Some("u") {
            assert!(trusted && reads_user && allowed, "{other:?} let in by {data:?}");
        }
    }
});
