//! Kubeconfigs, read with the parser that the config has anyway: kube's own is another one, of
//! half a MiB that would stay resident.

use std::path::Path;
use std::{env, fs};

use anyhow::{Context as _, Result, anyhow};
use kube::config::{Cluster, Kubeconfig};

use crate::document::{Node, Problems};

/// One file. What it names by a relative path is beside it, as kubectl has it.
pub(super) fn read(file: &Path) -> Result<Kubeconfig> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let mut problems = Problems::default();
    let Some(node) = Node::parse(&text, &mut problems) else {
        let lines: Vec<_> = problems.lines().map(|line| format!("{}:{line}", file.display())).collect();
        return Err(anyhow!(lines.join("\n")));
    };
    let kubeconfig =
        serde_json::from_value(node.to_json()).with_context(|| format!("{} is no kubeconfig", file.display()))?;
    Ok(beside(file.parent().unwrap_or(Path::new("")), kubeconfig))
}

/// The files that KUBECONFIG names, with colons between; the first to say something wins.
pub(super) fn of_environment() -> Result<Option<Kubeconfig>> {
    let named = env::var_os("KUBECONFIG").unwrap_or_default();
    let mut merged: Option<Kubeconfig> = None;
    for file in env::split_paths(&named).filter(|file| !file.as_os_str().is_empty()) {
        let next = read(&file).context("KUBECONFIG")?;
        merged = Some(match merged {
            Some(kubeconfig) => kubeconfig.merge(next).with_context(|| format!("KUBECONFIG: {}", file.display()))?,
            None => next,
        });
    }
    Ok(merged)
}

/// The cluster of the current context, if it is there.
pub(super) fn cluster(kubeconfig: &Kubeconfig) -> Option<&Cluster> {
    let current = kubeconfig.current_context.as_ref()?;
    let context = kubeconfig.contexts.iter().find(|named| named.name == *current)?.context.as_ref()?;
    let cluster = kubeconfig.clusters.iter().find(|named| named.name == context.cluster)?;
    cluster.cluster.as_ref()
}

/// `~/.kube/config`, if it is there.
pub(super) fn of_person() -> Result<Option<Kubeconfig>> {
    let file = env::home_dir().map(|home| home.join(".kube/config")).filter(|file| file.exists());
    file.map(|file| read(&file)).transpose()
}

fn beside(folder: &Path, mut kubeconfig: Kubeconfig) -> Kubeconfig {
    let resolve = |path: &mut Option<String>| {
        if let Some(path) = path {
            *path = folder.join(&*path).to_string_lossy().into_owned();
        }
    };
    for cluster in kubeconfig.clusters.iter_mut().filter_map(|named| named.cluster.as_mut()) {
        resolve(&mut cluster.certificate_authority);
    }
    for user in kubeconfig.auth_infos.iter_mut().filter_map(|named| named.auth_info.as_mut()) {
        resolve(&mut user.client_certificate);
        resolve(&mut user.client_key);
        resolve(&mut user.token_file);
        // Without a slash it is looked up in PATH.
        if let Some(exec) = user.exec.as_mut().filter(|exec| exec.command.as_ref().is_some_and(|it| it.contains('/'))) {
            resolve(&mut exec.command);
        }
    }
    kubeconfig
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
apiVersion: v1
kind: Config
current-context: here
clusters:
  - {name: c, cluster: {server: "https://127.0.0.1:1", certificate-authority: ca.crt, insecure-skip-tls-verify: false}}
users:
  - {name: u, user: {client-certificate: /etc/u.crt, client-key: keys/u.key}}
  - {name: oke, user: {exec: {apiVersion: client.authentication.k8s.io/v1beta1, command: oci, args: [ce, generate-token]}}}
  - {name: own, user: {exec: {command: bin/own}}}
contexts:
  - {name: here, context: {cluster: c, user: u, namespace: shop}}
"#;

    #[test]
    fn paths_are_beside_the_file_and_commands_without_a_slash_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config");
        fs::write(&file, TEXT).unwrap();
        let read = read(&file).unwrap();

        let at = |name: &str| Some(folder.path().join(name).to_string_lossy().into_owned());
        let cluster = read.clusters[0].cluster.as_ref().unwrap();
        assert_eq!((&cluster.certificate_authority, cluster.insecure_skip_tls_verify), (&at("ca.crt"), Some(false)));
        let users: Vec<_> = read.auth_infos.iter().map(|named| named.auth_info.as_ref().unwrap()).collect();
        assert_eq!(users[0].client_certificate.as_deref(), Some("/etc/u.crt"));
        assert_eq!(users[0].client_key, at("keys/u.key"));
        let commands: Vec<_> = users[1..].iter().map(|user| user.exec.as_ref().unwrap().command.clone()).collect();
        assert_eq!(commands, [Some("oci".to_owned()), at("bin/own")]);
        assert_eq!(users[1].exec.as_ref().unwrap().args.as_ref().unwrap().len(), 2);
    }

    #[test]
    fn what_is_wrong_with_a_file_has_its_name() {
        let folder = tempfile::tempdir().unwrap();
        for (text, words) in
            [("a: [", "config:2:1: not YAML"), ("", "the file is empty"), ("clusters: 7", "is no kubeconfig")]
        {
            let file = folder.path().join("config");
            fs::write(&file, text).unwrap();
            let said = format!("{:#}", read(&file).unwrap_err());
            assert!(said.contains(words) && said.contains("config"), "{said}");
        }
        let said = format!("{:#}", read(&folder.path().join("absent")).unwrap_err());
        assert!(said.starts_with("cannot read ") && said.contains("absent"), "{said}");
    }
}
