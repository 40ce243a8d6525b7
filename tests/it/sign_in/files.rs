//! Keys and tokens in files: API key, session token, resource principal.

use std::path::PathBuf;

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::KeyPair as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use depthgauge::oci::credentials::Credentials;
use depthgauge::oci::environment::Environment;
use depthgauge::oci::resource_principal::ResourcePrincipal;
use jiff::Timestamp;
use serde_json::Value;
use std::time::Duration;
use tempfile::TempDir;

use super::sign_in_error;
use crate::support::eventually;
use crate::support::principals::{SignedQueue, Tokens, client};

const LONG: Duration = Duration::from_secs(3600);

/// A key in PEM form, and its public half in base64.
fn new_key() -> (String, String) {
    let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
    let private: Pkcs8V1Der<'_> = pair.as_der().unwrap();
    let public: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
    (pem::encode(&pem::Pem::new("PRIVATE KEY", private.as_ref())), STANDARD.encode(public.as_ref()))
}

/// A token and its key in files.
struct Files {
    dir: TempDir,
    tokens: Tokens,
}

impl Files {
    fn new() -> Self {
        let files = Self { dir: tempfile::tempdir().unwrap(), tokens: Tokens::default() };
        files.renew(LONG);
        let text = format!(
            "[DEFAULT]\nregion=fra\n[SESSION]\nsecurity_token_file={}\nkey_file={}\n",
            files.path("token").display(),
            files.path("key").display()
        );
        std::fs::write(files.path("config"), text).unwrap();
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Another key and token, each in one step as a Secret's volume does it.
    fn renew(&self, lifetime: Duration) -> String {
        let (pem, public) = new_key();
        let token = self.tokens.issue(&public, lifetime);
        for (name, text) in [("key", pem), ("token", format!("{token}\n"))] {
            std::fs::write(self.path("new"), text).unwrap();
            std::fs::rename(self.path("new"), self.path(name)).unwrap();
        }
        token
    }

    fn session(&self) -> Credentials {
        Credentials::session_token(&self.path("config"), "SESSION", Timestamp::now).unwrap()
    }

    fn resource_principal(&self, values: &[(&str, String)]) -> Credentials {
        let var = |name: &str| values.iter().find(|(key, _)| *key == name).map(|(_, value)| value.clone());
        let principal = ResourcePrincipal::from_env(&Environment::new(&var, &|_| false)).unwrap();
        Credentials::resource_principal(principal, Timestamp::now).unwrap()
    }
}

#[tokio::test]
async fn a_session_token_signs_and_is_read_again_when_it_changes() {
    let files = Files::new();
    let queue = SignedQueue::believing(files.tokens.clone()).await;
    let client = client(files.session());
    queue.read(&client).await.unwrap();
    assert_eq!(queue.last_token(), files.tokens.all()[0], "without the line feed of its file");
    let renewed = files.renew(LONG);
    eventually("a request with the new token", async || {
        queue.read(&client).await.unwrap();
        (queue.last_token() == renewed).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_401_looks_at_the_files_at_once() {
    let files = Files::new();
    let queue = SignedQueue::believing(files.tokens.clone()).await;
    let client = client(files.session());
    queue.read(&client).await.unwrap();
    files.tokens.revoke_all();
    let renewed = files.renew(LONG);
    queue.read(&client).await.unwrap();
    assert_eq!(queue.last_token(), renewed);
    // Nothing new: refused once, not repeated.
    files.tokens.revoke_all();
    let before = queue.double.count();
    queue.read(&client).await.unwrap_err();
    assert_eq!(queue.double.count(), before + 1);
}

#[tokio::test]
async fn bad_new_files_change_nothing() {
    let files = Files::new();
    let queue = SignedQueue::believing(files.tokens.clone()).await;
    let first = files.tokens.all()[0].clone();
    for (name, text) in [("key", "no key"), ("token", " \n"), ("config", "[SESSION]\nnonsense")] {
        // Files are read at once after a refusal, and then not before a minute has passed.
        let credentials = files.session();
        let client = client(credentials.clone());
        let right = std::fs::read(files.path(name)).unwrap();
        std::fs::write(files.path(name), text).unwrap();
        let by = tokio::time::Instant::now();
        let signer = credentials.signer(by).await.unwrap();
        assert!(credentials.other_than(&signer, by).await.is_none(), "{name}");
        queue.read(&client).await.unwrap();
        assert_eq!(queue.last_token(), first);
        std::fs::write(files.path(name), right).unwrap();
    }
    let client = client(files.session());
    std::fs::remove_file(files.path("key")).unwrap();
    queue.read(&client).await.unwrap();
}

#[tokio::test]
async fn after_a_refusal_files_are_read_at_most_once_a_minute() {
    let files = Files::new();
    let credentials = files.session();
    let by = tokio::time::Instant::now();
    let first = credentials.signer(by).await.unwrap();
    let second_token = files.renew(LONG);
    let second = credentials.other_than(&first, by).await.unwrap();
    let signable =
        depthgauge::oci::sign::Signable { method: "GET", target: "/", host: Some("h"), date: "d", content: None };
    assert!(second.authorization(&signable).unwrap().contains(&second_token));
    files.renew(LONG);
    assert!(credentials.other_than(&second, by).await.is_none(), "the files were read a moment ago");
    // A request with the first one that is refused now uses what is known.
    assert!(std::sync::Arc::ptr_eq(&credentials.other_than(&first, by).await.unwrap(), &second));
}

#[tokio::test]
async fn an_expired_session_token_is_said_and_not_sent() {
    let files = Files::new();
    files.renew(Duration::ZERO);
    let queue = SignedQueue::believing(files.tokens.clone()).await;
    let client = client(files.session());
    let error = sign_in_error(queue.read(&client).await);
    assert_eq!(error.cause, "the token has expired");
    assert!(error.remedy.contains("oci session authenticate"));
    assert_eq!(queue.double.count(), 0);
    files.renew(LONG);
    eventually("a read with the new token", async || queue.read(&client).await.ok()).await;
}

#[tokio::test]
async fn an_api_key_is_read_again_when_its_profile_changes() {
    let files = Files::new();
    let vectors: Value = serde_json::from_str(include_str!("../../golden/oci/vectors.json")).unwrap();
    let text = |name: &str| vectors[name].as_str().unwrap().to_owned();
    let profile = |user: &str, key: &str| {
        format!(
            "[DEFAULT]\nuser=ocid1.user.oc1..{user}\ntenancy=ocid1.tenancy.oc1..t\nfingerprint={}\nkey_file={}\npass_phrase={}\n",
            text("fingerprint"),
            files.path(key).display(),
            text("passphrase"),
        )
    };
    std::fs::write(files.path("plain"), text("private_key_pkcs8_pem")).unwrap();
    std::fs::write(files.path("protected"), text("private_key_pkcs1_encrypted_pem")).unwrap();
    std::fs::write(files.path("api"), profile("one", "plain")).unwrap();
    let credentials = Credentials::api_key(&files.path("api"), "DEFAULT").unwrap();
    let by = tokio::time::Instant::now();
    let first = credentials.signer(by).await.unwrap();
    std::fs::write(files.path("api"), profile("two", "protected")).unwrap();
    let second = credentials.other_than(&first, by).await.unwrap();
    let signable =
        depthgauge::oci::sign::Signable { method: "GET", target: "/", host: Some("h"), date: "d", content: None };
    let (first, second) = (first.authorization(&signable).unwrap(), second.authorization(&signable).unwrap());
    // The same key under another name.
    assert_eq!(first.replace("..one/", "..two/"), second);
}

#[tokio::test]
async fn a_resource_principal_is_in_files_or_in_the_variables_themselves() {
    let files = Files::new();
    let queue = SignedQueue::believing(files.tokens.clone()).await;
    let content = |name: &str| std::fs::read_to_string(files.path(name)).unwrap();
    let path = |name: &str| files.path(name).display().to_string();
    for (token, key) in [
        (path("token"), path("key")),
        (content("token"), content("key")),
        (path("token"), content("key")),
        (content("token"), path("key")),
    ] {
        let credentials = files.resource_principal(&[
            ("OCI_RESOURCE_PRINCIPAL_VERSION", "2.2".to_owned()),
            ("OCI_RESOURCE_PRINCIPAL_RPST", token),
            ("OCI_RESOURCE_PRINCIPAL_PRIVATE_PEM", key),
            ("OCI_RESOURCE_PRINCIPAL_REGION", "fra".to_owned()),
        ]);
        assert_eq!(credentials.region(), Some("fra"));
        queue.read(&client(credentials)).await.unwrap();
    }
}

#[tokio::test]
async fn a_resource_principal_follows_its_files_and_opens_a_protected_key() {
    let files = Files::new();
    let queue = SignedQueue::believing(files.tokens.clone()).await;
    let vectors: Value = serde_json::from_str(include_str!("../../golden/oci/vectors.json")).unwrap();
    std::fs::write(files.path("key"), vectors["private_key_pkcs8_encrypted_pem"].as_str().unwrap()).unwrap();
    std::fs::write(files.path("pass"), format!("{}\n", vectors["passphrase"].as_str().unwrap())).unwrap();
    let token = files.tokens.issue(vectors["pod_key_format"].as_str().unwrap(), LONG);
    std::fs::write(files.path("token"), &token).unwrap();
    let path = |name: &str| files.path(name).display().to_string();
    let credentials = files.resource_principal(&[
        ("OCI_RESOURCE_PRINCIPAL_VERSION", "2.2".to_owned()),
        ("OCI_RESOURCE_PRINCIPAL_RPST", path("token")),
        ("OCI_RESOURCE_PRINCIPAL_PRIVATE_PEM", path("key")),
        ("OCI_RESOURCE_PRINCIPAL_PRIVATE_PEM_PASSPHRASE", path("pass")),
    ]);
    let client = client(credentials);
    queue.read(&client).await.unwrap();
    assert_eq!(queue.last_token(), token);
    files.tokens.revoke_all();
    let renewed = files.renew(LONG);
    queue.read(&client).await.unwrap();
    assert_eq!(queue.last_token(), renewed);
}

#[test]
fn what_a_resource_principal_lacks_is_named() {
    let from = |values: &[(&str, &str)]| {
        let var = |name: &str| values.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        ResourcePrincipal::from_env(&Environment::new(&var, &|_| false)).map(|_| ()).unwrap_err().to_string()
    };
    let version = "OCI_RESOURCE_PRINCIPAL_VERSION";
    assert!(from(&[]).starts_with("OCI_RESOURCE_PRINCIPAL_VERSION is not set"));
    assert_eq!(from(&[(version, "1.1")]), "OCI_RESOURCE_PRINCIPAL_VERSION is \"1.1\": only 2.2 is supported");
    assert!(from(&[(version, "2.2")]).starts_with("OCI_RESOURCE_PRINCIPAL_RPST is not set"));
    assert!(from(&[(version, "2.2"), ("OCI_RESOURCE_PRINCIPAL_RPST", "/t")]).contains("PRIVATE_PEM is not set"));
}
