//! Certificates of both ends: `tls`.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::server::WebPkiClientVerifier;
use tokio_rustls::TlsAcceptor;

use super::{config, open, open_config, read};
use crate::support::authority::Authority;
use crate::support::double::Double;
use crate::support::eventually;
use crate::support::files::Files;

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A server that wants a client certificate of this authority.
fn mutual(authority: &Authority) -> TlsAcceptor {
    crate::support::crypto();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.pem.as_bytes()).unwrap()).unwrap();
    let clients = WebPkiClientVerifier::builder(Arc::new(roots)).build().unwrap();
    let (chain, key) = authority.server_at(HERE).into_parts();
    let config = rustls::ServerConfig::builder().with_client_cert_verifier(clients).with_single_cert(chain, key);
    TlsAcceptor::from(Arc::new(config.unwrap()))
}

async fn seven(acceptor: TlsAcceptor) -> Double {
    Double::start(Some(acceptor), |_| (200, "7".to_owned())).await
}

#[tokio::test]
async fn a_client_certificate_goes_with_any_auth() {
    let (files, authority) = (Files::new(), Authority::named("own"));
    let double = seven(mutual(&authority)).await;
    let (certificate, key) = authority.client("depthgauge", &[]).pem();
    let ca = files.write("ca.pem", &authority.pem);
    let both = files.write("both.pem", &format!("{certificate}{key}"));
    let (certificate, key) = (files.write("tls.crt", &certificate), files.write("tls.key", &key));
    let secret = files.write("secret", "t0k");
    let url = format!("url: \"https://{}\"", double.address);
    for tls in [format!("certFile: {certificate}, keyFile: {key}"), format!("certFile: {both}")] {
        for (auth, sent) in [
            ("type: none".to_owned(), ""),
            (format!("type: bearer, tokenFile: {secret}"), "Bearer t0k"),
            // printf 'jo:t0k' | base64
            (format!("type: basic, username: jo, passwordFile: {secret}"), "Basic am86dDBr"),
        ] {
            let keys = format!("{url}, tls: {{caFile: {ca}, {tls}}}, auth: {{{auth}}}");
            assert_eq!(read(&*open(&keys)).await.unwrap(), "7", "{keys}");
            assert_eq!(double.last().header("authorization"), sent, "{keys}");
        }
    }
    let error = read(&*open(&format!("{url}, tls: {{caFile: {ca}}}"))).await.unwrap_err();
    assert_eq!(error.cause, "TLS handshake failed");
}

#[tokio::test]
async fn a_ca_file_replaces_the_systems_and_is_followed() {
    let (files, authority) = (Files::new(), Authority::named("own"));
    let double = seven(authority.acceptor_for(HERE)).await;
    let ca = files.write("ca.pem", &Authority::named("other").pem);
    let url = format!("url: \"https://{}\"", double.address);
    let source = open(&format!("{url}, tls: {{caFile: {ca}}}"));
    let error = read(&*source).await.unwrap_err();
    assert_eq!(error.cause, "TLS handshake failed");
    assert!(error.remedy.contains("`tls.caFile`"), "{}", error.remedy);
    files.write("ca.pem", &authority.pem);
    eventually("a read with the new CA", async || read(&*source).await.ok()).await;
    // What can't be used changes nothing.
    files.write("ca.pem", "no certificate");
    assert_eq!(read(&*source).await.unwrap(), "7");
    // Without it, the system's CAs are trusted, and this one is none of them.
    assert_eq!(read(&*open(&url)).await.unwrap_err().cause, "TLS handshake failed");
}

#[tokio::test]
async fn a_server_name_is_the_name_of_the_certificate_and_not_the_host_of_the_request() {
    let (files, authority) = (Files::new(), Authority::named("own"));
    let double = seven(authority.acceptor_named(&["rabbitmq.example.com"])).await;
    let ca = files.write("ca.pem", &authority.pem);
    for (host, name, is_good) in [
        ("127.0.0.1", "rabbitmq.example.com", true),
        ("localhost", "rabbitmq.example.com", true),
        ("127.0.0.1", "other.example.com", false),
    ] {
        let address = format!("{host}:{}", double.address.port());
        let source = open(&format!("url: \"https://{address}\", tls: {{caFile: {ca}, serverName: {name}}}"));
        let found = read(&*source).await;
        if is_good {
            assert_eq!(found.unwrap(), "7", "{host}");
            assert_eq!(double.last().header("host"), address);
            assert_eq!(source.upstream().unwrap().host, Some(address));
        } else {
            assert_eq!(found.unwrap_err().cause, "TLS handshake failed");
        }
    }
}

#[tokio::test]
async fn files_of_tls_that_can_not_be_used_end_the_start() {
    let files = Files::new();
    let (ca, text) = (files.write("ca.pem", ""), files.write("text", "x"));
    for (tls, what) in [
        (format!("caFile: {ca}"), format!("file {ca}: no certificate in it")),
        ("caFile: /absent".to_owned(), "file /absent: No such file".to_owned()),
        (format!("certFile: {text}"), format!("file {text}: ")),
    ] {
        let error = open_config(&config(&format!("url: \"https://127.0.0.1:1\", tls: {{{tls}}}"))).err().unwrap();
        let error = error.to_string();
        assert!(error.starts_with(":4:3: ") && error.contains(&what), "{error}");
    }
}
