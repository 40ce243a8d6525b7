//! Who a client certificate says its holder is: the common name is the user, organizations are
//! the groups, as everywhere in Kubernetes.

use jiff::Timestamp;

use super::roots::Roots;
use crate::request::{Caller, Peer, Purpose, Subject};

/// The subject of the leaf, if its chain leads to the cluster's client CA of now.
pub(super) fn caller(roots: &Roots, peer: &Peer, now: Timestamp) -> Option<Caller> {
    let found = roots.judge(Purpose::Client, peer, now);
    let Subject { common_name, organizations } = found.subject.as_ref().filter(|it| !it.common_name.is_empty())?;
    Some(Caller { user: common_name.clone(), groups: organizations.clone(), ..Caller::default() })
}
