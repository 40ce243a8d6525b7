//! The public keys that clients sign with, read from PEM files.
//!
//! A private key is accepted for convenience, since that is the file an OCI config points at. Its
//! public part is kept and the rest forgotten at once. Never makes a key, and nothing here can be
//! printed.

use std::collections::HashMap;
use std::fmt;

use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::signature::{KeyPair as _, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256};

/// An RSA public key that signatures are verified with.
#[derive(Clone)]
pub struct VerifyingKey(ParsedPublicKey);

/// Why a text is no key to verify with.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// There is no `-----BEGIN …-----` block, or it is damaged.
    #[error("not a PEM file: it must hold a block like -----BEGIN PUBLIC KEY-----")]
    NotPem,
    /// A private key under a passphrase.
    #[error("the private key is protected by a passphrase: give its public key instead")]
    Encrypted,
    /// A PEM block of something else: a certificate, an EC key.
    #[error("PEM block {0:?} is not an RSA key: PUBLIC KEY, PRIVATE KEY and RSA PRIVATE KEY are")]
    OtherBlock(String),
    /// The block is labelled as a key and holds none that OCI would take.
    #[error("the {0} block holds no usable RSA key: OCI signs with RSA of 2048 bits or more")]
    Rejected(String),
}

/// Public keys by key id.
pub(crate) struct KeyRing(HashMap<String, VerifyingKey>);

// === impl VerifyingKey ===

impl VerifyingKey {
    /// Reads a public key (`PUBLIC KEY`), or the public part of a private one (PKCS#8 or
    /// PKCS#1). Only the first block counts; text around it, like the console's `OCI_API_KEY`
    /// line, is ignored.
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        let block = pem::parse(text).map_err(|_| KeyError::NotPem)?;
        let tag = block.tag();
        let der = block.contents();
        let rejected = || KeyError::Rejected(tag.to_owned());
        if tag == "ENCRYPTED PRIVATE KEY" || block.headers().get("Proc-Type").is_some() {
            return Err(KeyError::Encrypted);
        }
        let public = match tag {
            "PUBLIC KEY" | "RSA PUBLIC KEY" => der.to_vec(),
            "PRIVATE KEY" => public_part(&KeyPair::from_pkcs8(der).map_err(|_| rejected())?),
            "RSA PRIVATE KEY" => public_part(&KeyPair::from_der(der).map_err(|_| rejected())?),
            other => return Err(KeyError::OtherBlock(other.to_owned())),
        };
        ParsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, public).map(Self).map_err(|_| rejected())
    }

    /// Whether `signature` is this key's RSASSA-PKCS1-v1_5 signature with SHA-256.
    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        self.0.verify_sig(message, signature).is_ok()
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VerifyingKey(…)")
    }
}

// === impl KeyRing ===

impl KeyRing {
    pub(crate) fn new(keys: impl IntoIterator<Item = (String, VerifyingKey)>) -> Self {
        Self(keys.into_iter().collect())
    }

    pub(crate) fn find(&self, key_id: &str) -> Option<&VerifyingKey> {
        self.0.get(key_id)
    }
}

fn public_part(pair: &KeyPair) -> Vec<u8> {
    pair.public_key().as_ref().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_util::Golden;

    #[test]
    fn every_form_of_one_key_is_the_same_key() {
        let golden = Golden::load();
        for field in
            ["public_key_pem", "private_key_pkcs8_pem", "private_key_pkcs1_pem", "private_key_with_console_label_pem"]
        {
            let key = VerifyingKey::from_pem(golden.text(field)).unwrap();
            assert!(key.verifies(b"message", &golden.sign(b"message")), "{field}");
            assert!(!key.verifies(b"massage", &golden.sign(b"message")), "{field}");
        }
    }

    #[test]
    fn what_is_no_key_says_why() {
        let golden = Golden::load();
        let public = golden.text("public_key_pem");
        for field in [
            "private_key_pkcs8_encrypted_pem",
            "private_key_pkcs1_encrypted_pem",
            "private_key_pkcs1_aes128_openssl_pem",
        ] {
            let error = VerifyingKey::from_pem(golden.text(field)).unwrap_err();
            assert!(matches!(error, KeyError::Encrypted), "{field}: {error}");
        }
        let certificate = public.replace("PUBLIC KEY", "CERTIFICATE");
        assert!(matches!(VerifyingKey::from_pem(&certificate), Err(KeyError::OtherBlock(tag)) if tag == "CERTIFICATE"));
        let mislabelled = public.replace("PUBLIC KEY", "PRIVATE KEY");
        assert!(matches!(VerifyingKey::from_pem(&mislabelled), Err(KeyError::Rejected(_))));
        for damaged in ["", "ocid1.key", "-----BEGIN PUBLIC KEY-----\n!\n-----END PUBLIC KEY-----"] {
            assert!(matches!(VerifyingKey::from_pem(damaged), Err(KeyError::NotPem)), "{damaged}");
        }
    }

    #[test]
    fn nothing_of_a_key_is_printed() {
        let key = VerifyingKey::from_pem(Golden::load().text("public_key_pem")).unwrap();
        assert_eq!(format!("{key:?}"), "VerifyingKey(…)");
    }
}
