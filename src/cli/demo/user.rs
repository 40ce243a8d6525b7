//! The demo's user: a client certificate of a CA of its own, and a kubeconfig that uses it.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Result;
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};

/// The common name in its certificate, which is its user name.
pub(super) const NAME: &str = "demo-user";

/// A user with everything that a request needs.
pub(super) struct DemoUser {
    /// The CA that vouches for the user, in PEM.
    pub(super) ca: String,
    /// Certificate and key, in PEM, one after the other.
    pub(super) identity: String,
    dir: PathBuf,
    address: SocketAddr,
    namespace: &'static str,
}

// === impl DemoUser ===

impl DemoUser {
    /// Makes the user and writes its files into `dir`; its kubeconfig is for this namespace.
    pub(super) fn make(dir: &Path, address: SocketAddr, server_ca: &str, namespace: &'static str) -> Result<Self> {
        let mut ca = CertificateParams::default();
        ca.distinguished_name.push(DnType::CommonName, "depthgauge demo client CA");
        ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let ca_key = KeyPair::generate()?;
        let ca_pem = ca.self_signed(&ca_key)?.pem();

        let mut user = CertificateParams::default();
        user.distinguished_name.push(DnType::CommonName, NAME);
        user.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate()?;
        let certificate = user.signed_by(&key, &Issuer::new(ca, ca_key))?.pem();

        let made = Self {
            ca: ca_pem,
            identity: format!("{certificate}{}", key.serialize_pem()),
            dir: dir.to_owned(),
            address,
            namespace,
        };
        fs::write(made.file("server-ca.crt"), server_ca)?;
        // The directory is private to this user, so its files need not be.
        fs::write(made.file("client.pem"), &made.identity)?;
        fs::write(made.file("kubeconfig"), made.kubeconfig())?;
        Ok(made)
    }

    /// A complete command line that requests the path.
    pub(super) fn curl(&self, path: &str) -> String {
        let (ca, client) = (self.file("server-ca.crt"), self.file("client.pem"));
        format!("curl --cacert {} --cert {} 'https://{}{path}'", ca.display(), client.display(), self.address)
    }

    /// The same by kubectl, as a Table.
    pub(super) fn kubectl(&self, what: &str) -> String {
        format!("kubectl --kubeconfig {} get {what}", self.file("kubeconfig").display())
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// JSON, which every reader of YAML takes.
    fn kubeconfig(&self) -> String {
        let (ca, client) = (self.file("server-ca.crt"), self.file("client.pem"));
        serde_json::json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{
                "name": "demo",
                "cluster": {"server": format!("https://{}", self.address), "certificate-authority": ca},
            }],
            "users": [{"name": NAME, "user": {"client-certificate": client, "client-key": client}}],
            "contexts": [{"name": "demo", "context": {"cluster": "demo", "user": NAME, "namespace": self.namespace}}],
            "current-context": "demo",
        })
        .to_string()
    }
}
