//! What can be said of a queue as a whole.

use std::time::Duration;

/// The longest visibility time-out, the service's own limit: 12 hours. Also what keeps
/// "now + visibility" within what an [`Instant`](tokio::time::Instant) can hold.
pub(crate) const MAX_VISIBILITY: Duration = Duration::from_secs(12 * 60 * 60);

/// The longest wait for a message, and what an unstated one means: the service's 30 seconds.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// The longest that a message may be kept, by the service's limits: 7 days.
pub(crate) const LONGEST_RETENTION: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// The compartment of a queue that names no other.
pub(crate) const COMPARTMENT: &str = "ocid1.compartment.oc1..emulated";

/// How a queue behaves; may be changed at any time, see [`EmulatedQueue::change`].
///
/// [`EmulatedQueue::change`]: crate::queue::EmulatedQueue::change
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Settings {
    /// OCID of the compartment that it is listed in.
    pub compartment: String,
    /// Its messages and figures are reached while this is ACTIVE or UPDATING.
    pub lifecycle: Lifecycle,
    /// How long a message is hidden after its delivery if the consumer does not set it; 12 hours at
    /// most.
    pub visibility: Duration,
    /// How long a consumer waits for a message if it does not set that; 30 seconds at most.
    pub timeout: Duration,
    /// How long a message is kept, dead or alive; 7 days at most.
    pub retention: Duration,
    /// A message that was delivered this often and came back is a dead letter; 0 is never.
    pub dead_letter_after: u32,
}

/// The states of a queue, by the names that the service has for them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Lifecycle {
    /// Requested and not there yet.
    Creating,
    /// Works while it is changed or purged.
    Updating,
    /// Works.
    Active,
    /// About to go.
    Deleting,
    /// Gone, and still listed.
    Deleted,
    /// Broken.
    Failed,
    /// Switched off.
    Inactive,
}

// === impl Settings ===

impl Settings {
    /// Within the limits of the service, which are also what times can be computed with.
    pub(crate) fn limited(mut self) -> Self {
        self.visibility = self.visibility.min(MAX_VISIBILITY);
        self.timeout = self.timeout.min(LONGEST_WAIT);
        self.retention = self.retention.min(LONGEST_RETENTION);
        self
    }
}

impl Default for Settings {
    /// The service's settings of a queue that sets nothing else.
    fn default() -> Self {
        Self {
            compartment: COMPARTMENT.to_owned(),
            lifecycle: Lifecycle::Active,
            visibility: Duration::from_secs(30),
            timeout: LONGEST_WAIT,
            retention: Duration::from_secs(24 * 60 * 60),
            dead_letter_after: 0,
        }
    }
}

// === impl Lifecycle ===

impl Lifecycle {
    /// All of them, by name.
    pub(crate) const ALL: [(&str, Self); 7] = [
        ("CREATING", Self::Creating),
        ("UPDATING", Self::Updating),
        ("ACTIVE", Self::Active),
        ("DELETING", Self::Deleting),
        ("DELETED", Self::Deleted),
        ("FAILED", Self::Failed),
        ("INACTIVE", Self::Inactive),
    ];

    /// As it stands in documents.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, state)| *state == self).map_or("ACTIVE", |(name, _)| *name)
    }

    /// The state of this name, in capitals.
    pub(crate) fn of_name(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, state)| *state)
    }

    /// Whether messages can be put and taken.
    pub(crate) fn works(self) -> bool {
        matches!(self, Self::Active | Self::Updating)
    }
}
