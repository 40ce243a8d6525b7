//! Debian's RabbitMQ with its plugin for OAuth 2.0: which scopes a token needs.

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;

use super::{config, length, one, source};
use crate::support::files::Files;
use crate::support::rabbitmq::Broker;
use crate::support::server::Server;

/// A JWT of the issuer with this key, for an hour.
fn token(key: &KeyPair, scopes: &[&str]) -> String {
    let expires = jiff::Timestamp::now().as_second() + 3600;
    let header = json!({"alg": "RS256", "typ": "JWT", "kid": "test"});
    let claims = json!({"aud": ["rabbitmq"], "sub": "depthgauge", "exp": expires, "scope": scopes});
    let [header, claims] = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
    let signed = format!("{header}.{claims}");
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature).unwrap();
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_needs_a_tag_and_a_scope_of_the_vhost() {
    let (files, key) = (Files::new(), KeyPair::generate(KeySize::Rsa2048).unwrap());
    let public = pem::encode(&pem::Pem::new("PUBLIC KEY", key.public_key().as_der().unwrap().as_ref()));
    let settings = format!(
        "auth_backends.1 = internal\nauth_backends.2 = rabbit_auth_backend_oauth2\nauth_oauth2.resource_server_id = rabbitmq\nauth_oauth2.default_key = test\nauth_oauth2.signing_keys.test = {}\n",
        files.write("issuer.pem", &public)
    );
    let broker = Broker::start(&settings, "").await;
    broker.declare("/", "orders", "classic").await;
    broker.publish("/", "orders", 7).await;
    let read = async |scopes: &[&str]| {
        let auth = json!({"auth": {"type": "bearer", "tokenFile": files.write("token", &token(&key, scopes))}});
        let server =
            Server::start(&config(&broker.url, &auth, &json!({}), &[source(&json!({"queue": "orders"}))])).await;
        length(&server, "queue=orders").await
    };
    assert_eq!(read(&["rabbitmq.tag:management", "rabbitmq.read:%2F/*"]).await, one("7"));
    for scopes in [&["rabbitmq.read:%2F/*"][..], &["rabbitmq.tag:management"], &[]] {
        let (code, message) = read(scopes).await.unwrap_err();
        assert!(code == 503 && message.contains("401"), "{scopes:?}: {message}");
    }
}
