//! The targets of a Service, out of its EndpointSlices. Pure.
//!
//! <https://kubernetes.io/docs/concepts/services-networking/endpoint-slices/>

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use k8s_openapi::api::discovery::v1::EndpointSlice;

/// The most targets of a Service. Reads of more would take more than a core at the usual `refresh`.
pub const TARGETS_MAX: usize = 1000;

/// The port of each target.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Port {
    /// A port of the pods, whether the Service has it or not.
    Number(u16),
    /// A port of the Service, which may have another number in each pod.
    Name(String),
}

/// A ready pod, or another ready endpoint.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Target {
    /// The UID of the pod, by which it is known: addresses are used again. An endpoint that is no object has
    /// its address instead.
    pub uid: String,
    /// One of its addresses, and the port.
    pub address: SocketAddr,
}

/// Why a Service has no list of targets.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NoTargets {
    /// No port of the Service has the name. The other names are sorted.
    #[error("the Service has no port named {name:?}; there is {}", list(.there))]
    Port {
        /// The name that is missing.
        name: String,
        /// The names that there are.
        there: Vec<String>,
    },
    /// There are too many.
    #[error("the Service has {0} ready endpoints, and at most {TARGETS_MAX} are read")]
    Many(usize),
}

/// What matters of an EndpointSlice.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Slice {
    ports: Vec<(String, u16)>,
    endpoints: Vec<(String, IpAddr)>,
}

/// All targets of these slices, sorted by UID. A pod in several slices is one target: a Service of two IP
/// families has a slice for each, and slices overlap while they are rearranged.
pub fn targets<'s>(slices: impl IntoIterator<Item = &'s Slice>, port: &Port) -> Result<Vec<Target>, NoTargets> {
    let mut addresses: BTreeMap<&str, SocketAddr> = BTreeMap::new();
    let (mut there, mut lacks) = (BTreeSet::new(), false);
    for slice in slices {
        there.extend(slice.ports.iter().map(|(name, _)| name.as_str()));
        let Some(number) = slice.number(port) else {
            lacks |= !slice.endpoints.is_empty();
            continue;
        };
        for (uid, address) in &slice.endpoints {
            let address = SocketAddr::new(*address, number);
            // IPv4 before IPv6, and always the same one.
            addresses.entry(uid).and_modify(|known| *known = address.min(*known)).or_insert(address);
        }
    }
    if let (true, true, Port::Name(name)) = (addresses.is_empty(), lacks, port) {
        let there = there.into_iter().map(str::to_owned).collect();
        return Err(NoTargets::Port { name: name.clone(), there });
    }
    if addresses.len() > TARGETS_MAX {
        return Err(NoTargets::Many(addresses.len()));
    }
    Ok(addresses.into_iter().map(|(uid, address)| Target { uid: uid.to_owned(), address }).collect())
}

fn list(names: &[String]) -> String {
    let names: Vec<&str> = names.iter().map(|name| if name.is_empty() { "one without a name" } else { name }).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

// === impl Slice ===

impl From<EndpointSlice> for Slice {
    /// The endpoints that are ready and not terminating. A missing `ready` is true, and a missing
    /// `terminating` false.
    fn from(slice: EndpointSlice) -> Self {
        let ports = slice.ports.unwrap_or_default().into_iter().filter_map(|port| {
            let number = u16::try_from(port.port?).ok()?;
            port.protocol.is_none_or(|protocol| protocol == "TCP").then(|| (port.name.unwrap_or_default(), number))
        });
        let endpoints = slice.endpoints.into_iter().filter_map(|endpoint| {
            let conditions = endpoint.conditions.unwrap_or_default();
            let is_usable = conditions.ready != Some(false) && conditions.terminating != Some(true);
            // All addresses of an endpoint are the same endpoint. Names instead of addresses are deprecated.
            let address: IpAddr = endpoint.addresses.first()?.parse().ok()?;
            // An empty one is none: all endpoints would be one target.
            let uid = endpoint.target_ref.and_then(|target| target.uid).filter(|uid| !uid.is_empty());
            let uid = uid.unwrap_or_else(|| address.to_string());
            is_usable.then_some((uid, address))
        });
        Self { ports: ports.collect(), endpoints: endpoints.collect() }
    }
}

impl Slice {
    fn number(&self, port: &Port) -> Option<u16> {
        match port {
            Port::Number(number) => Some(*number),
            Port::Name(name) => self.ports.iter().find(|(known, _)| known == name).map(|(_, number)| *number),
        }
    }
}

// === impl Port ===

impl FromStr for Port {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        match text.parse::<u16>() {
            Ok(number) if is_number && number > 0 => Ok(Self::Number(number)),
            _ if is_number => Err("a port is a number from 1 to 65535, or the name of a port of the Service"),
            _ => Ok(Self::Name(text.to_owned())),
        }
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Name(name) => name.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn slice(family: &str, ports: Value, endpoints: Value) -> Slice {
        let mut object = json!({"metadata": {"name": "s"}, "addressType": family});
        (object["ports"], object["endpoints"]) = (ports, endpoints);
        serde_json::from_value::<EndpointSlice>(object).unwrap().into()
    }

    fn pod(uid: &str, address: &str) -> Value {
        json!({"addresses": [address], "conditions": {"ready": true}, "targetRef": {"kind": "Pod", "uid": uid}})
    }

    fn read(slices: &[Slice], port: &str) -> Result<Vec<String>, String> {
        let targets = targets(slices, &port.parse().unwrap()).map_err(|error| error.to_string())?;
        Ok(targets.into_iter().map(|Target { uid, address }| format!("{uid} {address}")).collect())
    }

    #[test]
    fn a_pod_of_two_families_is_one_target() {
        let ports = || json!([{"name": "metrics", "port": 9100, "protocol": "TCP"}]);
        let six = slice("IPv6", ports(), json!([pod("b", "fd00::2"), pod("a", "fd00::1")]));
        let four = slice("IPv4", ports(), json!([pod("a", "10.0.0.1"), pod("b", "10.0.0.2")]));
        let expected = Ok(vec!["a 10.0.0.1:9100".to_owned(), "b 10.0.0.2:9100".to_owned()]);
        assert_eq!(read(&[six.clone(), four.clone()], "metrics"), expected);
        assert_eq!(read(&[four, six.clone()], "metrics"), expected);
        assert_eq!(read(&[six], "metrics"), Ok(vec!["a [fd00::1]:9100".to_owned(), "b [fd00::2]:9100".to_owned()]));
    }

    #[test]
    fn only_ready_endpoints_that_do_not_terminate_are_targets() {
        let endpoint = |uid: &str, conditions: Value| json!({"addresses": ["10.0.0.1"], "conditions": conditions, "targetRef": {"uid": uid}});
        let endpoints = json!([
            endpoint("ready", json!({"ready": true, "serving": true, "terminating": false})),
            endpoint("not-ready", json!({"ready": false, "serving": false})),
            endpoint("terminating", json!({"ready": true, "terminating": true})),
            endpoint("unknown", json!({})),
            {"addresses": ["10.0.0.9"]},
            {"addresses": ["10.0.0.8"], "targetRef": {"uid": ""}},
            {"addresses": ["10.0.0.7"], "targetRef": {"uid": ""}},
            {"addresses": ["host.example.com"], "targetRef": {"uid": "named"}},
        ]);
        let slices = [slice("IPv4", json!([]), endpoints)];
        let uids: Vec<String> =
            targets(&slices, &Port::Number(80)).unwrap().into_iter().map(|target| target.uid).collect();
        assert_eq!(uids, ["10.0.0.7", "10.0.0.8", "10.0.0.9", "ready", "unknown"]);
    }

    #[test]
    fn a_port_has_a_name_of_the_service_or_any_number() {
        let one = slice(
            "IPv4",
            json!([{"name": "web", "port": 8080}, {"name": "metrics", "port": 9100}]),
            json!([pod("a", "10.0.0.1")]),
        );
        // The number of a port by name may differ between pods.
        let other = slice(
            "IPv4",
            json!([{"name": "metrics", "port": 9101}, {"name": "metrics", "port": 1, "protocol": "UDP"}]),
            json!([pod("b", "10.0.0.2")]),
        );
        let both = [one, other];
        assert_eq!(read(&both, "metrics"), Ok(vec!["a 10.0.0.1:9100".to_owned(), "b 10.0.0.2:9101".to_owned()]));
        assert_eq!(read(&both, "7"), Ok(vec!["a 10.0.0.1:7".to_owned(), "b 10.0.0.2:7".to_owned()]));
        // Pods without this port have nothing to read.
        assert_eq!(read(&both, "web"), Ok(vec!["a 10.0.0.1:8080".to_owned()]));
        let none = Err("the Service has no port named \"web2\"; there is metrics, web".to_owned());
        assert_eq!(read(&both, "web2"), none);
        let unnamed = [slice("IPv4", json!([{"port": 80}]), json!([pod("a", "10.0.0.1")]))];
        assert_eq!(
            read(&unnamed, "web"),
            Err("the Service has no port named \"web\"; there is one without a name".to_owned())
        );
        // While there are no pods, the ports are unknown.
        assert_eq!(read(&[slice("IPv4", Value::Null, json!([]))], "web"), Ok(vec![]));
        assert_eq!(read(&[], "web"), Ok(vec![]));
        for (text, is_port) in [("0", false), ("65535", true), ("65536", false), ("-1", true), ("web", true)] {
            assert_eq!(text.parse::<Port>().is_ok(), is_port, "{text}");
        }
    }

    #[test]
    fn there_are_at_most_so_many() {
        let pods = |count: usize| {
            let pods: Vec<Value> = (0..count).map(|at| pod(&at.to_string(), "10.0.0.1")).collect();
            targets(&[slice("IPv4", json!([]), json!(pods))], &Port::Number(1)).map(|targets| targets.len())
        };
        assert_eq!(pods(TARGETS_MAX), Ok(TARGETS_MAX));
        assert_eq!(pods(TARGETS_MAX + 1), Err(NoTargets::Many(TARGETS_MAX + 1)));
    }
}
