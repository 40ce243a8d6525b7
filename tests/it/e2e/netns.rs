//! A network namespace with a few addresses, which this machine reaches. Endpoints have to be in
//! one, because Kubernetes takes no loopback address for them; the reference adapter, because it
//! binds a port that others like as well.

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::cluster::{Cluster, run};
use super::proxy::Proxy;

const PREFIX: &str = "depthgauge-e2e-";
static MADE: AtomicUsize = AtomicUsize::new(0);

/// Deleted when the test ends.
pub struct Netns {
    name: String,
    /// This machine's end of the cable, named so that it fits into 15 bytes.
    link: String,
    net: u32,
}

impl Netns {
    /// With two addresses. Needs root, or CAP_NET_ADMIN and CAP_SYS_ADMIN.
    pub fn make() -> Self {
        Self::with(2)
    }

    /// With so many addresses, at most five.
    pub fn with(pods: u32) -> Self {
        assert!(pods <= 5, "{pods} addresses in a net of 8");
        forget_the_dead();
        // Several tests of one process may have one each.
        let (process, number) = (std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        // One of the 16384 nets of 8 addresses in 198.18.0.0/15, which RFC 2544 keeps for tests.
        let net = u32::from(Ipv4Addr::new(198, 18, 0, 0)) + 8 * fastrand::u32(0..16_384);
        let netns = Self { name: format!("{PREFIX}{process}.{number}"), link: format!("dg{process}.{number}"), net };
        let made = run(Command::new("ip").args(["netns", "add", &netns.name]));
        assert!(made.ok, "this test needs `ip netns add`: root, and iproute2 (hack/setup system): {}", made.stderr);
        let (name, link) = (&netns.name, &netns.link);
        ip(&format!("link add {link} type veth peer name pods netns {name}"));
        ip(&format!("address add {}/29 dev {link}", netns.host()));
        ip(&format!("link set {link} up"));
        for pod in 0..pods {
            ip(&format!("-netns {name} address add {}/29 dev pods", netns.pod(pod)));
        }
        ip(&format!("-netns {name} link set pods up"));
        ip(&format!("-netns {name} link set lo up"));
        ip(&format!("-netns {name} route add default via {}", netns.host()));
        netns
    }

    /// This machine, as seen from inside.
    pub fn host(&self) -> Ipv4Addr {
        (self.net + 1).into()
    }

    /// One of the addresses inside.
    pub fn pod(&self, number: u32) -> Ipv4Addr {
        (self.net + 2 + number).into()
    }

    /// Runs the command that follows inside; in the same process.
    pub fn enter(&self) -> Vec<String> {
        ["ip", "netns", "exec", &self.name].map(str::to_owned).to_vec()
    }
}

impl Netns {
    /// A copy of a kubeconfig's text that works inside, with what carries it to the cluster.
    pub async fn kubeconfig(&self, cluster: &Cluster, text: &str) -> (String, Proxy) {
        let address = cluster.address();
        let proxy = Proxy::to((self.host(), 0).into(), address).await;
        let outside = format!("server: \"https://{address}\"");
        assert!(text.contains(&outside), "{outside} is not in {text}");
        // The certificate knows no address but ours.
        let inside = format!("server: \"https://{}\", tls-server-name: localhost", proxy.address);
        (text.replace(&outside, &inside), proxy)
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["link", "delete", &self.link]).status();
        let _ = Command::new("ip").args(["netns", "delete", &self.name]).status();
    }
}

/// What a test left behind that was killed; the processes in it went with the test's group.
fn forget_the_dead() {
    let listed = run(Command::new("ip").args(["netns", "list"]));
    let names = listed.stdout.lines().filter_map(|line| line.split_whitespace().next());
    for name in names {
        let process = name.strip_prefix(PREFIX).and_then(|rest| rest.split('.').next());
        if process.is_some_and(|process| !Path::new("/proc").join(process).exists()) {
            let _ = Command::new("ip").args(["netns", "delete", name]).status();
        }
    }
}

fn ip(arguments: &str) {
    let said = run(Command::new("ip").args(arguments.split(' ')));
    assert!(said.ok, "ip {arguments}: {}", said.stderr);
}
