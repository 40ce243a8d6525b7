//! Reads kube-apiserver in this process, over a connection that stays open. Tests poll with it:
//! each kubectl is a process that takes a hundred times the CPU, and many clusters share two cores.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{LazyLock, Mutex};
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};

use super::poller::roots;
use crate::support::authority::Identity;
use crate::support::client::{Answer, Client, Connection};

/// Drives the connections, because some tests have no runtime.
static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap());

/// kubectl waits longer, but no test needs an answer that takes longer.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The administrator's reads of one cluster.
pub struct Api {
    client: Client,
    idle: Mutex<Option<Connection>>,
}

// === impl Api ===

impl Api {
    /// With `ca.crt`, `admin.crt` and `admin.key` of this folder.
    pub fn new(address: SocketAddr, folder: &Path) -> Self {
        crate::support::crypto();
        let file = |name: &str| folder.join(name);
        let client = Client::new(address, roots(CertificateDer::from_pem_file(file("ca.crt")).unwrap()))
            .with_identity(Identity::read(&file("admin.crt"), &file("admin.key")));
        Self { client, idle: Mutex::default() }
    }

    /// The object or list at this path, if there is one and kube-apiserver answers.
    pub fn read(&self, path: &str) -> Option<Value> {
        let request = async { tokio::time::timeout(TIMEOUT, self.get(path)).await.ok().flatten() };
        let answer = tokio::task::block_in_place(|| RUNTIME.block_on(request))?;
        (answer.status == 200).then(|| answer.json())
    }

    async fn get(&self, path: &str) -> Option<Answer> {
        let idle = self.idle.lock().unwrap().take();
        let open = match idle.filter(|open| !open.closed.is_finished()) {
            Some(open) => open,
            None => self.client.connect().await.ok()?,
        };
        let answer = open.begin("GET", path).await.ok()?;
        *self.idle.lock().unwrap() = Some(open);
        Some(answer)
    }
}
