//! Each type of `auth` on the wire, what a 401 does, and that no secret is shown.

use super::{PAGES, config, open, open_config, read};
use crate::support::double::{Double, Received};
use crate::support::files::Files;
use crate::support::log::captured;
use crate::support::server::Server;

#[tokio::test]
async fn each_type_is_on_the_wire() {
    let files = Files::new();
    let (user, password) = (files.write("user", "jo\n"), files.write("password", "p:ä/1\r\n"));
    let (uri, token) = (files.write("uri", "amqp://jo:p%3A%C3%A4%2F1@broker:5672/%2F\n"), files.write("token", "t0k"));
    let value = files.write("value", "s3 cr+t\n");
    // `host` of KEDA, whose last segment is the vhost.
    let of_api = files.write("of-api", "http://jo:p%3A%C3%A4%2F1@broker:15672/shop");
    // printf 'jo:p:ä/1' | base64
    let basic = ("authorization", "Basic am86cDrDpC8x");
    for (keys, header, target) in [
        (String::new(), ("authorization", ""), "/page?q=a%20b"),
        ("auth: {type: none}".to_owned(), ("authorization", ""), "/page?q=a%20b"),
        (format!("auth: {{type: basic, username: jo, passwordFile: {password}}}"), basic, "/page?q=a%20b"),
        (format!("auth: {{type: basic, usernameFile: {user}, passwordFile: {password}}}"), basic, "/page?q=a%20b"),
        (format!("auth: {{type: basic, uriFile: {uri}}}"), basic, "/page?q=a%20b"),
        (format!("auth: {{type: basic, uriFile: {of_api}}}"), basic, "/page?q=a%20b"),
        (format!("auth: {{type: bearer, tokenFile: {token}}}"), ("authorization", "Bearer t0k"), "/page?q=a%20b"),
        (
            format!("auth: {{type: header, name: X-Api-Key, valueFile: {value}}}"),
            ("x-api-key", "s3 cr+t"),
            "/page?q=a%20b",
        ),
        (
            format!("auth: {{type: query, name: key, valueFile: {value}}}"),
            ("authorization", ""),
            "/page?q=a%20b&key=s3%20cr%2Bt",
        ),
        (
            format!("headers: {{X-Scope-OrgID: shop}}, params: {{dedup: \"true\"}}, headerFiles: {{X-Key: {value}}}"),
            ("x-key", "s3 cr+t"),
            "/page?dedup=true&q=a%20b",
        ),
    ] {
        let double = Double::start(None, |_| (200, "7".to_owned())).await;
        let keys = format!("url: \"http://{}\", {keys}", double.address);
        assert_eq!(read(&*open(&keys)).await.unwrap(), "7", "{keys}");
        let sent = double.last();
        assert_eq!((sent.header(header.0), sent.target.as_str()), (header.1, target), "{keys}");
        let tenant = if keys.contains("OrgID") { "shop" } else { "" };
        assert_eq!(sent.header("x-scope-orgid"), tenant);
    }
}

#[tokio::test]
async fn a_file_that_is_no_credential_ends_the_start_and_is_named_with_its_connection() {
    let files = Files::new();
    for (content, keys, what) in [
        ("", "type: bearer, tokenFile", "it is empty"),
        ("a\nb", "type: bearer, tokenFile", "it is not a valid value of a header"),
        ("amqp://broker", "type: basic, uriFile", "it has no user and password"),
        ("jo:hidden", "type: basic, uriFile", "it has no user and password"),
    ] {
        let file = files.write("file", content);
        let text = config(&format!("url: \"http://127.0.0.1:1\", auth: {{{keys}: {file}}}"));
        let error = open_config(&text).err().unwrap().to_string();
        let place = ":4:3: ";
        assert!(error.starts_with(place) && error.contains(&file) && error.contains(what), "{error}");
        assert!(!error.contains("hidden"), "{error}");
    }
    let text = config("url: \"http://127.0.0.1:1\", auth: {type: bearer, tokenFile: /absent}");
    let error = open_config(&text).err().unwrap().to_string();
    assert!(error.starts_with(":4:3: file /absent: No such file"), "{error}");
}

const SECRET: &str = "hidden-as-long-as-nothing-repeats-it";

/// A service that takes this token only.
async fn strict(token: &'static str) -> Double {
    let wanted = format!("Bearer {token}");
    let answer =
        move |request: &Received| if request.header("authorization") == wanted { (200, "7") } else { (401, "") };
    Double::start(None, move |request| {
        let (status, body) = answer(request);
        (status, body.to_owned())
    })
    .await
}

#[tokio::test]
async fn a_401_reads_the_file_at_once() {
    let files = Files::new();
    let (double, token) = (strict("new").await, files.write("token", "old"));
    let source = open(&format!("url: \"http://{}\", auth: {{type: bearer, tokenFile: {token}}}", double.address));
    files.write("token", "new");
    assert_eq!(read(&*source).await.unwrap(), "7");
    assert_eq!(double.count(), 2);
}

#[tokio::test]
async fn a_token_that_stays_refused_costs_one_request_a_read_and_does_not_open_the_breaker() {
    let files = Files::new();
    let (double, token) = (strict("new").await, files.write("token", "old"));
    let source = open(&format!("url: \"http://{}\", auth: {{type: bearer, tokenFile: {token}}}", double.address));
    for reads in 1..=12 {
        let error = read(&*source).await.unwrap_err();
        assert_eq!((error.cause.as_str(), double.count()), ("401", reads));
        assert!(error.remedy.contains("`auth`"), "{}", error.remedy);
    }
    let next = source.upstream().unwrap();
    assert!(!next.upstream.breaker_open(&next.host.unwrap()));
}

#[test]
fn no_secret_is_in_an_error_or_in_the_log() {
    captured(async |log| {
        let files = Files::new();
        let file = files.write("file", SECRET);
        let uri = files.write("uri", &format!("amqp://jo:{SECRET}@broker"));
        for auth in [
            format!("auth: {{type: basic, username: jo, passwordFile: {file}}}"),
            format!("auth: {{type: basic, uriFile: {uri}}}"),
            format!("auth: {{type: bearer, tokenFile: {file}}}"),
            format!("auth: {{type: header, name: X-Key, valueFile: {file}}}"),
            format!("auth: {{type: query, name: key, valueFile: {file}}}"),
            format!("headerFiles: {{X-Key: {file}}}"),
        ] {
            // A service that sends back what it was sent.
            let echo = |status| {
                move |request: &Received| {
                    let headers: Vec<&str> = request.headers.iter().map(|(_, value)| value.as_str()).collect();
                    (status, format!("{} {}", request.target, headers.join(" ")))
                }
            };
            for status in [500, 403, 302] {
                let double = Double::start(None, echo(status)).await;
                double.set_header(&format!("location: https://elsewhere/{SECRET}?key={SECRET}"));
                let source = open(&format!("url: \"http://{}\", {auth}", double.address));
                let error = read(&*source).await.unwrap_err();
                assert!(!format!("{error:?}").contains(SECRET), "{error:?}");
            }
            let source = open(&format!("url: \"http://127.0.0.1:1\", {auth}"));
            let error = read(&*source).await.unwrap_err();
            assert!(error.cause == "connection refused" && !format!("{error:?}").contains(SECRET), "{error:?}");
        }
        let log = log.text();
        assert!(log.contains("sending the request again"), "the log is captured: {log}");
        assert!(!log.contains(SECRET), "{log}");
        // printf 'jo:hidden-as…' | base64
        assert!(!log.contains("am86aGlkZGVu"), "{log}");
    });
}

#[tokio::test]
async fn no_secret_is_served() {
    let files = Files::new();
    let file = files.write("file", SECRET);
    // A service that sends back what it was sent.
    let echo = Double::start(None, |request| (500, request.target.clone())).await;
    let keys = format!("url: \"http://{}\", auth: {{type: query, name: key, valueFile: {file}}}", echo.address);
    let server = Server::start_with(&config(&keys), PAGES).await;
    let path = "/apis/external.metrics.k8s.io/v1beta1/namespaces/shop/visits";
    let answer = server.aggregator("hpa").get(path).await;
    assert_eq!(answer.status, 503, "{}", answer.body);
    let status = server.aggregator("operator").get("/status").await.body;
    assert!(echo.last().target.contains(SECRET) && status.contains("500 (operation: read)"), "{status}");
    for text in [answer.body, status] {
        assert!(!text.contains(SECRET), "{text}");
    }
}
