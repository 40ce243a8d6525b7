//! The instances of a service, which are requested one by one. They share credentials, headers and the limit of
//! requests a second. Each has a circuit breaker.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::{Failure, Inner, Way, key_of, open};
use crate::http::base::{BadUrl, BaseUrl};
use crate::http::{Client, Protocol, Request, Response};
use crate::metric::Clock;
use crate::source::keys::Values;
use crate::source::{Context, NextRequest, OpenError};

/// The instances of a service.
#[derive(Debug)]
pub struct Instances {
    /// Its only URL is that of the service, which is not requested.
    inner: Inner,
    way: Way,
    protocol: Protocol,
    clock: Clock,
    /// What requests accept, unless the config has this header.
    accept: &'static str,
    /// The client of each instance if `tls.serverName` is set: a client reuses connections by their names, and
    /// all instances have the same one.
    named: Mutex<HashMap<SocketAddr, Arc<Client>>>,
}

/// One of them.
#[derive(Debug)]
pub struct Instance {
    base: BaseUrl,
    /// `None` for the client of all instances.
    client: Option<Arc<Client>>,
}

// === impl Instances ===

impl Instances {
    /// Opens the service with these keys: reads the files that they name, and sends nothing. Its `url` names the
    /// service. Instances have the scheme of it. `accept` is the header of each request, unless the config has it.
    pub fn open(
        values: &Values,
        context: &Context,
        protocol: Protocol,
        accept: &'static str,
    ) -> Result<Self, OpenError> {
        let clock = context.clock;
        let inner = open::open(values, context, protocol)?;
        Ok(Self { inner, way: Way::of(values)?, protocol, clock, accept, named: Mutex::default() })
    }

    /// The instance at this address, or why it can't be requested.
    pub fn at(&self, address: SocketAddr) -> Result<Instance, OpenError> {
        let base = self.base(address)?;
        if !self.way.has_server_name() {
            return Ok(Instance { base, client: None });
        }
        let mut named = self.named.lock();
        if let Some(client) = named.get(&address) {
            return Ok(Instance { base, client: Some(client.clone()) });
        }
        let transport = self.way.to(&base)?;
        let client = Arc::new(Client::new(self.inner.upstream.clone(), transport, self.protocol, self.clock));
        named.insert(address, client.clone());
        Ok(Instance { base, client: Some(client) })
    }

    /// GETs a path of an instance. `admitted`: it is the request of [`Self::next_request`], which waited for its
    /// turn. A read has one such request.
    pub async fn get(
        &self,
        Instance { base, client }: &Instance,
        path: &str,
        admitted: bool,
        by: Instant,
    ) -> Result<Response, Failure> {
        let Inner { targets, credentials, params, .. } = &self.inner;
        let url = base.at(path, params.iter().map(|(name, value)| (&**name, &**value)));
        let key = key_of(&url, "");
        // Otherwise the instances of a service that hangs could take all sockets, one each.
        let owner = Some(self.service().authority());
        let mut request = Request { key, admitted, owner, ..Request::get(url) };
        self.inner.add_headers(&mut request, Some(self.accept));
        client.as_deref().unwrap_or(&targets[0].client).send(&request, credentials, by).await
    }

    /// The first request of the next read. One read of several sources is under way at a time, as
    /// `maxInFlight` allows.
    pub fn next_request(&self) -> NextRequest<'_> {
        let host = self.service().authority();
        NextRequest { upstream: &self.inner.upstream, host: Some(host), key: String::new() }
    }

    /// Removes the state of all other instances.
    pub fn retain(&self, addresses: &HashSet<SocketAddr>) {
        self.named.lock().retain(|address, _| addresses.contains(address));
        let service = self.service().authority();
        let bases = addresses.iter().filter_map(|address| self.base(*address).ok());
        let names: HashSet<String> = bases.map(|base| base.authority()).collect();
        self.inner.upstream.retain(|host| host == service || names.contains(host));
    }

    /// What distinguishes the service from others, see [`super::Service::identity`].
    pub fn identity(&self) -> &str {
        &self.inner.identity
    }

    fn service(&self) -> &BaseUrl {
        &self.inner.targets[0].base
    }

    fn base(&self, address: SocketAddr) -> Result<BaseUrl, OpenError> {
        let scheme = self.service().url().scheme();
        format!("{scheme}://{address}").parse().map_err(|error: BadUrl| OpenError(error.to_string()))
    }
}
