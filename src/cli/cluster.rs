//! The way to kube-apiserver.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use kube::config::{KubeConfigOptions, Kubeconfig};

/// To reach kube-apiserver at all; it is in the same cluster.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Never `~/.kube/config`: a server must not start with a person's rights by accident.
pub(super) async fn kube_client(named: Option<PathBuf>) -> Result<kube::Client> {
    let config = match kubeconfig(named)? {
        Some(kubeconfig) => of_kubeconfig(kubeconfig).await?,
        None => kube::Config::incluster()
            .context("no cluster: name a kubeconfig with --kubeconfig or KUBECONFIG, or run in a pod")?,
    };
    client(config)
}

/// For commands that people run: `~/.kube/config`, too, when nothing else is there. Also where
/// it leads.
pub(super) async fn persons_kube_client(named: Option<PathBuf>) -> Result<(kube::Client, String)> {
    let mut config = match kubeconfig(named)? {
        Some(kubeconfig) => of_kubeconfig(kubeconfig).await?,
        None => match kube::Config::incluster() {
            Ok(config) => config,
            Err(_) => {
                let kubeconfig = Kubeconfig::read()
                    .map_err(|error| anyhow!("no cluster: name a kubeconfig with --kubeconfig or KUBECONFIG: {error}"));
                of_kubeconfig(kubeconfig?).await?
            }
        },
    };
    // A 503 is what somebody wants to read, now, and not after ten silent repetitions.
    config.default_retry = false;
    let server = config.cluster_url.to_string();
    Ok((client(config)?, server))
}

/// Named by the flag, or by KUBECONFIG.
fn kubeconfig(named: Option<PathBuf>) -> Result<Option<Kubeconfig>> {
    match named {
        // Its errors name the file, and their cause already.
        Some(file) => Kubeconfig::read_from(&file).map(Some).map_err(|error| anyhow!("--kubeconfig: {error}")),
        // One file, or several with colons between.
        None => Kubeconfig::from_env().map_err(|error| anyhow!("KUBECONFIG: {error}")),
    }
}

async fn of_kubeconfig(kubeconfig: Kubeconfig) -> Result<kube::Config> {
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
    config.context("the kubeconfig cannot be used")
}

fn client(mut config: kube::Config) -> Result<kube::Client> {
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    kube::Client::try_from(config).context("cannot use the credentials for kube-apiserver")
}
