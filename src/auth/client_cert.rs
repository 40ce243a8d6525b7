//! The user of a client certificate: the common name is the user, organizations are the groups, and
//! so on, as everywhere in Kubernetes (`CommonNameUserConversion` of k8s.io/apiserver).

use jiff::Timestamp;

use super::roots::Roots;
use crate::request::{Caller, Peer, Purpose, Subject};

/// Of [`Caller::extra`]: by which certificate, for authorizers and for audit logs.
const CREDENTIAL_ID: &str = "authentication.kubernetes.io/credential-id";

/// The subject of the leaf, if its chain leads to the cluster's current client CA.
pub(super) fn caller(roots: &Roots, peer: &Peer, now: Timestamp) -> Option<Caller> {
    let standing = roots.judge(Purpose::Client, peer, now);
    let subject = standing.found.as_ref().ok().filter(|it| !it.common_name.is_empty())?;
    let Subject { common_name, organizations, uids, sha256 } = subject;
    let uid = match uids.as_slice() {
        [] => String::new(),
        [uid] if !uid.is_empty() => uid.clone(),
        // Several UIDs, or an empty one, do not identify one user.
        _ => return None,
    };
    let extra = [(CREDENTIAL_ID.to_owned(), vec![format!("X509SHA256={sha256}")])].into();
    Some(Caller { user: common_name.clone(), uid, groups: organizations.clone(), extra })
}
