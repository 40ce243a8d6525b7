//! The connection to a broker: it opens entries, and the entries of a vhost share its lists.

use std::sync::Arc;

use super::list::{COUNTS, ListRead, QueueList, RATES};
use super::listing::QueueListing;
use super::path;
use super::vhost::{Lists, Vhost};
use super::{CONNECTION, QUEUE, VHOST, errors};
use crate::http::Protocol;
use crate::http::base::BaseUrl;
use crate::metric::names::escaped;
use crate::source::in_use::InUse;
use crate::source::keys::Values;
use crate::source::service::{self, KEYS, Service, URL, conflicts};
use crate::source::{CONNECTION_NAME, Connection, ConnectionType, Context, OpenError, Opened, Place};

/// A page of 500 queues with long names and many arguments has about 1 MiB.
const BODY_MAX: usize = 4 << 20;

/// `type: rabbitmq` in `connections`.
pub(super) const RABBITMQ: ConnectionType = ConnectionType {
    name: "rabbitmq",
    place: Place::Named,
    doc: "The management API of a RabbitMQ broker or cluster.",
    keys: &[&[URL], KEYS],
    conflicts,
    warn: warnings,
    connect: |values, context| Ok(Arc::new(Broker::new(values, context)?)),
};

struct Broker {
    /// The name of the connection.
    name: String,
    service: Service,
    /// See [`path::list_path`].
    is_direct: bool,
    /// The lists in use, by path.
    lists: InUse<String, Lists>,
}

/// Ports of the broker that have no management API.
const AMQP: [u16; 2] = [5671, 5672];

fn warnings(values: &Values) -> Vec<String> {
    let url = values.parsed::<BaseUrl>(URL.name).ok().flatten();
    let port = url.and_then(|base| base.url().port()).filter(|port| AMQP.contains(port));
    let is_amqp = port.map(|port| {
        let usual = port + 10_000;
        format!("`url`: port {port} is usually the one for AMQP, and that of the management API is {usual}")
    });
    service::warnings(values).into_iter().chain(is_amqp).collect()
}

// === impl Broker ===

impl Broker {
    fn new(values: &Values, context: &Context) -> Result<Self, OpenError> {
        let protocol = Protocol { body_max: BODY_MAX, read_error: errors::read_error, ..Protocol::default() };
        let service = Service::open(values, context, protocol)?;
        let host = values.parsed::<BaseUrl>(URL.name)?;
        let is_inside = host.is_some_and(|base| base.is_inside());
        let has_no_proxy = values.text("proxy").is_none_or(|proxy| proxy == "none");
        let name = values.text(CONNECTION_NAME).unwrap_or_default().to_owned();
        Ok(Self { name, service, is_direct: is_inside && has_no_proxy, lists: InUse::default() })
    }

    fn vhost(&self, vhost: &str) -> Arc<Vhost> {
        let labels = [(VHOST, &*path::label(vhost)), (CONNECTION, &*self.name)].into_iter().collect();
        let identity = format!("{} {} {}/", self.service.identity(), self.name, escaped(vhost));
        let path = path::list_path(vhost, self.is_direct);
        let lists = self.lists.get(path.clone(), || self.lists_at(&path));
        Arc::new(Vhost { name: vhost.to_owned(), labels, identity, lists })
    }

    fn lists_at(&self, path: &str) -> Lists {
        let list = |query| Arc::new(QueueList::new(ListRead::new(self.service.clone(), path.to_owned(), query)));
        Lists { counts: list(COUNTS), rates: list(RATES) }
    }
}

impl Connection for Broker {
    fn open(&self, _form: &str, entry: &Values) -> Result<Opened, OpenError> {
        let vhost = self.vhost(entry.text(VHOST).unwrap_or(path::DEFAULT_VHOST));
        Ok(match entry.text(QUEUE) {
            Some(queue) => Opened::One(vhost.source(queue)),
            None => Opened::Many(Box::new(QueueListing(vhost))),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::keys::Value;

    #[test]
    fn a_port_for_amqp_is_a_warning() {
        let warnings = |url: &str| warnings(&[(URL.name, Value::Text(url.to_owned()))].into_iter().collect());
        for url in ["http://rabbitmq:15672", "https://rabbitmq.example.com", "http://rabbitmq"] {
            assert!(warnings(url).is_empty(), "{url}");
        }
        let expected = "`url`: port 5671 is usually the one for AMQP, and that of the management API is 15671";
        assert_eq!(warnings("https://rabbitmq:5671"), [expected]);
    }
}
