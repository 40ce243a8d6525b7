//! One queue named by environment variables, for a start without a config file: the variables of
//! the exporter that people run today, so that its Deployment's `env` goes on working.

use std::path::Path;

use super::parts::Aliases;
use super::plan::{QueueEntry, QueuePlan};
use crate::metric::{LABEL_VALUE_RULE, is_label_value};
use crate::oci::declared;
use crate::oci::environment::Environment;
use crate::source::Named;

/// The OCID of the queue; without it the others mean nothing.
const ID: &str = "OCI_QUEUE_ID";
/// Where its messages are; else GetQueue is asked.
const ENDPOINT: &str = "OCI_QUEUE_ENDPOINT";
/// Where its control plane is; else as for a config without `oci.region`.
const REGION: &str = "OCI_REGION";
/// The value of label `queue`; else the queue's display name.
const NAME: &str = "OCI_QUEUE_NAME";
/// Who may read it, with commas; else the namespace that we run in.
const NAMESPACES: &str = "OCI_QUEUE_NAMESPACES";
/// All but the region, which counts beside a config file, too.
pub(super) const ALL: &[&str] = &[ID, ENDPOINT, NAME, NAMESPACES];

/// What the variables name, if they name anything; else each error by its variable. One that is
/// empty is not set.
pub(super) fn read(
    var: &dyn Fn(&str) -> Option<String>,
    own_namespace: Option<&str>,
) -> Option<Result<Named, Vec<String>>> {
    let var = |name: &str| var(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
    let id = var(ID)?;
    let mut wrong = Vec::new();
    let id = id.parse().map_err(|error| wrong.push(format!("{ID}: {error}"))).ok();
    let endpoint = var(ENDPOINT).and_then(|text| {
        let parsed = text.parse();
        parsed.map_err(|error| wrong.push(format!("{ENDPOINT}: {error}"))).ok()
    });
    let region = var(REGION).and_then(|text| {
        let found = declared::find(&Environment::new(&var, &Path::exists), &text);
        found.map_err(|error| wrong.push(format!("{REGION}: {error}"))).ok()
    });
    let name = var(NAME);
    if let Some(name) = name.as_ref().filter(|name| !is_label_value(name)) {
        wrong.push(format!("{NAME}: {name:?} can be no label value: {LABEL_VALUE_RULE}"));
    }
    let namespaces = var(NAMESPACES).or(own_namespace.map(str::to_owned)).unwrap_or_default();
    let namespaces: Vec<String> =
        namespaces.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect();
    if namespaces.is_empty() {
        wrong.push(format!(
            "{NAMESPACES}: nobody could read this source: name namespaces with commas, or * for all (in a pod, POD_NAMESPACE is the default)"
        ));
    }
    let Some(id) = id.filter(|_| wrong.is_empty()) else { return Some(Err(wrong)) };
    let entry = match name {
        Some(_) => QueueEntry::Named(id, endpoint, Aliases::default()),
        None => QueueEntry::Unnamed(id, endpoint),
    };
    let mut plan = QueuePlan { entries: vec![entry], ..QueuePlan::default() };
    plan.settings.region = region;
    Some(Ok(Named { name, namespaces, plan: Box::new(plan) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_in(own: Option<&str>, variables: &[(&str, &str)]) -> Option<Result<Named, Vec<String>>> {
        let find = |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        read(&find, own)
    }

    const OCID: &str = "ocid1.queue.oc1.eu-frankfurt-1.amaaaafake";

    #[test]
    fn the_ocid_is_enough() {
        let named = read_in(Some("shop"), &[(ID, OCID)]).unwrap().map_err(|wrong| wrong.join("\n")).unwrap();
        assert_eq!((named.name, named.namespaces), (None, vec!["shop".to_owned()]));
        assert!(named.plan.definitions()[0].contains("Unnamed"));
        for without in [&[][..], &[(ID, "")], &[(ID, " "), (NAME, "orders"), (REGION, "atlantis-1")]] {
            assert!(read_in(Some("shop"), without).is_none(), "{without:?}");
        }
    }

    #[test]
    fn what_is_said_is_taken() {
        let all = [
            (ID, OCID),
            (ENDPOINT, "https://cell-1.queue.messaging.eu-frankfurt-1.oci.oraclecloud.com/"),
            (REGION, "fra"),
            (NAME, "orders"),
            (NAMESPACES, "shop, team-*,"),
        ];
        let named = read_in(None, &all).unwrap().map_err(|wrong| wrong.join("\n")).unwrap();
        assert_eq!(named.name.as_deref(), Some("orders"));
        assert_eq!(named.namespaces, ["shop", "team-*"]);
        let definition = named.plan.definitions().remove(0);
        for part in ["Named", OCID, "cell-1", "eu-frankfurt-1"] {
            assert!(definition.contains(part), "{part} in {definition}");
        }
    }

    #[test]
    fn every_error_names_its_variable() {
        let all = [(ID, "orders"), (ENDPOINT, "ftp://x"), (REGION, "atlantis-1"), (NAME, "-x"), (NAMESPACES, ",")];
        let wrong = read_in(None, &all).unwrap().err().unwrap();
        let variables: Vec<_> = wrong.iter().filter_map(|line| Some(line.split_once(": ")?.0)).collect();
        assert_eq!(variables, [ID, ENDPOINT, REGION, NAME, NAMESPACES]);
        let nobody = read_in(None, &[(ID, OCID)]).unwrap().err().unwrap();
        assert!(nobody[0].starts_with("OCI_QUEUE_NAMESPACES: nobody could read"), "{nobody:?}");
    }
}
