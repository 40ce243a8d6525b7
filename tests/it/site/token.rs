//! Tokens by client credentials: `auth: {type: oauth2}`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::join_all;

use super::{open, open_config, read};
use crate::support::double::{Answer, Double, Received};
use crate::support::files::Files;
use crate::support::log::captured;

const SECRET: &str = "s3cr%t of-the-client";

/// A token service, and a service that takes its last token.
struct Scene {
    tokens: Double,
    service: Double,
    files: Files,
}

impl Scene {
    /// `answer` gets each token request and its number, from 1.
    async fn new(answer: impl Fn(&Received, usize) -> Answer + Send + Sync + 'static) -> Self {
        let issued = Arc::new(AtomicUsize::new(0));
        let count = issued.clone();
        let tokens = Double::start(None, move |request| answer(request, count.fetch_add(1, Ordering::Relaxed) + 1));
        let service = Double::start(None, move |request| {
            let wanted = format!("Bearer token-{}", issued.load(Ordering::Relaxed));
            if request.header("authorization") == wanted { (200, "7".to_owned()) } else { (401, String::new()) }
        });
        let files = Files::new();
        files.write("secret", &format!("{SECRET}\n"));
        Self { tokens: tokens.await, service: service.await, files }
    }

    fn keys(&self, more: &str) -> String {
        let (service, tokens, secret) = (self.service.address, self.tokens.address, self.files.path("secret"));
        format!(
            "url: \"http://{service}\", auth: {{type: oauth2, tokenUrl: \"http://{tokens}/token\", clientId: \"a b\", clientSecretFile: {}{more}}}",
            secret.display()
        )
    }
}

fn token(number: usize) -> Answer {
    (200, format!("{{\"access_token\": \"token-{number}\", \"token_type\": \"bearer\", \"expires_in\": 3600}}"))
}

#[tokio::test]
async fn a_token_is_requested_once_for_all_reads() {
    let scene = Scene::new(|_, number| token(number)).await;
    let source = open(&scene.keys(", scopes: [read, \"a:b\"], params: {audience: \"x y\"}"));
    let reads = join_all((0..8).map(|_| read(&*source))).await;
    assert!(reads.iter().all(|read| read.as_deref().is_ok_and(|value| value == "7")), "{reads:?}");
    assert_eq!(scene.tokens.count(), 1);
    let request = scene.tokens.last();
    assert_eq!((request.method.as_str(), request.target.as_str()), ("POST", "/token"));
    assert_eq!(request.header("content-type"), "application/x-www-form-urlencoded");
    // printf 'a%%20b:s3cr%%25t%%20of-the-client' | base64
    assert_eq!(request.header("authorization"), "Basic YSUyMGI6czNjciUyNXQlMjBvZi10aGUtY2xpZW50");
    assert_eq!(request.body, "grant_type=client_credentials&scope=read%20a%3Ab&audience=x%20y");
}

#[tokio::test]
async fn a_client_that_is_refused_by_header_authenticates_in_the_form_from_then_on() {
    let scene = Scene::new(|request, number| match request.header("authorization") {
        "" => token(number),
        _ => (401, "{\"error\": \"invalid_client\"}".to_owned()),
    })
    .await;
    let source = open(&scene.keys(""));
    assert_eq!(read(&*source).await.unwrap(), "7");
    assert_eq!(scene.tokens.count(), 2);
    let body = "grant_type=client_credentials&client_id=a%20b&client_secret=s3cr%25t%20of-the-client";
    assert_eq!(scene.tokens.last().body, body);
}

#[tokio::test]
async fn a_refused_token_is_replaced_once_a_minute() {
    let scene = Scene::new(|_, number| token(number.min(2))).await;
    let source = open(&scene.keys(""));
    assert_eq!(read(&*source).await.unwrap(), "7");
    // Another client got a token, which ended ours.
    let client = open(&scene.keys(""));
    assert_eq!(read(&*client).await.unwrap(), "7");
    assert_eq!(scene.tokens.count(), 2);
    // The third token is refused, too.
    for _ in 0..3 {
        assert_eq!(read(&*source).await.unwrap_err().cause, "401");
        assert_eq!(scene.tokens.count(), 3);
    }
}

#[test]
fn what_the_token_service_says_is_the_cause_and_no_secret_is_shown() {
    captured(async |log| {
        for (status, body, cause) in [
            (401, "{\"error\": \"invalid_client\"}".to_owned(), "token service: 401 invalid_client"),
            (400, "{\"error\": \"invalid_scope\"}".to_owned(), "token service: 400 invalid_scope"),
            (503, String::new(), "token service: 503"),
            (302, String::new(), "token service: 302"),
            (200, "<html>".to_owned(), "token service: the answer is not understood"),
            (
                200,
                "{\"access_token\": \"hidden-token\", \"token_type\": \"mac\"}".to_owned(),
                "token service: the answer is not understood",
            ),
            (200, "{\"access_token\": \"hidden-token\"}".to_owned(), "token service: the answer is not understood"),
            (500, format!("sent {SECRET}"), "token service: 500"),
        ] {
            let scene = Scene::new(move |_, _| (status, body.clone())).await;
            let source = open(&scene.keys(""));
            let error = read(&*source).await.unwrap_err();
            assert_eq!((error.operation.as_str(), error.cause.as_str()), ("authenticate", cause));
            let shown = format!("{error:?}");
            assert!(!shown.contains(SECRET) && !shown.contains("hidden-token"), "{shown}");
            assert_eq!(scene.service.count(), 0);
        }
        let log = log.text();
        assert!(log.contains("cannot authenticate to token service 127.0.0.1:"), "{log}");
        assert!(!log.contains(SECRET) && !log.contains("hidden-token"), "{log}");
        assert!(!log.contains("YSUyMGI6czNjciUyNXQlMjBvZi10aGUtY2xpZW50"), "{log}");
    });
}

#[tokio::test]
async fn a_secret_that_is_not_there_ends_the_start() {
    let scene = Scene::new(|_, number| token(number)).await;
    std::fs::remove_file(scene.files.path("secret")).unwrap();
    let error = open_config(&super::config(&scene.keys(""))).err().unwrap().to_string();
    assert!(error.starts_with(":4:3: file ") && error.contains("No such file"), "{error}");
}
