//! Who a client certificate says its holder is: the common name is the user, organizations are
//! the groups, as everywhere in Kubernetes.

use rustls_pki_types::CertificateDer;

use super::trust::{Purpose, Roots, Trust};
use crate::request::Caller;

/// The subject of the leaf, if its chain leads to the cluster's client CA of now.
pub(super) fn caller(trust: &Trust, roots: &Roots, chain: &[CertificateDer<'static>]) -> Option<Caller> {
    let subject = trust.verify(roots, Purpose::Client, chain)?;
    if subject.common_name.is_empty() {
        return None;
    }
    Some(Caller { user: subject.common_name, groups: subject.organizations, ..Caller::default() })
}
