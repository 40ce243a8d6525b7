//! The network between kube-apiserver and replicas: TCP from one address to others, and what a
//! kubelet contributes, a look at `/readyz` of each replica.
//!
//! Like a Service, the proxy chooses for each new connection and leaves those that are open.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// A kubelet looks every 10 s or so; the test has less patience, and drains take less time.
const LOOK: Duration = Duration::from_millis(100);

/// Ends what it carries when dropped.
pub struct Proxy {
    pub address: SocketAddr,
    _task: Task,
}

/// Runs until dropped.
pub struct Task(JoinHandle<()>);

// === impl Proxy ===

impl Proxy {
    /// Each new connection goes where `choose` says, or is closed at once.
    pub async fn bind(address: SocketAddr, choose: impl Fn() -> Option<SocketAddr> + Send + 'static) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = Task::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                while connections.try_join_next().is_some() {}
                if let Some(target) = choose() {
                    connections.spawn(carry(stream, target));
                }
            }
        });
        Self { address, _task: task }
    }

    /// Everything goes to one place.
    pub async fn to(address: SocketAddr, target: SocketAddr) -> Self {
        Self::bind(address, move || Some(target)).await
    }
}

/// Errors are what the two ends see as well.
async fn carry(mut stream: TcpStream, target: SocketAddr) {
    let Ok(mut other) = TcpStream::connect(target).await else { return };
    let _ = stream.set_nodelay(true).and(other.set_nodelay(true));
    let _ = tokio::io::copy_bidirectional(&mut stream, &mut other).await;
}

// === readiness ===

/// Looks at `/readyz` of each of these admin addresses, and tells of every change.
pub fn watch_readiness(admins: Vec<SocketAddr>, mut tell: impl FnMut(&[bool]) + Send + 'static) -> Task {
    // No connection is kept: a replica that drains shall not have to wait for this one.
    let client = reqwest::Client::builder().pool_max_idle_per_host(0).timeout(Duration::from_secs(1)).build().unwrap();
    Task::spawn(async move {
        let mut last = Vec::new();
        let mut look = tokio::time::interval(LOOK);
        loop {
            look.tick().await;
            let mut ready = Vec::new();
            for admin in &admins {
                let answer = client.get(format!("http://{admin}/readyz")).send().await;
                ready.push(answer.is_ok_and(|answer| answer.status().is_success()));
            }
            if ready != last {
                // It may run kubectl.
                tokio::task::block_in_place(|| tell(&ready));
                last = ready;
            }
        }
    })
}

impl Task {
    /// Starts it.
    pub fn spawn(work: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(work))
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}
