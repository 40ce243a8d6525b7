//! `version`: of this program, of the server that HPAs use, and of Kubernetes.

use anyhow::Result;
use serde::Serialize;

use super::cluster::{Connection, Flags, is_without_cluster};
use super::failure::{Failure, on_one_line};
use super::kube_api::{CHECK, RequestError};
use super::output::{self, Format};
use crate::request::{GROUP, VERSION};
use crate::telemetry;

/// `info.title` of the server's OpenAPI document.
const TITLE: &str = "depthgauge";

const EXAMPLES: &str = "\
Examples:
  depthgauge version
  depthgauge version --client -o json";

/// Print the versions of this program, of the server and of Kubernetes
///
/// A version that is not known is left out, with the cause. Exits with 3 if the cluster or the server can't be reached,
/// and with 1 if the kubeconfig can't be used or its user is refused. Without a kubeconfig, or without depthgauge in the
/// cluster, it exits with 0.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Args {
    /// Print the version of this program only, and connect to no cluster
    #[arg(long)]
    client: bool,
    /// Output format [default: text]
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    output: Option<Format>,
    #[command(flatten)]
    cluster: Flags,
}

/// What is known of the versions.
#[derive(Debug, Default, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Versions {
    /// Version of this program.
    client: &'static str,
    /// Version of the depthgauge that serves the external metrics API of the cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    server: Option<String>,
    /// Version of Kubernetes.
    #[serde(skip_serializing_if = "Option::is_none")]
    kubernetes: Option<String>,
    /// Why a version is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

// === impl Args ===

impl Args {
    pub(super) async fn run(self) -> Result<()> {
        let Self { client, output, cluster } = self;
        let mut versions = Versions { client: telemetry::VERSION, ..Versions::default() };
        let mut result = Ok(());
        if !client {
            match cluster.connect().await {
                Ok(connection) => result = versions.read(&connection).await.map_err(Into::into),
                Err(error) => {
                    versions.error = Some(on_one_line(&error));
                    result = if is_without_cluster(&error) { Ok(()) } else { Err(error) };
                }
            }
        }
        match output {
            Some(format) => format.print(&versions)?,
            None => output::print(&versions.text(client, result.is_ok())),
        }
        result
    }
}

// === impl Versions ===

impl Versions {
    /// Reads the two versions of the cluster. Fails if one of the servers can't be reached, or refuses the user.
    async fn read(&mut self, connection: &Connection) -> Result<(), Failure> {
        let kube_api = connection.kube_api();
        match kube_api.hello().await {
            Ok(hello) => {
                let version = hello.version.as_ref().and_then(|version| version["gitVersion"].as_str());
                self.kubernetes = version.map(str::to_owned);
            }
            Err(trouble) => {
                self.error = Some(format!("kube-apiserver: {}", trouble.message()));
                return Err(trouble.failure_of(&connection.server));
            }
        }
        // The aggregator passes the server's own document through, and every authenticated user may read it.
        match kube_api.get(&format!("/openapi/v3/apis/{GROUP}/{VERSION}")).await {
            Ok(document) if document["info"]["title"] == TITLE => {
                let version = document["info"]["version"].as_str().unwrap_or_default();
                self.server = Some(version.trim_start_matches('v').to_owned());
            }
            Ok(_) => self.error = Some(format!("{GROUP} is served by another server than depthgauge")),
            Err(RequestError::Unserved) => self.error = Some(format!("no server serves {GROUP}; {CHECK}")),
            Err(trouble) => {
                self.error = Some(format!("{GROUP}: {}", trouble.advised()));
                if let RequestError::Unreachable(_) = trouble {
                    return Err(trouble.failure(GROUP));
                }
            }
        }
        Ok(())
    }

    /// A line for each. `explains` is whether the cause is among them: it is not if the command fails with it.
    fn text(&self, client: bool, explains: bool) -> String {
        let mut text = format!("client       {}\n", self.client);
        if client {
            return text;
        }
        let error = self.error.as_deref().unwrap_or("not reported");
        let unknown = || if explains { format!("unknown: {error}") } else { "unknown".to_owned() };
        let server = self.server.clone().unwrap_or_else(unknown);
        let kubernetes = self.kubernetes.as_deref().unwrap_or("unknown");
        text.push_str(&format!("server       {server}\nkubernetes   {kubernetes}\n"));
        text
    }
}
