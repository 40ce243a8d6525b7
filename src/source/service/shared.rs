//! Services that entries share: those whose keys are equal.

use super::{Inner, Service, open};
use crate::http::Protocol;
use crate::source::in_use::InUse;
use crate::source::keys::Values;
use crate::source::{Context, OpenError};

/// Opens services for entries that have the keys of a service themselves.
#[derive(Debug)]
pub struct Services {
    context: Context,
    protocol: Protocol,
    opened: InUse<Values, Inner>,
}

// === impl Services ===

impl Services {
    /// No service yet.
    pub fn new(context: Context, protocol: Protocol) -> Self {
        Self { context, protocol, opened: InUse::default() }
    }

    /// The service with these keys, whose `url` is an origin: scheme, host and port.
    pub fn service(&self, values: &Values) -> Result<Service, OpenError> {
        let open = || {
            let inner = open::open(values, &self.context, self.protocol)?;
            Ok(Inner { has_whole_urls: true, ..inner })
        };
        self.opened.get_or_open(values.clone(), open).map(Service::of)
    }
}
