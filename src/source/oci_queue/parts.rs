//! The parts of a queue by name: channels, and consumer groups by alias or by display name. Only the
//! control plane can resolve a display name to an OCID.

use std::collections::BTreeMap;
use std::fmt::Arguments;
use std::time::Duration;

use tokio::time::Instant;

use super::errors::source_error;
use crate::metric::names;
use crate::oci::consumer_group::{GroupId, GroupSummary};
use crate::oci::{Error, ServiceError};
use crate::source::keys::{Key, Shape, Text, Values};
use crate::source::{ErrorKind, OpenError, Operation, SourceError};

/// The label of a channel.
pub(super) const CHANNEL: &str = "channel";
/// The label of a consumer group.
pub(super) const GROUP: &str = "consumer-group";

/// Names for channels.
pub(super) const CHANNELS: Key = Key::new(
    "channels",
    Shape::Map(Text::LABEL_VALUE, CHANNEL_ID),
    "Names for channels whose ids no label value can hold: the name to select by, and the channel's id.",
)
.examples(&[r#"{"eu-west": "orders/eu west"}"#]);
/// Names for consumer groups.
pub(super) const CONSUMER_GROUPS: Key = Key::new(
    "consumerGroups",
    Shape::Map(Text::LABEL_VALUE, GROUP_OCID),
    "Names for consumer groups whose display names no label value can hold: the name to select by, and the group's OCID.",
);

const CHANNEL_ID: Text = Text {
    check: |text| if text.is_empty() { Err("the channel's id is missing here".to_owned()) } else { Ok(()) },
    nonempty: true,
    ..Text::ANY
};
const GROUP_OCID: Text = Text {
    except: Some(r"^ocid1\.queue\."),
    max_length: Some(255),
    ..Text::parsed::<GroupId>().pattern(r"^ocid1\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]*)+\.[A-Za-z0-9_-]+$")
};

/// Minimum interval between lists of the groups, because the control plane is not made for frequent
/// requests. It is shorter than an HPA's 15 s, so the next request finds a new group.
const LIST_REST: Duration = Duration::from_secs(10);
/// Maximum age of the list while groups are requested. A display name may move to another group without
/// an error, because the previous group still returns values. Equal to the default of `maxAge`.
const LIST_AGE: Duration = Duration::from_secs(60);
/// Length limit of the names in a "no such group" error. The whole message must stay under 400 bytes.
const NAMES_BYTES: usize = 160;
/// Maximum number of these names.
const NAMES_MAX: usize = 10;

/// Aliases of the config for IDs that are no valid label values.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Aliases {
    channels: BTreeMap<String, String>,
    groups: BTreeMap<String, GroupId>,
}

/// The consumer groups of one queue, from the last list.
#[derive(Default)]
pub(super) struct KnownGroups {
    listed_at: Option<Instant>,
    /// Sorted by name.
    groups: Vec<(String, GroupId)>,
    /// The error of the last list, if it failed.
    failure: Option<SourceError>,
    /// Reads of a group fail: it may have been created again under the same name.
    suspect: bool,
}

// === impl Aliases ===

impl Aliases {
    /// The aliases in `channels` and `consumerGroups` of an entry.
    pub(super) fn new(entry: &Values) -> Result<Self, OpenError> {
        let channels = entry.map(CHANNELS.name).map(|(alias, id)| (alias.to_owned(), id.to_owned())).collect();
        let group = |(alias, id): (&str, &str)| {
            let id = id.parse::<GroupId>().map_err(|error| OpenError(error.to_string()))?;
            Ok((alias.to_owned(), id))
        };
        let groups = entry.map(CONSUMER_GROUPS.name).map(group).collect::<Result<_, OpenError>>()?;
        Ok(Self { channels, groups })
    }

    /// The ID of a channel: the name itself, unless it is an alias.
    pub(super) fn channel<'a>(&'a self, asked: &'a str) -> &'a str {
        self.channels.get(asked).map_or(asked, String::as_str)
    }

    /// The group that has this alias.
    pub(super) fn group(&self, asked: &str) -> Option<&GroupId> {
        self.groups.get(asked)
    }
}

// === impl KnownGroups ===

impl KnownGroups {
    /// The known group with this display name, ignoring case.
    pub(super) fn find(&self, asked: &str) -> Option<GroupId> {
        self.groups.iter().find(|(name, _)| name.eq_ignore_ascii_case(asked)).map(|(_, id)| id.clone())
    }

    /// Whether this name needs a newer list.
    pub(super) fn is_due(&self, asked: &str, now: Instant) -> bool {
        let wanted = self.suspect || self.find(asked).is_none();
        let rest = if wanted { LIST_REST } else { LIST_AGE };
        let said = self.failure.as_ref().and_then(|failure| failure.retry_after);
        self.listed_at.is_none_or(|at| now - at >= said.map_or(rest, |said| said.max(rest)))
    }

    /// Records the result of a list at `now`. Returns whether to log it, because no response shows it:
    /// the list began to fail while known groups stay usable, or it succeeds again.
    pub(super) fn update(&mut self, listed: Result<Vec<GroupSummary>, SourceError>, now: Instant) -> bool {
        self.listed_at = Some(now);
        let (known, failed) = (!self.groups.is_empty(), self.failure.is_some());
        self.failure = listed.and_then(|groups| self.learn(&groups)).err();
        known && failed != self.failure.is_some()
    }

    /// The error of the last list, if it failed.
    pub(super) fn failure(&self) -> Option<&SourceError> {
        self.failure.as_ref()
    }

    /// A group was not found, so the list may be outdated.
    pub(super) fn suspect(&mut self) {
        self.suspect = true;
    }

    /// Why there is no group of this name.
    pub(super) fn lacks(&self, now: Instant) -> SourceError {
        // While the list fails, it is unknown whether the group exists.
        if let Some(failure) = &self.failure {
            let again = failure.retry_after.zip(self.listed_at).map(|(said, at)| at + said);
            let retry_after = again.map(|again| again.saturating_duration_since(now));
            return SourceError { retry_after, ..failure.clone() };
        }
        let names: Vec<&str> = self.groups.iter().map(|(name, _)| name.as_str()).collect();
        let cause = match names.is_empty() {
            true => "no such consumer group; there are none".to_owned(),
            false => format!("no such consumer group; there are {}", names::that_fit(&names, NAMES_BYTES, NAMES_MAX)),
        };
        SourceError::new(
            Operation::List,
            ErrorKind::NoSuchPart,
            cause,
            "Name one of them, or give it an alias in `consumerGroups`.",
            "",
        )
    }

    fn learn(&mut self, listed: &[GroupSummary]) -> Result<(), SourceError> {
        let id = |group: &GroupSummary| {
            group.id().map_err(|error| source_error(Operation::List, format_args!("its consumer groups"), &error))
        };
        let existing = listed.iter().filter(|group| group.exists());
        let mut groups =
            existing.map(|group| Ok((group.display_name.clone(), id(group)?))).collect::<Result<Vec<_>, _>>()?;
        groups.sort_by(|a, b| a.0.cmp(&b.0));
        (self.groups, self.suspect) = (groups, false);
        Ok(())
    }
}

/// An error of the list of groups, which needs another IAM policy than the queue.
pub(super) fn list_error(about: Arguments<'_>, error: &Error) -> SourceError {
    let Error::Service(service) = error else { return source_error(Operation::List, about, error) };
    // The known policy statement allows reading queues. It is not documented to cover groups.
    let error = Error::Service(ServiceError { policy: None, ..service.clone() });
    let mut translated = source_error(Operation::List, about, &error);
    if matches!(service.status, 403 | 404) {
        translated.remedy = "Let a policy allow this principal to inspect the queue's consumer groups, or give this one an alias in `consumerGroups`.";
    }
    translated
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::{Node, Problems};

    fn group(name: &str, number: u8) -> GroupSummary {
        let id = format!("ocid1.consumergroup.oc1.fra.aaaa{number}");
        GroupSummary { id, display_name: name.to_owned(), lifecycle_state: Some("ACTIVE".to_owned()) }
    }

    fn failure() -> SourceError {
        list_error(format_args!("its groups"), &Error::timed_out())
    }

    const ALIASES: &[Key] = &[CHANNELS, CONSUMER_GROUPS];

    #[test]
    fn an_alias_is_a_label_value_and_stands_for_something() {
        let text = r#"{channels: {a b: x, c: "", d: 7}, consumerGroups: {billing: ocid1.queue.oc1.fra.aaaa}}"#;
        let mut problems = Problems::default();
        let node = Node::parse(text, &mut problems).unwrap();
        Values::decode(&mut node.fields(&mut problems).unwrap(), &[ALIASES], &mut problems);
        assert_eq!(
            problems.lines().collect::<Vec<_>>(),
            [
                "1:13: invalid label value \"a b\": at most 63 of letters, digits, '-', '_' or '.', the first and last a letter or digit",
                "1:24: the channel's id is missing here",
                "1:31: expected a string: write \"7\" with quotes",
                "1:61: \"ocid1.queue.oc1.fra.aaaa\" is not the OCID of a consumer group: write ocid1.consumergroup.oc1.<region>.<unique id>",
            ]
        );
    }

    #[test]
    fn a_name_is_looked_up_once_a_minute_and_an_unknown_one_no_more_often_than_the_list_may_be_asked_for() {
        let (mut known, start) = (KnownGroups::default(), Instant::now());
        assert!(known.is_due("billing", start));
        known.update(Ok(vec![group("Billing", 1)]), start);
        assert!(known.find("billing").is_some());
        let later = start + LIST_REST;
        assert!(!known.is_due("billing", start + LIST_AGE - Duration::from_millis(1)));
        assert!(!known.is_due("archive", later - Duration::from_millis(1)));
        assert!(known.is_due("archive", later));
    }

    #[test]
    fn a_name_that_another_group_has_now_is_the_other_groups() {
        let (mut known, start) = (KnownGroups::default(), Instant::now());
        known.update(Ok(vec![group("billing", 1)]), start);
        assert!(known.is_due("billing", start + LIST_AGE));
        known.update(Ok(vec![group("billing-old", 1), group("billing", 2)]), start + LIST_AGE);
        assert!(known.find("billing").unwrap().as_str().ends_with('2'));
    }

    #[test]
    fn a_group_that_stopped_working_is_looked_up_again() {
        let (mut known, start) = (KnownGroups::default(), Instant::now());
        known.update(Ok(vec![group("billing", 1)]), start);
        known.suspect();
        assert!(known.is_due("billing", start + LIST_REST));
        known.update(Ok(vec![group("billing", 2)]), start + LIST_REST);
        assert!(known.find("billing").unwrap().as_str().ends_with('2'));
    }

    #[test]
    fn a_list_that_does_not_come_changes_nothing_and_is_no_answer() {
        let (mut known, start) = (KnownGroups::default(), Instant::now());
        known.update(Ok(vec![group("billing", 1)]), start);
        known.update(Err(failure()), start + LIST_REST);
        assert!(known.find("billing").is_some());
        assert_eq!((known.failure(), known.lacks(start)), (Some(&failure()), failure()));
        known.update(Ok(vec![group("billing", 1)]), start + LIST_REST * 2);
        assert_eq!(known.lacks(start).kind, ErrorKind::NoSuchPart);
    }

    #[test]
    fn a_list_is_not_asked_for_before_the_service_wants_to_be() {
        let (mut known, start) = (KnownGroups::default(), Instant::now());
        let said = Some(LIST_REST * 2);
        known.update(Err(SourceError { retry_after: said, ..failure() }), start);
        assert!(!known.is_due("billing", start + LIST_REST * 2 - Duration::from_millis(1)));
        assert!(known.is_due("billing", start + LIST_REST * 2));
        // A request meanwhile gets how much of it is left.
        assert_eq!(known.lacks(start + LIST_REST).retry_after, Some(LIST_REST));
        known.update(Err(SourceError { retry_after: Some(Duration::from_secs(1)), ..failure() }), start);
        assert!(!known.is_due("billing", start + LIST_REST - Duration::from_millis(1)));
    }

    #[test]
    fn a_list_that_fails_is_news_once_and_only_where_no_answer_tells_it() {
        let (mut known, now) = (KnownGroups::default(), Instant::now());
        let lists = [
            (Err(failure()), false), // the request gets the failure
            (Ok(vec![group("billing", 1)]), false),
            (Ok(vec![group("billing", 1)]), false),
            (Err(failure()), true),
            (Err(failure()), false),
            (Ok(vec![group("billing", 1)]), true),
        ];
        for (number, (listed, news)) in lists.into_iter().enumerate() {
            assert_eq!(known.update(listed, now), news, "{number}");
        }
    }

    #[test]
    fn a_group_that_is_not_there_is_told_with_those_that_are() {
        let mut known = KnownGroups::default();
        known.update(Ok(Vec::new()), Instant::now());
        assert_eq!(known.lacks(Instant::now()).cause, "no such consumer group; there are none");
        let names = ["Primary Consumer Group", "billing", "archive"];
        known.update(Ok((0..).zip(names).map(|(n, name)| group(name, n)).collect()), Instant::now());
        assert_eq!(
            known.lacks(Instant::now()).cause,
            "no such consumer group; there are Primary Consumer Group, archive, billing"
        );
    }
}
