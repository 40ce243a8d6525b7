//! Faults as JSON: what is sent to `/faults`.

use std::collections::HashMap;
use std::time::Duration;

use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::Value;

use super::{Fault, Rule};
use crate::answer::Answer;
use crate::operation::Operation;
use crate::requests;

/// Longer than any client waits, and no more than a timer can hold.
const LONGEST: Duration = Duration::from_secs(3600);

/// One rule, e.g. `{"fault": "status", "status": 429, "operation": "GetStats", "times": 2}`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleDocument {
    fault: String,
    /// Of the fault `status`; 500 if absent.
    status: Option<u16>,
    /// Of the faults `delay` and `drip`; 1 if absent.
    seconds: Option<f64>,
    operation: Option<String>,
    queue: Option<String>,
    times: Option<u32>,
    #[serde(default)]
    headers: HashMap<String, String>,
    body: Option<String>,
}

/// Reads one rule or a list of them.
pub(crate) fn rules(body: &[u8]) -> Result<Vec<Rule>, Answer> {
    let document: Value = requests::read(body, "fault")?;
    let documents = if let Value::Array(documents) = document { documents } else { vec![document] };
    documents.into_iter().map(rule).collect()
}

fn rule(document: Value) -> Result<Rule, Answer> {
    let RuleDocument { fault, status, seconds, operation, queue, times, headers, body } =
        serde_json::from_value(document).map_err(|error| Answer::invalid(&format!("no fault: {error}")))?;
    Ok(Rule {
        fault: parse(&fault, status, seconds)?,
        operation: operation.map(|name| named(&name)).transpose()?,
        queue,
        times,
        headers: parse_headers(&headers)?,
        body,
    })
}

fn parse(name: &str, status: Option<u16>, seconds: Option<f64>) -> Result<Fault, Answer> {
    let Some((_, fault)) = Fault::ALL.into_iter().find(|(known, _)| *known == name) else {
        let known = Fault::ALL.map(|(known, _)| known).join(", ");
        return Err(Answer::invalid(&format!("there is no fault {name:?}; there are {known}")));
    };
    let lasting = |absent| match seconds {
        None => Ok(absent),
        Some(seconds) => Duration::try_from_secs_f64(seconds)
            .ok()
            .filter(|duration| *duration <= LONGEST)
            .ok_or_else(|| Answer::invalid(&format!("seconds must be 0 to {}", LONGEST.as_secs()))),
    };
    match fault {
        Fault::Status(absent) if seconds.is_none() => {
            // A success would be no fault, and 1xx is no answer.
            let legal =
                |status| StatusCode::from_u16(status).ok().filter(|status| (300..600).contains(&status.as_u16()));
            let refuse = || Answer::invalid("status must be 300 to 599");
            Ok(Fault::Status(status.map_or(Some(absent), legal).ok_or_else(refuse)?))
        }
        Fault::Delay(absent) if status.is_none() => Ok(Fault::Delay(lasting(absent)?)),
        Fault::Drip(absent) if status.is_none() => Ok(Fault::Drip(lasting(absent)?)),
        _ if status.is_none() && seconds.is_none() => Ok(fault),
        _ => Err(Answer::invalid("status belongs to the fault status, seconds to delay and drip")),
    }
}

fn named(name: &str) -> Result<Operation, Answer> {
    Operation::of_name(name).ok_or_else(|| {
        let known: Vec<&str> = Operation::names().collect();
        Answer::invalid(&format!("there is no operation {name:?}; there are {}", known.join(", ")))
    })
}

fn parse_headers(headers: &HashMap<String, String>) -> Result<HeaderMap, Answer> {
    HeaderMap::try_from(headers).map_err(|error| Answer::invalid(&format!("headers: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::Payload;

    fn one(body: &str) -> Result<Rule, String> {
        rules(body.as_bytes()).map(|mut rules| rules.remove(0)).map_err(|answer| match answer.payload {
            Payload::Whole(text) => String::from_utf8(text.to_vec()).unwrap(),
            _ => panic!(),
        })
    }

    #[test]
    fn every_fault_has_a_name_and_no_two_have_the_same() {
        for (name, fault) in Fault::ALL {
            assert_eq!(one(&format!(r#"{{"fault":"{name}"}}"#)).unwrap().fault, fault, "{name}");
        }
    }

    #[test]
    fn a_rule_says_for_whom_and_how_often() {
        let rule = one(r#"{"fault":"status","status":429,"operation":"GetStats","queue":"orders","times":2,
                "headers":{"retry-after":"7"},"body":"later"}"#)
        .unwrap();
        assert_eq!(rule.fault, Fault::Status(StatusCode::TOO_MANY_REQUESTS));
        assert_eq!((rule.operation, rule.times), (Some(Operation::GetStats), Some(2)));
        assert_eq!((rule.queue.as_deref(), rule.body.as_deref()), (Some("orders"), Some("later")));
        assert_eq!(rule.headers["retry-after"], "7");
        assert_eq!(one(r#"{"fault":"drip","seconds":0.25}"#).unwrap().fault, Fault::Drip(Duration::from_millis(250)));
        assert_eq!(rules(br#"[{"fault":"hang"},{"fault":"empty"}]"#).unwrap().len(), 2);
    }

    #[test]
    fn what_is_no_fault_is_refused() {
        for body in [
            "",
            "{}",
            "500",
            r#"["hang"]"#,
            r#"{"fault":"status","status":200}"#,
            r#"{"fault":"status","status":600}"#,
            r#"{"fault":"status","status":99999}"#,
            r#"{"fault":"status","seconds":1}"#,
            r#"{"fault":"hang","status":500}"#,
            r#"{"fault":"hang","seconds":1}"#,
            r#"{"fault":"delay","seconds":-1}"#,
            r#"{"fault":"delay","seconds":3601}"#,
            r#"{"fault":"hang","drip":true}"#,
            r#"{"fault":"hang","headers":{"a b":"c"}}"#,
        ] {
            assert!(one(body).is_err(), "{body}");
        }
    }

    #[test]
    fn a_wrong_name_is_answered_with_the_right_ones() {
        let text = one(r#"{"fault":"flood"}"#).unwrap_err();
        assert!(Fault::ALL.iter().all(|(name, _)| text.contains(name)), "{text}");
        let text = one(r#"{"fault":"hang","operation":"PurgeQueue"}"#).unwrap_err();
        assert!(Operation::names().all(|name| text.contains(name)), "{text}");
    }
}
