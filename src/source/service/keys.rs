//! The keys of a service.

use http::header::{HeaderName, HeaderValue};

use crate::http::base::BaseUrl;
use crate::http::proxy::Choice;
use crate::source::keys::{Key, Shape, Text, Variant};

/// The default of `maxRequestsPerSecond`: 250 reads with the default `refresh` of 5 s.
pub(super) const REQUESTS_PER_SECOND: u32 = 50;
/// The maximum of `maxRequestsPerSecond`: far more than one core can send.
const REQUESTS_PER_SECOND_MAX: u32 = 10_000;
/// The default of `maxInFlight`: with 100 ms a read that is 160 a second.
pub(super) const IN_FLIGHT: u32 = 16;
/// The maximum of `maxInFlight`: each has a connection of some 40 KiB.
const IN_FLIGHT_MAX: u32 = 128;

/// The URL of a service that has one.
pub const URL: Key = Key::new("url", Shape::Text(BASE), "The URL of the service, with the path prefix if it has one: http:// or https://, without user, query and fragment.")
    .required()
    .examples(&["https://rabbitmq.shop.svc:15671"]);

/// The URL of a service that has one, or several equal ones.
pub const URLS: &[Key] = &[
    Key { required: false, or: &["urls"], ..URL },
    Key::new(
        "urls",
        Shape::Texts(BASE, "a service without a URL can't be reached: write one"),
        "The URLs of equal services, in order: the first that answers is used. Requests return to an earlier one after it has been healthy for 5 minutes.",
    )
    .examples(&[r#"["http://prometheus-0.monitoring.svc:9090", "http://prometheus-1.monitoring.svc:9090"]"#]),
];

/// The certificates of both ends.
pub const TLS: Key = Key::new(
    "tls",
    Shape::Keys(TLS_FILES),
    "How the service proves who it is, and depthgauge to the service. Certificates are always verified.",
);

/// The proxy on the way to a service.
pub const PROXY: Key = Key::new(
    "proxy",
    Shape::Text(PROXY_URL),
    "The URL of a proxy for every request, or none. Default: the proxies of the environment (HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY). Requests to names that end in `.svc` or in `.svc.` and the domain of the cluster, to loopback and to private addresses go through none.",
)
.examples(&["http://proxy.example.com:3128", "none"]);

/// All other keys of a service.
pub const KEYS: &[Key] = &[
    TLS,
    Key::new(
        "auth",
        Shape::Choice(
            METHODS,
            "none: no credentials. basic: user and password. bearer: a token. header, query: a secret in a header or a query parameter. oauth2: a token of a token service, by client credentials.",
        ),
        "How to authenticate to the service. Secrets are files only, which are read again when they change. Default: none.",
    ),
    Key::new("headers", Shape::Map(HEADER, HEADER_VALUE), "Headers of every request. A secret belongs in `headerFiles`.")
        .examples(&[r#"{"X-Scope-OrgID": "shop"}"#]),
    Key::new("headerFiles", Shape::Map(HEADER, FILE), "Headers of every request whose values are in these files, which are read again when they change."),
    Key::new("params", Shape::Map(PARAMETER, Text::ANY), "Query parameters of every request. A secret belongs in `auth: {type: query}`.")
        .examples(&[r#"{"dedup": "true"}"#]),
    PROXY,
    Key::new(
        "maxRequestsPerSecond",
        Shape::Count(REQUESTS_PER_SECOND_MAX),
        "The most requests to the service in a second. When more reads are due, values are read less often, and the log says so.",
    )
    .default("50"),
    Key::new("maxInFlight", Shape::Count(IN_FLIGHT_MAX), "The most reads in flight at each host of the service. One namespace gets half of them, and so do all lists of RabbitMQ together.")
        .default("16"),
];

const TLS_FILES: &[Key] = &[
    Key::new("caFile", Shape::Text(FILE), "A PEM file of the certificates that are trusted instead of the system's. It is read again when it changes."),
    Key::new("certFile", Shape::Text(FILE), "A PEM file of the client certificate and of its intermediate CAs. It is read again when it changes."),
    Key::new("keyFile", Shape::Text(FILE), "A PEM file of the private key of the client certificate. Default: the key is in `certFile`. It is read again when it changes."),
    Key::new("serverName", Shape::Text(SERVER_NAME), "The name that is requested by SNI and that the service's certificate must have. Default: the host of the URL. Such requests go through no proxy.")
        .examples(&["rabbitmq.example.com"]),
];

const METHODS: &[Variant] = &[
    Variant { name: "none", keys: &[] },
    Variant { name: "basic", keys: BASIC },
    Variant { name: "bearer", keys: &[TOKEN_FILE] },
    Variant { name: "header", keys: &[NAME, VALUE_FILE] },
    Variant { name: "query", keys: &[NAME, VALUE_FILE] },
    Variant { name: "oauth2", keys: OAUTH2 },
];

const BASIC: &[Key] = &[
    Key::new("username", Shape::Text(USER), "The user. It is used with basic only.").or(&["usernameFile", "uriFile"]),
    Key::new("usernameFile", Shape::Text(FILE), "The file with the user. It is used with basic only."),
    Key::new("passwordFile", Shape::Text(FILE), "The file with the password. It is used with basic only.")
        .or(&["uriFile"]),
    Key::new(
        "uriFile",
        Shape::Text(FILE),
        "The file with a URI such as amqp://USER:PASSWORD@HOST, of which only user and password are used. It is used with basic only.",
    ),
];

const TOKEN_FILE: Key =
    Key::new("tokenFile", Shape::Text(FILE), "The file with the token. It is used with bearer only.").required();
const NAME: Key = Key::new(
    "name",
    Shape::Text(CREDENTIAL_NAME),
    "The name of the header or of the query parameter. It is used with header or query only.",
)
.required();
const VALUE_FILE: Key =
    Key::new("valueFile", Shape::Text(FILE), "The file with the value. It is used with header or query only.")
        .required();

const OAUTH2: &[Key] = &[
    Key::new("tokenUrl", Shape::Text(TOKEN_URL), "The URL of the token service. It is used with oauth2 only. Its certificate may be signed by the system's CAs and by those of `tls.caFile`.").required(),
    Key::new("clientId", Shape::Text(Text::NONEMPTY), "The client. It is used with oauth2 only.").required(),
    Key::new("clientSecretFile", Shape::Text(FILE), "The file with the secret of the client. It is used with oauth2 only.").required(),
    Key::new("scopes", Shape::Texts(SCOPE, "leave `scopes` out to request none"), "The scopes of the token. It is used with oauth2 only."),
    Key::new("params", Shape::Map(PARAMETER, Text::ANY), "More parameters of the token request. It is used with oauth2 only.").examples(&[r#"{"audience": "rabbitmq"}"#]),
];

/// A user of basic authentication (RFC 7617), which puts ':' behind it.
const USER: Text = Text {
    check: |text| match text {
        _ if text.contains(':') => Err("a user with ':' can't be sent by basic authentication".to_owned()),
        _ => (Text::NONEMPTY.check)(text),
    },
    pattern: Some("^[^:]*$"),
    ..Text::NONEMPTY
};

/// The path of a file.
pub const FILE: Text = Text {
    check: |text| if text.is_empty() { Err("expected the path of a file".to_owned()) } else { Ok(()) },
    ..Text::NONEMPTY
};

const PARAMETER: Text = Text::NONEMPTY;

/// A URL of a service.
pub const BASE: Text = Text::parsed::<BaseUrl>().pattern("^[Hh][Tt][Tt][Pp][Ss]?://[^/?#@\\s%]+(/[^?#\\s]*)?$");
const TOKEN_URL: Text = BASE;
const PROXY_URL: Text = Text::parsed::<Choice>().pattern("^none$|^[Hh][Tt][Tt][Pp][Ss]?://[^/?#@\\s%]+/?$");

const SCOPE: Text = Text {
    check: |text| {
        let legal = |byte: u8| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
        if !text.is_empty() && text.bytes().all(legal) {
            return Ok(());
        }
        Err(format!("invalid scope {text:?}: visible ASCII characters except '\"' and '\\'"))
    },
    pattern: Some(r"^[!#-\[\]-~]+$"),
    ..Text::ANY
};

const SERVER_NAME: Text = Text {
    check: |text| {
        let is_name = rustls_pki_types::DnsName::try_from(text).is_ok() && text.parse::<std::net::IpAddr>().is_err();
        if is_name { Ok(()) } else { Err(format!("{text:?} is not a DNS name")) }
    },
    pattern: Some("^[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_.])?$"),
    ..Text::ANY
};

/// Headers that depthgauge or the connection sets.
const RESERVED: &[&str] = &[
    "connection",
    "content-length",
    "content-type",
    "host",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// A header, or a query parameter of the same form, that may be one of credentials.
const CREDENTIAL_NAME: Text = Text {
    check: |text| match text.parse::<HeaderName>() {
        Err(_) => Err(format!("invalid name {text:?} of a header or parameter")),
        Ok(name) if RESERVED.contains(&name.as_str()) => Err(format!("{text:?} can't be set: depthgauge sets it")),
        Ok(_) => Ok(()),
    },
    pattern: Some("^[A-Za-z0-9!#$%&'*+.^_`|~-]+$"),
    ..Text::ANY
};

const HEADER: Text = Text {
    check: |text| match text.eq_ignore_ascii_case("authorization") {
        true => Err(format!("{text:?} can't be set here: write `auth`")),
        false => (CREDENTIAL_NAME.check)(text),
    },
    ..CREDENTIAL_NAME
};

const HEADER_VALUE: Text = Text {
    check: |text| match HeaderValue::from_str(text) {
        Ok(_) if text.is_ascii() => Ok(()),
        _ => Err(format!("invalid value {text:?} of a header: ASCII characters only, and no line feed")),
    },
    pattern: Some("^[\\t -~]*$"),
    ..Text::ANY
};
