//! A stub of a namespace: its management API as far as administration clients use it. It verifies every
//! signature and token by code of its own, and counts what was sent and received.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, MutexGuard};

use jiff::Timestamp;
use percent_encoding::percent_decode_str;

use crate::support::authority::Authority;
use crate::support::double::{Answer, Double, Received};
use crate::support::service_bus::{Signature, counts, described, escaped, feed};

/// A namespace on a port of its own.
pub(crate) struct Stub {
    double: Double,
    state: Arc<Mutex<State>>,
    /// What clients must trust, as PEM.
    pub(crate) ca: String,
}

#[derive(Default)]
struct State {
    /// By path in small letters: `/queue`, `/topic` and `/topic/subscriptions/subscription`.
    entities: BTreeMap<String, Entity>,
    policies: Vec<Policy>,
    tokens: BTreeSet<String>,
    trouble: Option<Trouble>,
    /// Removed after the next page of a list.
    leaving: Option<String>,
}

struct Entity {
    /// `Queue`, `Topic` or `Subscription`.
    kind: &'static str,
    name: String,
    status: String,
    messages: Messages,
}

/// How many messages an entity has.
#[derive(Clone, Copy, Default)]
pub(crate) struct Messages {
    pub(crate) active: u64,
    pub(crate) dead_letter: u64,
    pub(crate) scheduled: u64,
}

struct Policy {
    name: String,
    key: String,
    /// The path of its entity, or empty.
    scope: String,
    manages: bool,
}

/// What the namespace does instead of answering.
#[derive(Clone, Copy)]
pub(crate) enum Trouble {
    /// It limits its clients with this status.
    Throttled(u16),
    /// It limits its clients and says so in the text only.
    ThrottledInText,
    /// It limits its clients and leaves out the counts.
    NoCounts,
    /// Its firewall refuses the client.
    Firewall,
    /// It gives no answer.
    Silent,
    /// It gives no answer to the next request.
    SilentOnce,
}

// === impl Stub ===

impl Stub {
    pub(crate) async fn start() -> Self {
        let authority = Authority::named("cloud");
        let acceptor = authority.acceptor_for(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let state: Arc<Mutex<State>> = Arc::default();
        let answering = state.clone();
        let double = Double::start(Some(acceptor), move |request| answering.lock().unwrap().answer(request)).await;
        Self { double, state, ca: authority.pem.clone() }
    }

    /// Name and port, as in `namespace`.
    pub(crate) fn host(&self) -> String {
        self.double.address.to_string()
    }

    /// A policy of an entity, or of the namespace.
    pub(crate) fn add_policy(&self, name: &str, key: &str, scope: &str, manages: bool) {
        let [name, key, scope] = [name, key, scope].map(str::to_owned);
        self.state().policies.push(Policy { name, key, scope, manages });
    }

    /// Accepts a token of Microsoft Entra ID.
    pub(crate) fn accept(&self, token: &str) {
        self.state().tokens.insert(token.to_owned());
    }

    /// Accepts no tokens any more.
    pub(crate) fn accept_none(&self) {
        self.state().tokens.clear();
    }

    pub(crate) fn add_queue(&self, name: &str) {
        self.add(&format!("/{name}"), "Queue");
    }

    pub(crate) fn add_subscription(&self, topic: &str, name: &str) {
        self.add(&format!("/{topic}"), "Topic");
        self.add(&format!("/{topic}/subscriptions/{name}"), "Subscription");
    }

    fn add(&self, path: &str, kind: &'static str) {
        self.state().put(path, kind, "Active");
    }

    /// Changes the messages of an entity.
    pub(crate) fn change(&self, path: &str, change: impl FnOnce(&mut Messages)) {
        let mut state = self.state();
        let entity = state.entities.get_mut(&path.to_ascii_lowercase());
        change(&mut entity.unwrap_or_else(|| panic!("there is no {path}")).messages);
    }

    /// Sends so many messages.
    pub(crate) fn send(&self, path: &str, count: u64) {
        self.change(path, |messages| messages.active += count);
    }

    pub(crate) fn remove(&self, path: &str) {
        assert!(self.state().entities.remove(path).is_some(), "there is no {path}");
    }

    /// Removes it after the next page of a list was sent.
    pub(crate) fn remove_after_page(&self, path: &str) {
        self.state().leaving = Some(path.to_owned());
    }

    pub(crate) fn set_status(&self, path: &str, status: &str) {
        self.state().entities.get_mut(path).unwrap().status = status.to_owned();
    }

    pub(crate) fn set_trouble(&self, trouble: Option<Trouble>) {
        self.state().trouble = trouble;
    }

    /// Path and query of each request.
    pub(crate) fn targets(&self) -> Vec<String> {
        self.double.received().into_iter().map(|request| request.target).collect()
    }

    pub(crate) fn count(&self) -> usize {
        self.double.count()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

// === impl State ===

impl State {
    fn answer(&mut self, request: &Received) -> Answer {
        match self.trouble {
            Some(Trouble::Throttled(status)) => return error(status, "Too many requests."),
            Some(Trouble::ThrottledInText) => {
                let text = "The request was terminated because the entity is being throttled. Error code: 50009. Please wait 2 seconds and try again. TrackingId:1_G1";
                return error(500, text);
            }
            Some(Trouble::Firewall) => {
                return error(401, "Ip has been prevented to connect to the endpoint. TrackingId:1_G1");
            }
            Some(Trouble::Silent) => return (0, String::new()),
            Some(Trouble::SilentOnce) => {
                self.trouble = None;
                return (0, String::new());
            }
            Some(Trouble::NoCounts) | None => {}
        }
        let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
        let path = percent_decode_str(path).decode_utf8().unwrap().into_owned();
        if let Err(refused) = self.authorize(request, &path) {
            return refused;
        }
        if !query.split('&').any(|pair| pair.starts_with("api-version=20")) {
            return error(400, "The api-version is missing.");
        }
        match request.method.as_str() {
            "GET" => self.get(&path, query),
            "PUT" => self.create(&path, request),
            "DELETE" => match self.entities.remove(&path.to_ascii_lowercase()) {
                Some(_) => (200, String::new()),
                None => error(404, "No such entity."),
            },
            _ => error(405, "No such method."),
        }
    }

    /// By a signature of a policy of the namespace or of the entity, or by a token.
    fn authorize(&self, request: &Received, path: &str) -> Result<(), Answer> {
        let refused = |text: &str| error(401, &format!("{text} TrackingId:1_G1"));
        let authorization = request.header("authorization");
        if let Some(token) = authorization.strip_prefix("Bearer ") {
            let is_known = self.tokens.contains(token);
            return if is_known { Ok(()) } else { Err(refused("claim is empty or token is invalid.")) };
        }
        let signature = Signature::parse(authorization).ok_or_else(|| refused("The token is malformed."))?;
        let is_in = |scope: &str| path.to_ascii_lowercase().starts_with(&scope.to_ascii_lowercase());
        let mut policies = self.policies.iter().filter(|policy| policy.name == signature.policy);
        let policy = policies.find(|policy| is_in(&policy.scope) && signature.is_of(&policy.key));
        let policy = policy.ok_or_else(|| refused("claim is empty or token is invalid."))?;
        if !signature.covers(&format!("https://{}{path}", request.header("host"))) {
            return Err(refused("The token is for another resource."));
        }
        if signature.expires <= Timestamp::now().as_second() {
            return Err(refused("ExpiredToken: the token is expired."));
        }
        if policy.manages { Ok(()) } else { Err(refused("Manage,EntityRead claims required for this operation.")) }
    }

    fn get(&mut self, path: &str, query: &str) -> Answer {
        let lower = path.to_ascii_lowercase();
        let (prefix, kind) = match lower.as_str() {
            "/$resources/queues" => ("/".to_owned(), "Queue"),
            "/$resources/topics" => ("/".to_owned(), "Topic"),
            _ => match lower.trim_end_matches('/').strip_suffix("/subscriptions") {
                Some(topic) => (format!("{topic}/subscriptions/"), "Subscription"),
                // An entity that does not exist is an empty list.
                None => return (200, self.entities.get(&lower).map_or_else(|| feed(&[]), |of| self.describe(of))),
            },
        };
        let number = |name: &str| {
            let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            let pairs = pairs.map(|(key, value)| (key.replace("%24", "$"), value));
            pairs.filter(|(key, _)| key == name).find_map(|(_, value)| value.parse::<usize>().ok())
        };
        let (skip, top) = (number("$skip").unwrap_or(0), number("$top").unwrap_or(100).min(100));
        let listed = |(path, entity): &(&String, &Entity)| path.starts_with(&prefix) && entity.kind == kind;
        let of_list = self.entities.iter().filter(listed).map(|(_, entity)| entity);
        let mut page: Vec<&Entity> = of_list.skip(skip).take(top + 1).collect();
        let has_more = page.len() > top;
        page.truncate(top);
        let entries: Vec<String> = page.into_iter().map(|entity| self.describe(entity)).collect();
        let mut links = format!(r#"<link rel="self" href="https://shop/{path}"/>"#);
        if has_more {
            let next = skip + top;
            links += &format!(r#"<link rel="next" href="https://shop/{path}?%24skip={next}&amp;%24top={top}"/>"#);
        }
        if let Some(path) = self.leaving.take() {
            self.entities.remove(&path);
        }
        (200, feed(&entries).replacen("</updated>", &format!("</updated>{links}"), 1))
    }

    fn describe(&self, entity: &Entity) -> String {
        let Entity { kind, name, status, messages } = entity;
        let Messages { active, dead_letter, scheduled } = messages;
        let numbers = [active, dead_letter, scheduled].map(|number| number.to_string());
        let counts = counts([&numbers[0], &numbers[1], &numbers[2]]);
        let is_throttled = matches!(self.trouble, Some(Trouble::NoCounts));
        described(kind, name, status, if is_throttled { "" } else { &counts })
    }

    /// Creates an entity, or updates its status.
    fn create(&mut self, path: &str, request: &Received) -> Answer {
        let kind = ["Queue", "Topic", "Subscription"];
        let Some(kind) = kind.into_iter().find(|kind| request.body.contains(&format!("{kind}Description"))) else {
            return error(400, "The body is not a description.");
        };
        let is_update = request.header("if-match") == "*";
        if self.entities.contains_key(&path.to_ascii_lowercase()) && !is_update {
            return error(409, "SubCode=40900. The entity exists.");
        }
        let status = request.body.split_once("<Status>").and_then(|(_, rest)| rest.split_once('<'));
        let entity = self.put(path, kind, status.map_or("Active", |(status, _)| status));
        (if is_update { 200 } else { 201 }, entity)
    }

    fn put(&mut self, path: &str, kind: &'static str, status: &str) -> String {
        let lower = path.to_ascii_lowercase();
        let name = &path[lower.find("/subscriptions/").map_or(1, |at| at + "/subscriptions/".len())..];
        let new = || Entity { kind, name: name.to_owned(), status: String::new(), messages: Messages::default() };
        status.clone_into(&mut self.entities.entry(lower.clone()).or_insert_with(new).status);
        self.describe(&self.entities[&lower])
    }
}

fn error(status: u16, text: &str) -> Answer {
    (status, format!("<Error><Code>{status}</Code><Detail>{}</Detail></Error>", escaped(text)))
}
