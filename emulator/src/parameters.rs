//! The query of a request: its parameters and their limits.

use std::time::Duration;

use axum::extract::Query;
use http::Uri;
use serde::Deserialize;

use crate::answer::Answer;
use crate::group::Selection;
use crate::settings::{LONGEST_WAIT, Lifecycle, MAX_VISIBILITY};

/// The most messages that one GetMessages returns.
const MOST_TAKEN: usize = 32;

/// The query parameters of all operations together; unknown ones are ignored.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Parameters {
    visibility_in_seconds: Option<u64>,
    timeout_in_seconds: Option<u64>,
    limit: Option<usize>,
    pub(crate) page: Option<String>,
    channel_id: Option<String>,
    pub(crate) channel_filter: Option<String>,
    pub(crate) consumer_group_id: Option<String>,
    pub(crate) compartment_id: Option<String>,
    pub(crate) queue_id: Option<String>,
    pub(crate) id: Option<String>,
    pub(crate) display_name: Option<String>,
    lifecycle_state: Option<String>,
    sort_by: Option<String>,
    sort_order: Option<String>,
}

/// How a list is sorted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Order {
    pub(crate) by_name: bool,
    pub(crate) descending: bool,
}

// === impl Parameters ===

impl Parameters {
    /// Reads a query. A name with nothing behind it is a mistake: if it counted as absent, the
    /// queue's figure would look like a channel's.
    pub(crate) fn parse(uri: &Uri) -> Result<Self, Answer> {
        let Query(parameters) =
            Query::<Self>::try_from_uri(uri).map_err(|error| Answer::invalid(&error.body_text()))?;
        for (name, value) in [
            ("channelId", &parameters.channel_id),
            ("channelFilter", &parameters.channel_filter),
            ("consumerGroupId", &parameters.consumer_group_id),
        ] {
            if value.as_deref() == Some("") {
                return Err(Answer::invalid(&format!("{name} must not be empty")));
            }
        }
        Ok(parameters)
    }

    /// The channel and group of the requested figures.
    pub(crate) fn counted(&self) -> Selection {
        Selection { group: self.consumer_group_id.clone(), channel: self.channel_id.clone() }
    }

    /// The channel and group of the requested messages.
    pub(crate) fn wanted(&self) -> Selection {
        Selection { group: self.consumer_group_id.clone(), channel: self.channel_filter.clone() }
    }

    pub(crate) fn visibility(&self) -> Result<Option<Duration>, Answer> {
        seconds("visibilityInSeconds", self.visibility_in_seconds, MAX_VISIBILITY)
    }

    pub(crate) fn timeout(&self) -> Result<Option<Duration>, Answer> {
        seconds("timeoutInSeconds", self.timeout_in_seconds, LONGEST_WAIT)
    }

    /// How many messages to take.
    pub(crate) fn taken(&self) -> Result<usize, Answer> {
        self.limit(1, MOST_TAKEN)
    }

    /// `limit`, or what it is when it is absent.
    pub(crate) fn limit(&self, absent: usize, most: usize) -> Result<usize, Answer> {
        let limit = self.limit.unwrap_or(absent);
        if (1..=most).contains(&limit) {
            Ok(limit)
        } else {
            Err(Answer::invalid(&format!("limit must be 1 to {most}, not {limit}")))
        }
    }

    pub(crate) fn lifecycle(&self) -> Result<Option<Lifecycle>, Answer> {
        lifecycle(self.lifecycle_state.as_deref())
    }

    /// By time the newest first, by name the alphabetically first, unless the request sets it.
    pub(crate) fn order(&self) -> Result<Order, Answer> {
        let by_name = match self.sort_by.as_deref() {
            None | Some("timeCreated") => false,
            Some("displayName") => true,
            Some(_) => return Err(Answer::invalid("sortBy must be timeCreated or displayName")),
        };
        let descending = match self.sort_order.as_deref() {
            None => !by_name,
            Some("ASC") => false,
            Some("DESC") => true,
            Some(_) => return Err(Answer::invalid("sortOrder must be ASC or DESC")),
        };
        Ok(Order { by_name, descending })
    }
}

/// A state by its name.
pub(crate) fn lifecycle(name: Option<&str>) -> Result<Option<Lifecycle>, Answer> {
    let known = |name| {
        let names = Lifecycle::ALL.map(|(name, _)| name).join(", ");
        Lifecycle::of_name(name).ok_or_else(|| Answer::invalid(&format!("lifecycleState must be one of {names}")))
    };
    name.map(known).transpose()
}

/// Seconds up to the service's limit.
pub(crate) fn seconds(name: &str, value: Option<u64>, most: Duration) -> Result<Option<Duration>, Answer> {
    let value = value.map(Duration::from_secs);
    if value.is_some_and(|value| value > most) {
        return Err(Answer::invalid(&format!("{name} must be 0 to {}", most.as_secs())));
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(query: &str) -> Result<Parameters, Answer> {
        Parameters::parse(&format!("/x?{query}").parse().unwrap())
    }

    #[test]
    fn numbers_have_limits() {
        let good = parse("limit=32&timeoutInSeconds=30&visibilityInSeconds=43200&new=1").unwrap();
        assert_eq!(good.taken().unwrap(), 32);
        assert_eq!(good.timeout().unwrap(), Some(LONGEST_WAIT));
        assert_eq!(good.visibility().unwrap(), Some(MAX_VISIBILITY));
        let bad = parse("limit=33&timeoutInSeconds=31&visibilityInSeconds=43201").unwrap();
        assert!(bad.taken().is_err() && bad.timeout().is_err() && bad.visibility().is_err());
        assert!(parse("limit=0").unwrap().taken().is_err());
        let none = Parameters::parse(&Uri::from_static("/x")).unwrap();
        assert_eq!((none.taken().unwrap(), none.timeout().unwrap(), none.visibility().unwrap()), (1, None, None));
    }

    #[test]
    fn what_is_no_query_is_refused() {
        for bad in
            ["limit=", "limit=a", "limit=-1", "limit=1&limit=2", "channelId=", "channelFilter=", "consumerGroupId="]
        {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn channels_are_decoded_as_forms_are() {
        let selection = parse("channelId=orders%2Feu+west%2B1%26x%3D%C3%A9~%2A&consumerGroupId=g").unwrap().counted();
        assert_eq!(
            (selection.channel.unwrap(), selection.group.unwrap()),
            ("orders/eu west+1&x=é~*".into(), "g".into())
        );
        assert_eq!(parse("channelId=eu%20west").unwrap().counted(), Selection::channel("eu west"));
    }

    #[test]
    fn each_sort_has_its_own_direction() {
        for (query, by_name, descending) in [
            ("", false, true),
            ("sortBy=timeCreated", false, true),
            ("sortBy=displayName", true, false),
            ("sortBy=displayName&sortOrder=DESC", true, true),
            ("sortOrder=ASC", false, false),
        ] {
            assert_eq!(parse(query).unwrap().order().unwrap(), Order { by_name, descending }, "{query}");
        }
        for bad in ["sortBy=name", "sortOrder=asc", "sortBy="] {
            assert!(parse(bad).unwrap().order().is_err(), "{bad}");
        }
        assert!(parse("lifecycleState=active").unwrap().lifecycle().is_err());
        assert_eq!(parse("lifecycleState=ACTIVE").unwrap().lifecycle().unwrap(), Some(Lifecycle::Active));
    }
}
