//! Who a client certificate says its holder is: the common name is the user, organizations are
//! the groups, as everywhere in Kubernetes.

use jiff::Timestamp;
use rustls_pki_types::CertificateDer;

use super::trust::{Purpose, Roots};
use crate::request::Caller;

/// The subject of the leaf, if its chain leads to the cluster's client CA of now.
pub(super) fn caller(roots: &Roots, chain: &[CertificateDer<'static>], now: Timestamp) -> Option<Caller> {
    let subject = roots.verify(Purpose::Client, chain, now)?;
    if subject.common_name.is_empty() {
        return None;
    }
    Some(Caller { user: subject.common_name, groups: subject.organizations, ..Caller::default() })
}
