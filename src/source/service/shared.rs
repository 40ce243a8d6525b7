//! What entries with equal keys share.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::{Inner, Service, open};
use crate::http::Protocol;
use crate::source::keys::Values;
use crate::source::{Context, OpenError};

/// What is opened once for entries with equal keys. It is open as long as a source has it.
#[derive(Debug)]
pub struct Shared<T>(Mutex<HashMap<Values, Weak<T>>>);

/// Opens services for entries that have the keys of a service themselves.
#[derive(Debug)]
pub struct Services {
    context: Context,
    protocol: Protocol,
    opened: Shared<Inner>,
}

// === impl Shared ===

impl<T> Shared<T> {
    /// What is open for these keys. Otherwise it is opened.
    pub fn get(&self, values: &Values, open: impl FnOnce() -> Result<T, OpenError>) -> Result<Arc<T>, OpenError> {
        let mut opened = self.0.lock();
        if let Some(known) = opened.get(values).and_then(Weak::upgrade) {
            return Ok(known);
        }
        let new = Arc::new(open()?);
        opened.retain(|_, known| known.strong_count() > 0);
        opened.insert(values.clone(), Arc::downgrade(&new));
        Ok(new)
    }
}

impl<T> Default for Shared<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

// === impl Services ===

impl Services {
    /// No service yet.
    pub fn new(context: Context, protocol: Protocol) -> Self {
        Self { context, protocol, opened: Shared::default() }
    }

    /// The service with these keys, whose `url` is an origin: scheme, host and port.
    pub fn service(&self, values: &Values) -> Result<Service, OpenError> {
        let open = || {
            let inner = open::open(values, &self.context, self.protocol)?;
            Ok(Inner { has_whole_urls: true, ..inner })
        };
        self.opened.get(values, open).map(Service::of)
    }
}
