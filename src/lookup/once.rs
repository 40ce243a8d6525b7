//! One read of a source or list that is in no catalog, for commands that check a config.

use tokio::time::Instant;

use super::list::{list_sources, titles};
use super::outage::{log_failure, message_with_grant};
use super::reading::{before, read_source};
use super::{SourceConfig, Timing, title};
use crate::metric::Clock;
use crate::metric::pattern::Pattern;
use crate::metric::selectable::selectable;
use crate::source::part::Part;
use crate::source::{Identified, Items, Kind, Listed, Opened, Source};

/// A source that is in no catalog.
pub struct Single {
    /// As it appears in an error message: `queue "orders"`.
    pub title: String,
    /// What kind of source it is.
    pub kind: &'static Kind,
    timing: Timing,
    source: Box<dyn Source>,
}

/// Reads once, with the source's own deadline. The error is the message that an HPA would show, and
/// what would allow a read that was refused; the log has the rest.
pub async fn read_once(single: &Single, clock: Clock) -> Result<Items, String> {
    let Single { title, timing, source, .. } = single;
    let timestamp = clock();
    source.wait_turn(&Part::WHOLE, before(timing.refresh), timing.timeout).await;
    let read = read_source(&**source, &Part::WHOLE, timing.refresh, Instant::now() + timing.timeout).await;
    read.map_err(|error| {
        log_failure(title, &error);
        message_with_grant(title, &error, timestamp)
    })
}

/// The sources of a config entry, each to be read by itself: the one that it names, or those that are
/// listed now. The error is as of [`read_once`].
pub async fn list_once(config: SourceConfig, clock: Clock) -> Result<Vec<Single>, String> {
    let SourceConfig { name, kind, timing, source, definition, .. } = config;
    let label = kind.label_of(definition.form);
    let single = |name: &str, Identified { source, .. }| Single { title: title(label, name), kind, timing, source };
    let listing = match source {
        Opened::One(source) => return Ok(vec![single(&name, source)]),
        Opened::Many(listing) => listing,
    };
    let timestamp = clock();
    listing.wait_turn(before(timing.refresh), timing.timeout).await;
    let by = Instant::now() + timing.timeout;
    let listed = list_sources(&*listing, &Pattern::new(&name), timing.refresh, by).await.map_err(|error| {
        let (title, log_title) = titles(&*listing, &name);
        log_failure(&log_title, &error);
        message_with_grant(&title, &error, timestamp)
    })?;
    Ok(listed.members.into_iter().map(|Listed { name, source }| single(&selectable(&name), source)).collect())
}
