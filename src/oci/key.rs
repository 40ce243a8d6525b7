//! A private key out of a PEM text, in every form that people have: PKCS#8 and PKCS#1, plain or
//! under a passphrase, the latter also as OpenSSL 1.x wrote it (`Proc-Type: 4,ENCRYPTED`).
//!
//! Pure: who reads the file and where the passphrase comes from is [`credentials`](super::credentials)'.

use std::fmt;

use aws_lc_rs::cipher::{
    AES_128, AES_128_KEY_LEN, AES_192, AES_192_KEY_LEN, AES_256, AES_256_KEY_LEN, Algorithm, DecryptionContext,
    PaddedBlockDecryptingKey, UnboundCipherKey,
};
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::rsa::KeyPair;
use md5::{Digest as _, Md5};
use pem::Pem;
use pkcs8::EncryptedPrivateKeyInfoRef;

/// What protects a key; never printed.
#[derive(Clone)]
pub struct Passphrase(String);

/// What a PEM text holds instead of an RSA private key that can be used.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum KeyError {
    /// Encrypted, and nobody said with what.
    #[error("the private key is protected by a passphrase: set `pass_phrase` in the profile")]
    Protected,
    /// Encrypted with something else.
    #[error("the passphrase is not the private key's")]
    WrongPassphrase,
    /// Encrypted in a way that is not read here.
    #[error(
        "the private key is encrypted with {0}, which is not supported: write it anew with `openssl pkey -in KEY -aes256 -out NEW`"
    )]
    Cipher(String),
    /// The wrong half.
    #[error("this is a public key: name the private key that was made with it")]
    PublicOnly,
    /// Nothing of use.
    #[error("no RSA private key in PEM form found (BEGIN PRIVATE KEY or BEGIN RSA PRIVATE KEY)")]
    NotAKey,
}

/// The first private key of a PEM text. What follows its END line is ignored, as keys from the
/// OCI console end in a line `OCI_API_KEY`; so is the passphrase of a key that has none, since a
/// profile may inherit one.
pub fn private_key(pem: &[u8], passphrase: Option<&Passphrase>) -> Result<KeyPair, KeyError> {
    let block = pem::parse(pem).map_err(|_| KeyError::NotAKey)?;
    let passphrase = || passphrase.map(|phrase| phrase.0.as_bytes()).ok_or(KeyError::Protected);
    let key = match block.tag() {
        "ENCRYPTED PRIVATE KEY" => return decrypt_pkcs8(block.contents(), passphrase()?),
        _ if block.headers().get("Proc-Type").is_some() => return decrypt_legacy(&block, passphrase()?),
        "PRIVATE KEY" => KeyPair::from_pkcs8(block.contents()),
        "RSA PRIVATE KEY" => KeyPair::from_der(block.contents()),
        "PUBLIC KEY" | "RSA PUBLIC KEY" => return Err(KeyError::PublicOnly),
        _ => return Err(KeyError::NotAKey),
    };
    key.map_err(|_| KeyError::NotAKey)
}

/// PKCS#5 PBES2, as OpenSSL writes it since 1.1.
fn decrypt_pkcs8(der: &[u8], passphrase: &[u8]) -> Result<KeyPair, KeyError> {
    let info = EncryptedPrivateKeyInfoRef::try_from(der).map_err(|_| KeyError::NotAKey)?;
    // Told apart because the remedies differ: what is wrong after this is the passphrase.
    if info.encryption_algorithm.pbes2().is_none() {
        return Err(KeyError::Cipher("something other than PBES2".to_owned()));
    }
    let plain = info.decrypt(passphrase).map_err(|_| KeyError::WrongPassphrase)?;
    KeyPair::from_pkcs8(plain.as_bytes()).map_err(|_| KeyError::WrongPassphrase)
}

/// What OpenSSL 1.x wrote for PKCS#1: `DEK-Info` names the cipher and its vector, of which the
/// first 8 bytes are the salt of the key derivation, too.
fn decrypt_legacy(block: &Pem, passphrase: &[u8]) -> Result<KeyPair, KeyError> {
    let info = block.headers().get("DEK-Info").ok_or(KeyError::NotAKey)?;
    let (name, vector) = info.split_once(',').ok_or(KeyError::NotAKey)?;
    let (cipher, length) = legacy_cipher(name.trim()).ok_or_else(|| KeyError::Cipher(name.trim().to_owned()))?;
    let vector = hex16(vector.trim()).ok_or(KeyError::NotAKey)?;
    let key = legacy_key(passphrase, &vector[..8], length);
    let key = UnboundCipherKey::new(cipher, &key).and_then(PaddedBlockDecryptingKey::cbc_pkcs7);
    let mut text = block.contents().to_vec();
    let context = DecryptionContext::Iv128(FixedLength::from(vector));
    let plain = key.and_then(|key| key.decrypt(&mut text, context)).map_err(|_| KeyError::WrongPassphrase)?;
    // One wrong passphrase in 256 leaves a padding that looks right.
    KeyPair::from_der(plain).map_err(|_| KeyError::WrongPassphrase)
}

/// A cipher and the length of its key in bytes.
fn legacy_cipher(name: &str) -> Option<(&'static Algorithm, usize)> {
    match name {
        "AES-128-CBC" => Some((&AES_128, AES_128_KEY_LEN)),
        "AES-192-CBC" => Some((&AES_192, AES_192_KEY_LEN)),
        "AES-256-CBC" => Some((&AES_256, AES_256_KEY_LEN)),
        _ => None,
    }
}

/// OpenSSL's `EVP_BytesToKey` with MD5 and one round.
fn legacy_key(passphrase: &[u8], salt: &[u8], length: usize) -> Vec<u8> {
    let mut key = Vec::with_capacity(length + 16);
    let mut last: Vec<u8> = Vec::new();
    while key.len() < length {
        last = Md5::new().chain_update(&last).chain_update(passphrase).chain_update(salt).finalize().to_vec();
        key.extend_from_slice(&last);
    }
    key.truncate(length);
    key
}

fn hex16(text: &str) -> Option<[u8; 16]> {
    if text.len() != 32 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    Some(u128::from_str_radix(text, 16).ok()?.to_be_bytes())
}

// === impl Passphrase ===

impl Passphrase {
    /// A passphrase as written in a profile.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase")
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::KeyPair as _;
    use serde_json::Value;

    use super::*;

    const FORMS: [&str; 6] = [
        "private_key_pkcs8_pem",
        "private_key_pkcs1_pem",
        "private_key_with_console_label_pem",
        "private_key_pkcs8_encrypted_pem",
        "private_key_pkcs1_encrypted_pem",
        "private_key_pkcs1_aes128_openssl_pem",
    ];

    fn vectors() -> Value {
        serde_json::from_str(include_str!("../../tests/golden/oci/vectors.json")).unwrap()
    }

    #[test]
    fn each_form_of_a_key_is_the_same_key() {
        let vectors = vectors();
        let right = Passphrase::new(vectors["passphrase"].as_str().unwrap());
        let public = |form: &str| {
            let pem = vectors[form].as_str().unwrap().as_bytes();
            private_key(pem, Some(&right)).unwrap().public_key().as_ref().to_vec()
        };
        for form in FORMS {
            assert_eq!(public(form), public(FORMS[0]), "{form}");
        }
    }

    #[test]
    fn a_protected_key_says_whether_the_passphrase_is_absent_or_wrong() {
        let vectors = vectors();
        let wrong = Passphrase::new("wrong");
        for form in FORMS {
            let pem = vectors[form].as_str().unwrap().as_bytes();
            let protected = pem.windows(9).any(|window| window == b"ENCRYPTED");
            let absent = private_key(pem, None).err();
            assert_eq!(absent, protected.then_some(KeyError::Protected), "{form}");
            assert_eq!(private_key(pem, Some(&wrong)).err(), protected.then_some(KeyError::WrongPassphrase), "{form}");
        }
    }

    #[test]
    fn what_is_no_private_key_says_what_it_is() {
        let public = vectors()["public_key_pem"].as_str().unwrap().to_owned();
        assert_eq!(private_key(public.as_bytes(), None).err(), Some(KeyError::PublicOnly));
        for nonsense in ["", "hello", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"] {
            assert_eq!(private_key(nonsense.as_bytes(), None).err(), Some(KeyError::NotAKey), "{nonsense}");
        }
        let old = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: DES-EDE3-CBC,0011223344556677\n\nAAAA\n-----END RSA PRIVATE KEY-----\n";
        let unsupported = private_key(old.as_bytes(), Some(&Passphrase::new("x"))).err();
        assert_eq!(unsupported, Some(KeyError::Cipher("DES-EDE3-CBC".to_owned())));
    }
}
