//! OCIDs, endpoints and regions: all end up in a URL that is signed, so nothing may hide in them.
//!
//! Input: the text of one of them.
#![no_main]

use depthgauge::oci::declared;
use depthgauge::oci::endpoint::Endpoint;
use depthgauge::oci::environment::Environment;
use depthgauge::oci::queue::QueueId;
use depthgauge::oci::region::Region;
use http::Uri;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &str| {
    if let Ok(id) = input.parse::<QueueId>() {
        assert_eq!(id.to_string(), input);
        let (path, suffix) = (id.stats_path(), id.suffix());
        let uri: Uri = path.parse().expect("an OCID needs no encoding");
        assert_eq!((uri.path(), uri.query()), (path.as_str(), None));
        assert_eq!(path.matches('/').count(), 4, "{path}");
        assert!(input.ends_with(suffix) && suffix.len() <= 6, "{input:?}");
        assert!(input.contains(&format!(".{}.", id.region())), "{input:?}");
    }
    if let Ok(endpoint) = input.parse::<Endpoint>() {
        let printed = endpoint.to_string();
        assert_eq!(printed.parse::<Endpoint>().as_ref().ok(), Some(&endpoint), "{input:?} prints as {printed:?}");
        let uri: Uri = printed.parse().expect("a printed endpoint is a URI");
        assert!(uri.path() == "/" && uri.query().is_none() && !printed.contains(['@', '#', '?']), "{printed:?}");
        let host = uri.host().expect("an endpoint has a host");
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let loopback = host == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
        assert!(uri.scheme_str() == Some("https") || loopback, "plain HTTP to {printed:?}");
    }
    // A domain that somebody gives to regions which nobody knows, and a region.
    let (realm, region) = input.split_once('\n').unwrap_or(("oraclecloud.com", input));
    let var = |name: &str| (name == "OCI_DEFAULT_REALM").then(|| realm.to_owned());
    if let Ok(home) = declared::find(&Environment::new(&var, &|_| false), region) {
        let place = home.queue_control_plane().expect("a region that is found is somewhere");
        let endpoint: Endpoint = place.parse().expect("and that is an endpoint");
        assert_eq!(endpoint.to_string(), place);
    }
    if let Some(region) = Region::find(input) {
        assert_eq!(Region::find(region.name), Some(region));
        assert_eq!(Region::find(region.code), Some(region));
        assert!(region.queue_control_plane().parse::<Endpoint>().is_ok(), "{region:?}");
    }
});
