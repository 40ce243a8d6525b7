//! Services that entries share: those whose keys are equal.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::{Inner, Service, open};
use crate::http::Protocol;
use crate::source::keys::Values;
use crate::source::{Context, OpenError};

/// Opens services for entries that have the keys of a service themselves. Each is open as long as a source has
/// it.
#[derive(Debug)]
pub struct Services {
    context: Context,
    protocol: Protocol,
    opened: Mutex<HashMap<Values, Weak<Inner>>>,
}

// === impl Services ===

impl Services {
    /// No service yet.
    pub fn new(context: Context, protocol: Protocol) -> Self {
        Self { context, protocol, opened: Mutex::default() }
    }

    /// The service with these keys, whose `url` is an origin: scheme, host and port.
    pub fn service(&self, values: &Values) -> Result<Service, OpenError> {
        let mut opened = self.opened.lock();
        if let Some(known) = opened.get(values).and_then(Weak::upgrade) {
            return Ok(Service::of(known));
        }
        let inner = Inner { has_whole_urls: true, ..open::open(values, self.context, self.protocol)? };
        let inner = Arc::new(inner);
        opened.retain(|_, service| service.strong_count() > 0);
        opened.insert(values.clone(), Arc::downgrade(&inner));
        Ok(Service::of(inner))
    }
}
