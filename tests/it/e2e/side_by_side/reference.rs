//! The reference adapter, beside our server. It serves custom metrics, too, for
//! [`super::super::zero`].

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use super::super::cluster::{run, script};
use super::super::netns::Netns;
use super::super::proxy::Proxy;
use super::super::world::World;

/// Killed when the test ends.
pub struct Reference {
    child: Child,
    pub address: SocketAddr,
    /// Where values of custom metrics are posted to, under `/write-metrics`.
    pub values: SocketAddr,
    _to_cluster: Proxy,
    _netns: Netns,
}

impl Reference {
    /// Starts it; it has to be waited for. Its second port is fixed, 8080, so it gets a network
    /// of its own.
    pub async fn start(world: &World) -> Self {
        let cluster = &world.cluster;
        let netns = Netns::make();
        let text = std::fs::read_to_string(cluster.kubeconfig()).unwrap();
        let (text, to_cluster) = netns.kubeconfig(cluster, &text).await;
        let kubeconfig = world.write("kubeconfig-of-the-reference", &text);
        let built = run(script("hack/setup").arg("reference"));
        assert!(built.ok, "{}", built.stderr);
        let address = SocketAddr::from((netns.pod(0), 6443));
        let enter = netns.enter();
        let mut command = Command::new(&enter[0]);
        command.args(&enter[1..]).arg(built.stdout.trim());
        for whose in ["authentication", "authorization", "lister"] {
            command.arg(format!("--{whose}-kubeconfig={}", kubeconfig.display()));
        }
        let child = command
            .args([format!("--bind-address={}", address.ip()), format!("--secure-port={}", address.port())])
            .arg(format!("--tls-cert-file={}", cluster.file("apiserver.crt").display()))
            .arg(format!("--tls-private-key-file={}", cluster.file("apiserver.key").display()))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let values = SocketAddr::from((netns.pod(0), 8080));
        Self { child, address, values, _to_cluster: to_cluster, _netns: netns }
    }
}

impl Drop for Reference {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
