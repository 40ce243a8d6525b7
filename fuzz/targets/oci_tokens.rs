//! The answers of token services, and what describes a region: nothing gets into a header that is
//! no token, and no region leads to what is no host.
//!
//! Input: the body of an answer, or the value of `OCI_REGION_METADATA`.
#![no_main]

use depthgauge::oci::declared;
use depthgauge::oci::endpoint::Endpoint;
use depthgauge::oci::environment::Environment;
use depthgauge::oci::token::{self, Claims, ServiceAccount};
use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    for token in [token::from_cluster(body), token::from_json(body)].into_iter().flatten() {
        assert!(token.bytes().all(|b| b.is_ascii_graphic() && b != b'"') && !token.is_empty(), "{token:?}");
        assert_eq!(token::bare(&token::key_id(&token)), Some(token.as_str()));
        look_into(&token);
    }
    let Ok(text) = std::str::from_utf8(body) else { return };
    look_into(text);
    let var = |name: &str| (name == "OCI_REGION_METADATA").then(|| text.to_owned());
    if let Ok(home) = declared::find(&Environment::new(&var, &|_| false), "ap-sydney-2") {
        let place = home.queue_control_plane().expect("a region that is found is somewhere");
        assert!(place.parse::<Endpoint>().is_ok(), "{place:?}");
    }
});

fn look_into(jwt: &str) {
    if let Some(claims) = Claims::of(jwt) {
        let _ = claims.ends();
        let left = claims.left(Timestamp::UNIX_EPOCH);
        assert!(left.is_none_or(|left| !left.is_zero()), "{claims:?}");
    }
    if let Some(ServiceAccount { namespace, name }) = ServiceAccount::of(jwt) {
        assert!(!format!("{namespace}{name}").contains(['\'', ' ', ':', '}']), "{namespace:?} {name:?}");
    }
}
