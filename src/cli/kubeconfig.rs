//! Kubeconfigs, read with the parser that the config has anyway: kube's own is another one, of
//! half a MiB that would stay resident.

use std::ffi::OsStr;
use std::io::ErrorKind;
use std::path::Path;
use std::{env, fs, io};

use anyhow::{Context as _, Result};
use kube::config::{Cluster, Kubeconfig};

use super::failure::Failure;
use crate::document::{Node, Problems};

const NOT_A_KUBECONFIG: &str = "this file can't be used as a kubeconfig: correct it, or name another one";

/// Which entries of the kubeconfig apply.
#[derive(Clone, Debug, Default, clap::Args)]
#[group(skip)]
pub(super) struct Choice {
    /// Context of the kubeconfig [default: its current context]
    #[arg(long, value_name = "NAME")]
    pub(super) context: Option<String>,
    /// Cluster of the kubeconfig [default: the context's]
    #[arg(long, value_name = "NAME", hide_short_help = true)]
    pub(super) cluster: Option<String>,
    /// User of the kubeconfig [default: the context's]
    #[arg(long, value_name = "NAME", hide_short_help = true)]
    pub(super) user: Option<String>,
}

/// One file. What it names by a relative path is beside it, as kubectl has it.
pub(super) fn read(file: &Path) -> Result<Kubeconfig> {
    parse(file, fs::read_to_string(file))
}

fn parse(file: &Path, text: io::Result<String>) -> Result<Kubeconfig> {
    let text = text.with_context(|| format!("cannot read {}", file.display()))?;
    let mut problems = Problems::default();
    let kubeconfig = Node::parse(&text, &mut problems).and_then(|node| node.decoded(&mut problems));
    let Some(kubeconfig) = kubeconfig else {
        let lines: Vec<_> = problems.lines().map(|line| format!("{}:{line}", file.display())).collect();
        return Err(Failure::new(lines.join("\n")).hint(NOT_A_KUBECONFIG).into());
    };
    Ok(beside(file.parent().unwrap_or(Path::new("")), kubeconfig))
}

/// The files that KUBECONFIG names, with colons between; the first to set something wins. As in
/// kubectl, a file that is missing or empty adds nothing. If all do, that is an error.
pub(super) fn of_environment() -> Result<Option<Kubeconfig>> {
    of_files(&env::var_os("KUBECONFIG").unwrap_or_default()).context("KUBECONFIG")
}

fn of_files(list: &OsStr) -> Result<Option<Kubeconfig>> {
    let (mut merged, mut skipped): (Option<Kubeconfig>, _) = (None, None);
    for file in env::split_paths(list).filter(|file| !file.as_os_str().is_empty()) {
        // Once: it may be a pipe.
        let text = fs::read_to_string(&file);
        if adds_nothing(&text) {
            skipped = Some((file, text));
            continue;
        }
        let next = parse(&file, text)?;
        merged = Some(match merged {
            Some(kubeconfig) => kubeconfig.merge(next).with_context(|| file.display().to_string())?,
            None => next,
        });
    }
    match (merged, skipped) {
        // Fails, with the cause.
        (None, Some((file, text))) => parse(&file, text).map(Some),
        (merged, _) => Ok(merged),
    }
}

fn adds_nothing(text: &io::Result<String>) -> bool {
    match text {
        Ok(text) => text.trim().is_empty(),
        Err(error) => error.kind() == ErrorKind::NotFound,
    }
}

/// The cluster of the current context, if it is there.
pub(super) fn cluster(kubeconfig: &Kubeconfig) -> Option<&Cluster> {
    let current = kubeconfig.current_context.as_ref()?;
    let context = kubeconfig.contexts.iter().find(|named| named.name == *current)?.context.as_ref()?;
    let cluster = kubeconfig.clusters.iter().find(|named| named.name == context.cluster)?;
    cluster.cluster.as_ref()
}

/// The same kubeconfig with another current context, or with another cluster or user in it. Its context and the
/// cluster of that are there. As for kubectl, only a user that is chosen must be.
pub(super) fn choose(mut kubeconfig: Kubeconfig, choice: &Choice) -> Result<Kubeconfig> {
    let Choice { context, cluster, user } = choice;
    let Some(current) = context.clone().or(kubeconfig.current_context.take()) else {
        let contexts = kubeconfig.contexts.iter().map(|named| &named.name);
        let failure = Failure::new("the kubeconfig has no current context");
        return Err(match joined(contexts) {
            Some(names) => failure.hint(format!("choose one of {names}: kubectl config use-context NAME")),
            None => failure.hint("it has no contexts: name another file with --kubeconfig"),
        }
        .into());
    };
    expect("no context", &current, kubeconfig.contexts.iter().map(|named| &named.name))?;
    let named = kubeconfig.contexts.iter_mut().find(|named| named.name == current);
    if let Some(context) = named.map(|named| named.context.get_or_insert_default()) {
        if let Some(name) = cluster {
            context.cluster.clone_from(name);
        }
        if let Some(name) = user {
            expect("no user", name, kubeconfig.auth_infos.iter().map(|named| &named.name))?;
            context.user = Some(name.clone());
        }
        let names = kubeconfig.clusters.iter().map(|named| &named.name);
        let missing =
            if cluster.is_some() { "no cluster".to_owned() } else { format!("context {current:?}: no cluster") };
        expect(&missing, &context.cluster, names)?;
    }
    kubeconfig.current_context = Some(current);
    Ok(kubeconfig)
}

/// An error that lists the names, unless `name` is one of them.
fn expect<'k>(missing: &str, name: &str, names: impl Iterator<Item = &'k String> + Clone) -> Result<()> {
    if names.clone().any(|known| known == name) {
        return Ok(());
    }
    let failure = Failure::new(format!("{missing} {name:?} in the kubeconfig"));
    Err(match joined(names) {
        Some(names) => failure.hint(format!("choose one of {names}")),
        None => failure,
    }
    .into())
}

/// `None` if there are none.
fn joined<'k>(names: impl Iterator<Item = &'k String>) -> Option<String> {
    names.cloned().reduce(|all, next| format!("{all}, {next}"))
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
    // kubectl writes an empty one into new files, which must not win over that of a later file.
    kubeconfig.current_context.take_if(|context| context.is_empty());
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

// === impl Choice ===

impl Choice {
    /// Whether no flag chooses an entry, so that the pod's own ServiceAccount may be used.
    pub(super) fn is_default(&self) -> bool {
        self.context.is_none() && self.cluster.is_none() && self.user.is_none()
    }
}

#[cfg(test)]
mod tests {
    use crate::cli::failure::on_one_line;

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
    fn flags_choose_among_the_entries_and_a_wrong_name_lists_them() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config");
        let more = "  - {name: there, context: {cluster: far, user: oke}}\n";
        let far = "clusters:\n  - {name: far, cluster: {server: \"https://far\"}}\n";
        fs::write(&file, format!("{}{more}", TEXT.replace("clusters:\n", far))).unwrap();
        let choose = |context: Option<&str>, cluster: Option<&str>, user: Option<&str>| {
            let [context, cluster, user] = [context, cluster, user].map(|name| name.map(str::to_owned));
            let chosen = choose(read(&file).unwrap(), &Choice { context, cluster, user })?;
            let current = chosen.current_context.as_deref().unwrap();
            let context = chosen.contexts.iter().find(|named| named.name == current).unwrap().context.as_ref().unwrap();
            let server = super::cluster(&chosen).unwrap().server.clone().unwrap();
            anyhow::Ok(format!("{current} {server} {}", context.user.as_deref().unwrap()))
        };
        for (context, cluster, user, chosen) in [
            (None, None, None, "here https://127.0.0.1:1 u"),
            (Some("there"), None, None, "there https://far oke"),
            (None, Some("far"), None, "here https://far u"),
            (Some("there"), Some("c"), Some("own"), "there https://127.0.0.1:1 own"),
        ] {
            assert_eq!(choose(context, cluster, user).unwrap(), chosen);
        }
        for (context, cluster, user, text) in [
            (Some("x"), None, None, "no context \"x\" in the kubeconfig"),
            (None, Some("x"), None, "no cluster \"x\" in the kubeconfig"),
            (None, None, Some("x"), "no user \"x\" in the kubeconfig"),
        ] {
            assert_eq!(choose(context, cluster, user).unwrap_err().to_string(), text);
        }
    }

    #[test]
    fn the_context_and_its_cluster_are_there() {
        let chosen = |text: &str| {
            let mut problems = Problems::default();
            let kubeconfig = Node::parse(text, &mut problems).and_then(|node| node.decoded(&mut problems)).unwrap();
            choose(kubeconfig, &Choice::default()).map(|_| ()).map_err(|error| on_one_line(&error))
        };
        for (from, to, error) in [
            (
                "cluster: c, ",
                "cluster: gone, ",
                "context \"here\": no cluster \"gone\" in the kubeconfig; choose one of c",
            ),
            (
                "current-context: here",
                "current-context: gone",
                "no context \"gone\" in the kubeconfig; choose one of here",
            ),
            (
                "current-context: here\n",
                "",
                "the kubeconfig has no current context; choose one of here: kubectl config use-context NAME",
            ),
        ] {
            assert_eq!(chosen(&TEXT.replace(from, to)), Err(error.to_owned()));
        }
        for (from, to) in [(", user: u", ""), ("user: u", "user: gone")] {
            assert_eq!(chosen(&TEXT.replace(from, to)), Ok(()), "as for kubectl, a user need not be there");
        }
        let error = "the kubeconfig has no current context; it has no contexts: name another file with --kubeconfig";
        assert_eq!(chosen("kind: Config\n"), Err(error.to_owned()));
    }

    #[test]
    fn files_of_a_list_that_are_missing_or_empty_add_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("empty"), "\n").unwrap();
        fs::write(at("fresh"), "apiVersion: v1\nkind: Config\ncurrent-context: \"\"\nclusters: []\n").unwrap();
        fs::write(at("config"), TEXT).unwrap();
        let of = |names: &[&str]| of_files(&env::join_paths(names.iter().map(|name| at(name))).unwrap());
        let read = of(&["missing", "empty", "fresh", "config"]).unwrap().unwrap();
        assert_eq!((read.current_context.as_deref(), cluster(&read).is_some()), (Some("here"), true));
        for names in [&["missing"][..], &["empty", "missing"]] {
            let error = format!("{:#}", of(names).unwrap_err());
            assert!(error.starts_with(&format!("cannot read {}: ", at("missing").display())), "{error}");
        }
        assert!(of_files(OsStr::new("")).unwrap().is_none());
    }

    #[test]
    fn what_is_wrong_with_a_file_has_its_name() {
        let folder = tempfile::tempdir().unwrap();
        for (text, words) in
            [("a: [", "config:2:1: not YAML"), ("", "the file is empty"), ("clusters: 7", "config:1:11: `clusters`")]
        {
            let file = folder.path().join("config");
            fs::write(&file, text).unwrap();
            let said = format!("{:#}", read(&file).unwrap_err());
            assert!(said.contains(words) && said.contains("config"), "{said}");
        }
        for (text, at) in [
            ("s3cr3t", "config:1:1: expected a mapping"),
            ("users: [{name: u, user: s3cr3t}]", "config:1:25: `users[0].user` must not be a string"),
            ("users:\n- name: u\n  user: {token: [s3cr3t]}", "config:3:17: `users[0].user.token` "),
        ] {
            let file = folder.path().join("config");
            fs::write(&file, text).unwrap();
            let said = format!("{:#}", read(&file).unwrap_err());
            assert!(said.contains(at) && !said.contains("s3cr3t"), "{said}");
        }
        let said = format!("{:#}", read(&folder.path().join("absent")).unwrap_err());
        assert!(said.starts_with("cannot read ") && said.contains("absent"), "{said}");
    }
}
