//! Which keys a connection may have, to the decoder and to the JSON Schema, and its warnings.

use boon::{Compiler, Schemas};
use depthgauge::config::{self as configs, Config, Opener};
use depthgauge::document::{Node, Problems};
use depthgauge::endpoints::Endpoints;
use depthgauge::source::KINDS;
use depthgauge::source::keys::Value;

use super::{PAGES, config};
use crate::support::files::Files;
use crate::support::log::captured;

/// What is wrong with a config, to both.
fn wrong(text: &str) -> (Vec<String>, bool) {
    let lines = Config::parse(text, PAGES).err().map(|problems| problems.lines().collect()).unwrap_or_default();
    let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
    compiler.add_resource("schema.json", configs::schema(PAGES).unwrap()).unwrap();
    let index = compiler.compile("schema.json", &mut schemas).unwrap_or_else(|error| panic!("{error:#}"));
    let json = Node::parse(text, &mut Problems::default()).unwrap().to_json();
    (lines, schemas.validate(&json, index).is_err())
}

#[test]
fn every_key_of_a_connection_is_valid() {
    for keys in [
        "url: \"http://127.0.0.1:9090\"",
        "url: \"HTTPS://host/prefix/%2F\"",
        "urls: [\"http://a.shop.svc\", \"http://b.shop.svc:9090/prefix\"]",
        "url: \"https://host\", tls: {}",
        "url: \"https://host\", tls: {caFile: /a, certFile: /b, keyFile: /c, serverName: x.example.com}",
        "url: \"https://host\", auth: {type: none}",
        "url: \"https://host\", auth: {type: basic, username: jo, passwordFile: /a}",
        "url: \"https://host\", auth: {type: basic, usernameFile: /b, passwordFile: /a}",
        "url: \"https://host\", auth: {type: basic, uriFile: /b}",
        "url: \"https://host\", auth: {type: bearer, tokenFile: /b}",
        "url: \"https://host\", auth: {type: header, name: Authorization, valueFile: /b}",
        "url: \"https://host\", auth: {type: query, name: key, valueFile: /b}",
        "url: \"https://host\", auth: {type: oauth2, tokenUrl: \"https://t/token\", clientId: x, clientSecretFile: /b}",
        "url: \"https://host\", auth: {type: oauth2, tokenUrl: \"https://t/token\", clientId: x, clientSecretFile: /b, scopes: [\"a:b\"], params: {audience: x}}",
        "url: \"https://host\", headers: {X-Scope-OrgID: shop}, headerFiles: {X-Key: /a}, params: {dedup: \"true\"}",
        "url: \"https://host\", proxy: none",
        "url: \"https://host\", proxy: none, tls: {serverName: x.example.com}",
        "url: \"https://host\", proxy: \"http://proxy:3128\", maxRequestsPerSecond: 1, maxInFlight: 128",
    ] {
        assert_eq!(wrong(&config(keys)), (Vec::new(), false), "{keys}");
    }
}

#[test]
fn an_error_has_its_place() {
    for (keys, line) in [
        ("", "4:8: `url` or `urls` is missing here"),
        ("url: \"http://a\", urls: [\"http://b\"]", "4:44: `url` is here, too: write either `url` or `urls`"),
        ("url: \"http://user:hidden@a\"", "4:26: a URL has no user and no password here: remove them and write `auth`"),
        (
            "urls: [\"http://a?token=hidden\"]",
            "4:28: a URL has no query and no fragment here: write parameters into `params`, and secrets into `auth`",
        ),
        ("urls: []", "4:27: a service without a URL can't be reached: write one"),
        ("url: a", "4:26: this is not a URL of a service: write https://HOST:PORT or http://HOST:PORT/PREFIX"),
        (
            "url: \"http://a\", auth: {type: magic}",
            "4:51: auth type \"magic\" is not supported; choose one of none, basic, bearer, header, query, oauth2",
        ),
        ("url: \"http://a\", auth: {type: bearer}", "4:44: `tokenFile` is missing here"),
        ("url: \"http://a\", auth: {type: basic}", "4:44: `passwordFile` or `uriFile` is missing here"),
        (
            "url: \"http://a\", auth: {type: basic, passwordFile: /a}",
            "4:44: `username` or `usernameFile` or `uriFile` is missing here",
        ),
        (
            "url: \"http://a\", auth: {type: basic, passwordFile: /a, username: x, usernameFile: /b}",
            "`username` is here, too: write either `username` or `usernameFile`",
        ),
        ("url: \"http://a\", auth: {type: query, valueFile: /a}", "4:44: `name` is missing here"),
        ("url: \"http://a\", auth: {type: none, tokenFile: /a}", "unknown key `tokenFile`"),
        (
            "url: \"http://a\", auth: {type: oauth2, tokenUrl: \"http://a\", clientSecretFile: /b}",
            "`clientId` is missing here",
        ),
        (
            "url: \"http://a\", tls: {insecureSkipVerify: true}",
            "unknown key `insecureSkipVerify`; known here: caFile, certFile, keyFile, serverName",
        ),
        ("url: \"http://a\", tls: {serverName: \"a/b\"}", "\"a/b\" is not a DNS name"),
        ("url: \"http://a\", headers: {\"a b\": x}", "invalid name \"a b\" of a header or parameter"),
        ("url: \"http://a\", headers: {X-A: \"a\\nb\"}", "invalid value \"a\\nb\" of a header"),
        ("url: \"http://a\", proxy: maybe", "this is not a proxy: write http://HOST:PORT"),
        ("url: \"http://a\", proxy: \"http://user:hidden@proxy:3128\"", "this is not a proxy: write http://HOST:PORT"),
        (
            "url: \"http://a\", auth: {type: basic, username: \"a:b\", passwordFile: /a}",
            "a user with ':' can't be sent by basic authentication",
        ),
        ("url: \"http://a\", maxInFlight: 129", "expected a whole number from 1 to 128"),
        ("url: \"http://a\", password: hidden", "unknown key `password`"),
    ] {
        let (lines, schema_refuses) = wrong(&config(keys));
        assert!(lines.iter().any(|found| found.contains(line)), "{keys}: {lines:?}");
        assert!(!lines.iter().any(|found| found.contains("hidden")), "{lines:?}");
        assert!(schema_refuses, "the schema takes {keys}");
    }
    // What a schema can't see.
    for (keys, line) in [
        ("url: \"http://169.254.169.254\"", "4:26: 169.254.169.254 is the metadata service of a cloud"),
        ("url: \"https://kubernetes.default.svc\"", "4:26: kubernetes.default.svc is kube-apiserver"),
        ("url: \"http://a\", headers: {authorization: x}", "\"authorization\" can't be set here: write `auth`"),
        ("url: \"http://a\", headerFiles: {Host: /a}", "\"Host\" can't be set: depthgauge sets it"),
        (
            "url: \"https://a\", tls: {keyFile: /a}",
            "4:44: `keyFile` without `certFile`: name the file of the client certificate, too",
        ),
        (
            "url: \"https://a\", tls: {serverName: b}, proxy: \"http://c:3128\"",
            "4:68: `proxy` with `tls.serverName`: requests under another name go through no proxy",
        ),
    ] {
        let (lines, _) = wrong(&config(keys));
        assert!(lines.len() == 1 && lines[0].contains(line), "{keys}: {lines:?}");
    }
}

/// Of every type that has them, so that opening refuses no config that the check accepts.
#[test]
fn keys_of_a_connection_that_exclude_each_other_are_an_error() {
    let text = |text: &str| Value::Text(text.to_owned());
    let tls = |key, of: &str| ("tls", Value::Keys([(key, text(of))].into_iter().collect()));
    let mut types = 0;
    for kind in KINDS {
        let has = |name: &str| kind.connection.keys.iter().copied().flatten().any(|key| key.name == name);
        if !has("tls") || !has("proxy") {
            continue;
        }
        types += 1;
        let wrong = |keys: Vec<(&'static str, Value)>| {
            let conflicts = (kind.connection.conflicts)(&keys.into_iter().collect());
            conflicts.into_iter().map(|(key, _)| key).collect::<Vec<_>>()
        };
        let (proxy, none) = (("proxy", text("http://proxy:3128")), ("proxy", text("none")));
        assert_eq!(wrong(vec![tls("keyFile", "/key")]), ["tls"], "{}", kind.name);
        assert_eq!(wrong(vec![tls("certFile", "/pem"), proxy.clone()]), [""; 0], "{}", kind.name);
        assert_eq!(wrong(vec![tls("serverName", "a.example.com"), proxy]), ["proxy"], "{}", kind.name);
        assert_eq!(wrong(vec![tls("serverName", "a.example.com"), none]), [""; 0], "{}", kind.name);
    }
    assert!(types >= 4, "{types}");
}

#[test]
fn conflicts_of_a_connection_have_their_place_wherever_it_is_written() {
    let head = "apiVersion: depthgauge.dev/v1alpha1\nkind: Config\n";
    let named = |connection: &str| format!("{head}connections: {{a: {{{connection}}}}}\nsources: []\n");
    let entry = |keys: &str| {
        format!("{head}sources:\n  - {{type: http-json, metric: a, value: $.a, namespaces: [shop], {keys}}}\n")
    };
    for (config, expected) in [
        (
            named("type: prometheus, url: \"http://a\", params: {dedup: x, time: y}"),
            "3:62: \"time\" can't be set: depthgauge sets it",
        ),
        (
            entry("url: \"https://a/b\", tls: {keyFile: /a}"),
            "4:91: `keyFile` without `certFile`: name the file of the client certificate, too",
        ),
    ] {
        let lines: Vec<String> = Config::parse(&config, KINDS).err().unwrap().lines().collect();
        assert_eq!(lines, [expected], "{config}");
    }
}

#[test]
fn a_connection_may_be_left_out_while_there_is_one() {
    let one = config("url: \"http://a\"");
    assert!(Config::parse(&one, PAGES).is_ok());
    let two = one.replace("connections:\n", "connections:\n  two: {type: site, url: \"http://b\"}\n");
    let lines: Vec<String> = Config::parse(&two, PAGES).err().unwrap().lines().collect();
    assert_eq!(lines, ["7:5: `connection` is missing here: name one of the connections of type site: one, two"]);
    assert!(Config::parse(&two.replace("type: page,", "type: page, connection: two,"), PAGES).is_ok());
}

#[test]
fn credentials_without_encryption_are_a_warning() {
    for (keys, expected) in [
        ("url: \"http://shop.example.com\"", vec![]),
        ("url: \"https://shop.example.com\", auth: {type: bearer, tokenFile: /a}", vec![]),
        ("url: \"http://127.0.0.1:1\", auth: {type: bearer, tokenFile: /a}", vec![]),
        ("url: \"http://shop.example.com\", auth: {type: none}", vec![]),
        ("url: \"http://shop.example.com\", auth: {type: bearer, tokenFile: /a}", vec!["http://shop.example.com"]),
        ("url: \"http://shop.example.com\", headerFiles: {X-Key: /a}", vec!["http://shop.example.com"]),
        (
            "urls: [\"http://a\", \"https://b\", \"http://c\"], auth: {type: bearer, tokenFile: /a}",
            vec!["http://a", "http://c"],
        ),
        (
            "url: \"https://a\", auth: {type: oauth2, tokenUrl: \"http://t/token\", clientId: x, clientSecretFile: /b}",
            vec!["http://t/token"],
        ),
    ] {
        let warning =
            |url: &str| (":4:3".to_owned(), format!("credentials are sent to {url} without encryption: use https://"));
        let config = Config::parse(&config(keys), PAGES).unwrap_or_else(|problems| panic!("{problems:?}"));
        assert_eq!(config.warnings(), expected.into_iter().map(warning).collect::<Vec<_>>(), "{keys}");
    }
}

#[test]
fn a_server_logs_warnings() {
    captured(async |log| {
        crate::support::crypto();
        let files = Files::new();
        let token = files.write("token", "t0k");
        let text = config(&format!("url: \"http://shop.example.com\", auth: {{type: bearer, tokenFile: {token}}}"));
        let opened = Opener::new(jiff::Timestamp::now, Endpoints::none()).open(Config::parse(&text, PAGES).unwrap());
        assert_eq!(opened.unwrap().len(), 1);
        let line = ":4:3: credentials are sent to http://shop.example.com without encryption: use https://";
        assert!(log.text().contains(line), "{}", log.text());
    });
}
