//! A made-up user of the emulator: a new key, and an OCI config with which the official CLI, the
//! SDKs and depthgauge can authenticate.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::KeyPair as _;
use md5::{Digest as _, Md5};
use serde_json::{Value, json};

use crate::keys::VerifyingKey;

/// OCIDs that cannot exist: the real ones end in 60 characters.
const TENANCY: &str = "ocid1.tenancy.oc1..emulated";
const USER: &str = "ocid1.user.oc1..emulated";

/// The user's public half, for [`crate::Options::keys`], and where the private half is.
pub struct Profile {
    /// `tenancy/user/fingerprint`
    pub key_id: String,
    /// Verifies what this user signs.
    pub key: VerifyingKey,
    /// An OCI config file whose DEFAULT profile is this user.
    pub config_file: PathBuf,
}

// === impl Profile ===

impl Profile {
    /// Makes a user and writes `config` and `key.pem` (mode 0600) into `dir`.
    pub fn make(dir: &Path, region: &str) -> io::Result<Self> {
        let cannot = |what: &str| io::Error::other(format!("cannot create an RSA key: {what}"));
        let pair = KeyPair::generate(KeySize::Rsa2048).map_err(|_| cannot("generation failed"))?;
        let private: Pkcs8V1Der<'_> = pair.as_der().map_err(|_| cannot("no PKCS#8 form"))?;
        let public: PublicKeyX509Der<'_> = pair.public_key().as_der().map_err(|_| cannot("no public form"))?;
        let fingerprint = fingerprint(public.as_ref());

        let pem = pem::encode(&pem::Pem::new("PRIVATE KEY", private.as_ref()));
        let key_file = dir.join("key.pem");
        // A temporary file has mode 0600 from its first byte.
        let mut file = tempfile::NamedTempFile::new_in(dir)?;
        file.write_all(pem.as_bytes())?;
        file.persist(&key_file)?;
        let config_file = dir.join("config");
        let config = format!(
            "[DEFAULT]\nuser={USER}\ntenancy={TENANCY}\nfingerprint={fingerprint}\nkey_file={}\nregion={region}\n",
            key_file.display()
        );
        std::fs::write(&config_file, config)?;
        let key = VerifyingKey::from_pem(&pem).map_err(io::Error::other)?;
        Ok(Self { key_id: format!("{TENANCY}/{USER}/{fingerprint}"), key, config_file })
    }

    /// The config with which depthgauge queries an emulator there as this user: these queues, by
    /// name and OCID, in this namespace. JSON is YAML, and quotes whatever a path may hold.
    pub fn config(&self, emulator: SocketAddr, queues: &[(&str, &str)], namespace: &str) -> Value {
        let source = |(name, id): &(&str, &str)| json!({"type": "oci-queue", "name": name, "queueId": id, "namespaces": [namespace]});
        json!({
            "apiVersion": "depthgauge.dev/v1alpha1",
            "kind": "Config",
            "oci": {"endpoint": format!("http://{emulator}"), "auth": {"type": "apiKey", "configFile": self.config_file}},
            "sources": queues.iter().map(source).collect::<Vec<_>>(),
        })
    }
}

/// MD5 of the DER SubjectPublicKeyInfo, as OCI shows it.
fn fingerprint(public_key: &[u8]) -> String {
    let pairs: Vec<String> = Md5::digest(public_key).iter().map(|byte| format!("{byte:02x}")).collect();
    pairs.join(":")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_are_those_of_oci() {
        let file: Value = serde_json::from_str(include_str!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../tests/golden/oci/vectors.json"
        )))
        .unwrap();
        let public = pem::parse(file["public_key_pem"].as_str().unwrap()).unwrap();
        assert_eq!(fingerprint(public.contents()), file["fingerprint"].as_str().unwrap());
    }
}
