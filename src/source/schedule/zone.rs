//! A time zone by its IANA name. Pure.

use std::str::FromStr;
use std::sync::LazyLock;

use jiff::tz::{TimeZone, TimeZoneDatabase};

/// The zones of the program. Those of the host may be missing, or differ between replicas and commands.
static ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// A time zone with a name.
#[derive(Clone, Debug)]
pub(super) struct Zone(pub(super) TimeZone);

impl FromStr for Zone {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let unknown = |_| format!("{text:?} is not a known time zone: write an IANA name, such as Europe/Berlin");
        ZONES.get(text).map(Self).map_err(unknown)
    }
}
