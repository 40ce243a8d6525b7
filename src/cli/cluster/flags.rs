//! kubectl's flags for the connection to a cluster, which each command that connects to one has.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;

use crate::cli::duration;
use crate::cli::kubeconfig::Choice;

/// Names and meanings are kubectl's.
#[derive(Clone, Debug, clap::Args)]
// A second group named `Args` would be one too many.
#[group(skip)]
#[command(next_help_heading = "Cluster options")]
pub(in crate::cli) struct Flags {
    /// Kubeconfig file [default: KUBECONFIG, the pod's own ServiceAccount, or ~/.kube/config]
    #[arg(long, env = "DEPTHGAUGE_KUBECONFIG", value_name = "FILE")]
    pub(super) kubeconfig: Option<PathBuf>,
    #[command(flatten)]
    pub(super) choice: Choice,
    #[command(flatten)]
    pub(super) impersonation: Impersonation,
    /// Time for one request, such as 30s; a number without a unit is seconds, 0 is no limit
    #[arg(long, default_value = "10s", value_name = "DURATION", value_parser = request_timeout, hide_short_help = true)]
    pub(super) request_timeout: Duration,
}

/// The user that kube-apiserver takes the requests as, if the user may impersonate.
#[derive(Clone, Debug, Default, clap::Args)]
#[group(skip)]
pub(in crate::cli) struct Impersonation {
    /// User to impersonate, such as system:serviceaccount:shop:worker
    #[arg(long = "as", value_name = "USER", hide_short_help = true)]
    as_user: Option<String>,
    /// Group to impersonate; repeat the flag for several
    #[arg(long = "as-group", value_name = "GROUP", requires = "as_user", hide_short_help = true)]
    as_groups: Vec<String>,
}

// === impl Flags ===

impl Flags {
    /// As kubectl has them, for the same connection. The time of one request is not among them: kubectl would end
    /// an exec by it.
    pub(in crate::cli) fn for_kubectl(&self) -> Vec<OsString> {
        let Self { kubeconfig, choice, impersonation, request_timeout: _ } = self;
        let Choice { context, cluster, user } = choice;
        let Impersonation { as_user, as_groups } = impersonation;
        let named = [("context", context), ("cluster", cluster), ("user", user), ("as", as_user)];
        let named = named.into_iter().filter_map(|(flag, value)| Some((flag, value.as_ref()?)));
        let groups = as_groups.iter().map(|group| ("as-group", group));
        let words = named.chain(groups).map(|(flag, value)| OsString::from(format!("--{flag}={value}")));
        let kubeconfig = kubeconfig.as_ref().map(|file| {
            let mut word = OsString::from("--kubeconfig=");
            word.push(file);
            word
        });
        kubeconfig.into_iter().chain(words).collect()
    }

    /// The time for one request.
    pub(in crate::cli) fn request_timeout(&self) -> Duration {
        self.request_timeout
    }
}

// === impl Impersonation ===

impl Impersonation {
    /// Replaces the settings of the kubeconfig.
    pub(super) fn apply(self, user: &mut kube::config::AuthInfo) {
        if let Some(name) = self.as_user {
            user.impersonate = Some(name);
            user.impersonate_groups = (!self.as_groups.is_empty()).then_some(self.as_groups);
        }
    }
}

fn request_timeout(text: &str) -> Result<Duration, String> {
    let timeout = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => duration(text)?,
    };
    Ok(if timeout.is_zero() { Duration::MAX } else { timeout })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kubectl_connects_by_the_same_flags() {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            flags: Flags,
        }
        let all =
            ["--kubeconfig=a b", "--context=x", "--cluster=c", "--user=u", "--as=me", "--as-group=g", "--as-group=h"];
        for words in [&all[..], &all[1..2], &[]] {
            let line = ["depthgauge", "--request-timeout=1s"].iter().chain(words);
            let Line { flags } = clap::Parser::parse_from(line);
            assert_eq!(flags.for_kubectl(), words);
        }
    }

    #[test]
    fn a_request_timeout_is_written_as_for_kubectl() {
        for (text, timeout) in [
            ("0", Duration::MAX),
            ("0s", Duration::MAX),
            ("5", Duration::from_secs(5)),
            ("1m30s", Duration::from_secs(90)),
        ] {
            assert_eq!(request_timeout(text), Ok(timeout), "{text}");
        }
        assert!(request_timeout("soon").is_err() && request_timeout("-5s").is_err());
    }
}
