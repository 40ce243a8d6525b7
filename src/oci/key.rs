//! A private key out of a PEM text: PKCS#8 and PKCS#1, plain or under a passphrase, the latter
//! also as OpenSSL 1.x wrote it (`Proc-Type: 4,ENCRYPTED`).
//!
//! DES, RC2 and keys of less than 2048 bits are refused, each with a message that has the command
//! to replace them. Pure: [`credentials`](super::credentials) reads the file and the passphrase.

use std::fmt;

use aws_lc_rs::cipher::{
    AES_128, AES_128_KEY_LEN, AES_192, AES_192_KEY_LEN, AES_256, AES_256_KEY_LEN, Algorithm, DecryptionContext,
    PaddedBlockDecryptingKey, UnboundCipherKey,
};
use aws_lc_rs::error::KeyRejected;
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::rsa::KeyPair;
use md5::{Digest as _, Md5};
use memchr::memmem;
use pem::Pem;
use pkcs8::EncryptedPrivateKeyInfoRef;
use x509_parser::asn1_rs::{Any, FromDer as _, Oid, oid};
use x509_parser::x509::AlgorithmIdentifier;

/// What begins each block of a PEM text.
const BEGIN: &[u8] = b"-----BEGIN ";
/// The scheme whose parameters name the cipher; each older scheme is a cipher itself.
const PBES2: Oid<'static> = oid!(1.2.840.113549.1.5.13);
/// The ciphers that PBES2 uses here: AES in CBC and GCM mode.
const AES: Oid<'static> = oid!(2.16.840.1.101.3.4.1);
/// The ciphers that other tools still write, by their names in OpenSSL.
static OTHER_CIPHERS: [(Oid<'static>, &str); 6] = [
    (oid!(1.2.840.113549.3.7), "DES-EDE3-CBC (Triple DES)"),
    (oid!(1.3.14.3.2.7), "DES-CBC"),
    (oid!(1.2.840.113549.3.2), "RC2-CBC"),
    (oid!(1.2.840.113549.1.12.1.3), "PBE-SHA1-3DES (PBES1)"),
    (oid!(1.2.840.113549.1.12.1), "PBES1 of PKCS#12"),
    (oid!(1.2.840.113549.1.5), "PBES1"),
];

/// What protects a key; never printed.
#[derive(Clone)]
pub struct Passphrase(String);

/// What a PEM text holds instead of an RSA private key that can be used.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum KeyError {
    /// Encrypted, and no passphrase is set.
    #[error("the private key is protected by a passphrase: set `pass_phrase` in the profile")]
    Protected,
    /// Encrypted with another passphrase.
    #[error("the passphrase is not the private key's")]
    WrongPassphrase,
    /// The same, and the passphrase seems to have a comment after it.
    #[error(
        "the passphrase is not the private key's: a comment after `pass_phrase` is part of it, so move it to a line of its own"
    )]
    CommentInPassphrase,
    /// Encrypted with a cipher that is not supported.
    #[error(
        "the private key is encrypted with {0}, which is not supported: convert it with `openssl pkey -in KEY -aes256 -out NEW`"
    )]
    Cipher(String),
    /// Too short.
    #[error(
        "the private key has less than 2048 bits, the minimum: make a new one with `openssl genrsa -out KEY 2048`, and add its public key to the user"
    )]
    TooShort,
    /// Too long.
    #[error("the private key has more than 8192 bits, the maximum")]
    TooLong,
    /// Of another algorithm.
    #[error(
        "the private key is not an RSA key: make one with `openssl genrsa -out KEY 2048`, and add its public key to the user"
    )]
    NotRsa,
    /// In the format of OpenSSH.
    #[error("the private key is in OpenSSH's format: convert it with `ssh-keygen -p -m PEM -f KEY`")]
    OpenSsh,
    /// The wrong half.
    #[error("this is a public key: name the private key that was made with it")]
    PublicOnly,
    /// Nothing of use.
    #[error("no RSA private key in PEM form found (BEGIN PRIVATE KEY or BEGIN RSA PRIVATE KEY)")]
    NotAKey,
}

/// The first private key of a PEM text, as in the SDKs. A public key or a certificate before it,
/// and what follows its END line, are ignored: keys from the OCI console end in a line
/// `OCI_API_KEY`. So is the passphrase of a key that has none, since a profile may inherit one.
pub fn private_key(pem: &[u8], passphrase: Option<&Passphrase>) -> Result<KeyPair, KeyError> {
    let mut other = KeyError::NotAKey;
    for at in memmem::find_iter(pem, BEGIN) {
        let Ok(block) = pem::parse(&pem[at..]) else { continue };
        let tag = block.tag();
        if tag.ends_with("PRIVATE KEY") {
            return key_of(&block, passphrase);
        }
        if tag.ends_with("PUBLIC KEY") {
            other = KeyError::PublicOnly;
        }
    }
    Err(other)
}

fn key_of(block: &Pem, passphrase: Option<&Passphrase>) -> Result<KeyPair, KeyError> {
    match block.tag() {
        "ENCRYPTED PRIVATE KEY" => decrypt_pkcs8(block.contents(), passphrase),
        "RSA PRIVATE KEY" if block.headers().get("Proc-Type").is_some() => decrypt_legacy(block, passphrase),
        "PRIVATE KEY" => KeyPair::from_pkcs8(block.contents()).map_err(|why| unusable(why, KeyError::NotAKey)),
        "RSA PRIVATE KEY" => KeyPair::from_der(block.contents()).map_err(|why| unusable(why, KeyError::NotAKey)),
        "OPENSSH PRIVATE KEY" => Err(KeyError::OpenSsh),
        // EC and DSA.
        _ => Err(KeyError::NotRsa),
    }
}

/// Why the library rejects a key; `otherwise` for what is no key at all.
fn unusable(why: KeyRejected, otherwise: KeyError) -> KeyError {
    // `KeyRejected` has no variants, only this text.
    match why.description_() {
        "TooSmall" => KeyError::TooShort,
        "TooLarge" => KeyError::TooLong,
        "WrongAlgorithm" => KeyError::NotRsa,
        _ => otherwise,
    }
}

/// PKCS#5 PBES2, as OpenSSL writes it since 1.1.
fn decrypt_pkcs8(der: &[u8], passphrase: Option<&Passphrase>) -> Result<KeyPair, KeyError> {
    let cipher = cipher(der).ok_or(KeyError::NotAKey)?;
    if !cipher.starts_with(&AES) {
        let named = OTHER_CIPHERS.iter().find(|(known, _)| cipher.starts_with(known));
        return Err(KeyError::Cipher(named.map_or_else(|| cipher.to_id_string(), |(_, name)| (*name).to_owned())));
    }
    let passphrase = passphrase.ok_or(KeyError::Protected)?;
    // Another mode than CBC and GCM, or another derivation.
    let info = EncryptedPrivateKeyInfoRef::try_from(der).map_err(|_| KeyError::Cipher(cipher.to_id_string()))?;
    let plain = info.decrypt(passphrase.0.as_bytes()).map_err(|_| passphrase.wrong())?;
    KeyPair::from_pkcs8(plain.as_bytes()).map_err(|why| unusable(why, passphrase.wrong()))
}

/// The cipher that a PKCS#8 key is encrypted with.
fn cipher(der: &[u8]) -> Option<Oid<'_>> {
    let (_, info) = Any::from_der(der).ok()?;
    let (_, scheme) = AlgorithmIdentifier::from_der(info.data).ok()?;
    if scheme.algorithm != PBES2 {
        return Some(scheme.algorithm);
    }
    let (rest, _derivation) = AlgorithmIdentifier::from_der(scheme.parameters?.data).ok()?;
    let (_, cipher) = AlgorithmIdentifier::from_der(rest).ok()?;
    Some(cipher.algorithm)
}

/// What OpenSSL 1.x wrote for PKCS#1. Its `DEK-Info` names the cipher and its vector. The first 8
/// bytes of the vector are the salt of the key derivation, too.
fn decrypt_legacy(block: &Pem, passphrase: Option<&Passphrase>) -> Result<KeyPair, KeyError> {
    let info = block.headers().get("DEK-Info").ok_or(KeyError::NotAKey)?;
    let (name, vector) = info.split_once(',').ok_or(KeyError::NotAKey)?;
    let (cipher, length) = legacy_cipher(name.trim()).ok_or_else(|| KeyError::Cipher(name.trim().to_owned()))?;
    let vector = hex16(vector.trim()).ok_or(KeyError::NotAKey)?;
    let passphrase = passphrase.ok_or(KeyError::Protected)?;
    let key = legacy_key(passphrase.0.as_bytes(), &vector[..8], length);
    let key = UnboundCipherKey::new(cipher, &key).and_then(PaddedBlockDecryptingKey::cbc_pkcs7);
    let mut text = block.contents().to_vec();
    let context = DecryptionContext::Iv128(FixedLength::from(vector));
    let plain = key.and_then(|key| key.decrypt(&mut text, context)).map_err(|_| passphrase.wrong())?;
    // One wrong passphrase in 256 leaves a padding that looks right.
    KeyPair::from_der(plain).map_err(|why| unusable(why, passphrase.wrong()))
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

/// Whether a value seems to have a comment after it, which the format does not have.
pub(super) fn has_comment(value: &str) -> bool {
    [" #", "\t#", " ;", "\t;"].iter().any(|mark| value.contains(mark))
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

    fn wrong(&self) -> KeyError {
        if has_comment(&self.0) { KeyError::CommentInPassphrase } else { KeyError::WrongPassphrase }
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
    fn the_private_key_may_follow_other_blocks() {
        let vectors = vectors();
        let (public, private) = (vectors["public_key_pem"].as_str().unwrap(), vectors[FORMS[0]].as_str().unwrap());
        let broken = "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n";
        for before in [public, broken, "-----BEGIN ", "\u{feff}"] {
            assert!(private_key(format!("{before}\n{private}").as_bytes(), None).is_ok(), "{before}");
        }
    }

    #[test]
    fn a_key_that_cannot_be_used_says_why() {
        let cipher = |name: &str| KeyError::Cipher(name.to_owned());
        let mut refused = Vec::new();
        for (pem, error) in [
            (include_str!("../../tests/golden/oci/keys/pkcs8-des3.pem"), cipher("DES-EDE3-CBC (Triple DES)")),
            (include_str!("../../tests/golden/oci/keys/pkcs8-pbe-sha1-3des.pem"), cipher("PBE-SHA1-3DES (PBES1)")),
            (include_str!("../../tests/golden/oci/keys/pkcs8-pbe-md5-des.pem"), cipher("PBES1")),
            (include_str!("../../tests/golden/oci/keys/pkcs1-des3.pem"), cipher("DES-EDE3-CBC")),
            (include_str!("../../tests/golden/oci/keys/short.pem"), KeyError::TooShort),
            (include_str!("../../tests/golden/oci/keys/short-aes.pem"), KeyError::TooShort),
            (include_str!("../../tests/golden/oci/keys/ec.pem"), KeyError::NotRsa),
            ("-----BEGIN EC PRIVATE KEY-----\n-----END EC PRIVATE KEY-----\n", KeyError::NotRsa),
            ("-----BEGIN OPENSSH PRIVATE KEY-----\n-----END OPENSSH PRIVATE KEY-----\n", KeyError::OpenSsh),
        ] {
            assert_eq!(
                private_key(pem.as_bytes(), Some(&Passphrase::new("secret"))).err(),
                Some(error.clone()),
                "{pem}"
            );
            refused.push(error.to_string());
        }
        assert!(refused.iter().all(|message| message.contains("with `") && !message.contains("anew")), "{refused:?}");
    }

    #[test]
    fn a_comment_after_the_passphrase_is_named() {
        let vectors = vectors();
        let passphrase = format!("{} # of the key", vectors["passphrase"].as_str().unwrap());
        for form in ["private_key_pkcs8_encrypted_pem", "private_key_pkcs1_encrypted_pem"] {
            let error = private_key(vectors[form].as_str().unwrap().as_bytes(), Some(&Passphrase::new(&*passphrase)));
            assert_eq!(error.err(), Some(KeyError::CommentInPassphrase), "{form}");
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
