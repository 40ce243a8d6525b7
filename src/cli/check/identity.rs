//! The identity ConfigMap, by which kube-apiserver can say whom it asks for.

use std::collections::BTreeMap;

use super::report::Finding;
use super::wire::Wire;
use crate::auth::{IDENTITY_CONFIG_MAP, Trust};
use crate::cli::clock;

pub(super) async fn check(wire: &Wire) -> Finding {
    let (namespace, name) = IDENTITY_CONFIG_MAP;
    let what = format!("ConfigMap {namespace}/{name}");
    let found = wire.get(&format!("/api/v1/namespaces/{namespace}/configmaps/{name}")).await;
    let object = match found {
        Ok(object) => object,
        Err(trouble) => {
            return trouble.finding(&what, || {
                Finding::fail(format!(
                    "{what} does not exist: only bearer tokens work for values, so no HPA gets one; kube-apiserver makes it when it starts with --requestheader-client-ca-file: restart it"
                ))
            });
        }
    };
    let data: BTreeMap<String, String> = serde_json::from_value(object["data"].clone()).unwrap_or_default();
    match Trust::new(clock).usable(&data) {
        Ok(()) => Finding::ok(format!("{what} names a front-proxy CA and the headers")),
        Err(error) => Finding::fail(format!(
            "{error}: only bearer tokens work for values, so no HPA gets one; set kube-apiserver's --requestheader-… flags"
        )),
    }
}
