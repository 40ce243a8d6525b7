//! The way to kube-apiserver.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use kube::config::{KubeConfigOptions, Kubeconfig};

/// To reach kube-apiserver at all; it is in the same cluster.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Never `~/.kube/config`: a server must not start with a person's rights by accident.
pub(super) async fn kube_client(named: Option<PathBuf>) -> Result<kube::Client> {
    let kubeconfig = match named {
        // Its errors name the file, and their cause already.
        Some(file) => Some(Kubeconfig::read_from(&file).map_err(|error| anyhow!("--kubeconfig: {error}"))?),
        // One file, or several with colons between.
        None => Kubeconfig::from_env().map_err(|error| anyhow!("KUBECONFIG: {error}"))?,
    };
    let mut config = match kubeconfig {
        Some(kubeconfig) => kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
            .await
            .context("the kubeconfig cannot be used")?,
        None => kube::Config::incluster()
            .context("no cluster: name a kubeconfig with --kubeconfig or KUBECONFIG, or run in a pod")?,
    };
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    kube::Client::try_from(config).context("cannot use the credentials for kube-apiserver")
}
