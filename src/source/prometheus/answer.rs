//! The answer to an instant query, as <https://prometheus.io/docs/prometheus/latest/querying/api/>
//! describes it, and as Thanos, Mimir and VictoriaMetrics extend it. Pure.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::sentence::{is_word, without_label_sets};
use crate::document::distinct::distinct;
use crate::document::json_fault;
use crate::metric::names;
use crate::source::chosen::{Number, Point};

/// How much of a warning the log shows, in bytes.
const WARNING_BYTES: usize = 300;

/// Why an answer of status 200 has no values.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Unusable {
    /// Not an answer of this API. The text is where, for the log.
    Invalid(String),
    /// `status` is `error`: a word for the reason.
    Failed(String),
    /// Values may be missing. The text is why, for the log.
    Partial(String),
    /// The query has another type than a vector or scalar.
    Type(&'static str),
}

#[derive(Deserialize)]
struct Document {
    status: String,
    data: Option<Data>,
    #[serde(rename = "errorType")]
    error_type: Option<String>,
    warnings: Option<Vec<serde_json::Value>>,
    /// VictoriaMetrics: a storage node did not answer.
    #[serde(rename = "isPartial")]
    is_partial: Option<bool>,
}

#[derive(Deserialize)]
struct Data {
    #[serde(rename = "resultType")]
    result_type: String,
    result: Vec<Part>,
    /// The documentation of Thanos has them here.
    warnings: Option<Vec<serde_json::Value>>,
    /// A proxy that puts answers together may have it here.
    #[serde(rename = "isPartial")]
    is_partial: Option<bool>,
}

/// A part of a result: a series of a vector or matrix, or one of the two parts of a scalar or string.
enum Part {
    Series(Series),
    Time,
    Text(String),
}

#[derive(Deserialize)]
struct Series {
    #[serde(deserialize_with = "distinct")]
    metric: BTreeMap<String, String>,
    value: Option<(f64, String)>,
    histogram: Option<IgnoredAny>,
}

/// The values of an answer. `partial`: also of one that has warnings.
pub(super) fn decode(body: &[u8], partial: bool) -> Result<Vec<Point>, Unusable> {
    // Serde's own messages repeat what they found, which may be a secret.
    let invalid = |error: serde_json::Error| Unusable::Invalid(json_fault(&error));
    let Document { status, data, error_type, warnings, is_partial } = serde_json::from_slice(body).map_err(invalid)?;
    if status == "error" {
        let word = error_type.filter(|text| is_word(text));
        return Err(Unusable::Failed(word.unwrap_or_else(|| "no reason".to_owned())));
    }
    let lacks = |what: &str| Unusable::Invalid(what.to_owned());
    if status != "success" {
        return Err(lacks("`status` is neither success nor error"));
    }
    let Some(Data { result_type, result, warnings: inner, is_partial: is_inner_partial }) = data else {
        return Err(lacks("no `data`"));
    };
    let mut warnings = warnings.into_iter().chain(inner).flatten();
    if !partial && let Some(warning) = warnings.next() {
        let warning = without_label_sets(warning.as_str().unwrap_or("no text"));
        return Err(Unusable::Partial(names::shortened(&warning, WARNING_BYTES).into_owned()));
    }
    if !partial && [is_partial, is_inner_partial].contains(&Some(true)) {
        return Err(Unusable::Partial("isPartial".to_owned()));
    }
    match &*result_type {
        "vector" => result.into_iter().map(Part::point).collect(),
        "scalar" => match <[Part; 2]>::try_from(result) {
            Ok([Part::Time, Part::Text(text)]) => {
                let number = Number::parse(&text).ok_or_else(|| lacks("a scalar that is not a number"))?;
                Ok(vec![Point { labels: BTreeMap::new(), number }])
            }
            _ => Err(lacks("a scalar without a value")),
        },
        "matrix" => Err(Unusable::Type("a range vector (matrix)")),
        "string" => Err(Unusable::Type("a string")),
        _ => Err(lacks("an unknown `resultType`")),
    }
}

// === impl Part ===

impl Part {
    /// As an element of a vector.
    fn point(self) -> Result<Point, Unusable> {
        let Self::Series(Series { metric, value, histogram }) = self else {
            return Err(Unusable::Invalid("a vector with an element that is not a series".to_owned()));
        };
        let number = match (value, histogram) {
            (Some((_, text)), None) => {
                Number::parse(&text).ok_or_else(|| Unusable::Invalid("a value that is not a number".to_owned()))?
            }
            (None, Some(_)) => Number::Unusable(
                "it is a native histogram. Make it a number, as by histogram_quantile() or histogram_count().",
            ),
            _ => return Err(Unusable::Invalid("a series without one value".to_owned())),
        };
        Ok(Point { labels: metric, number })
    }
}

impl<'de> Deserialize<'de> for Part {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PartVisitor)
    }
}

struct PartVisitor;

impl<'de> Visitor<'de> for PartVisitor {
    type Value = Part;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a series, a time or a text")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Part, A::Error> {
        Series::deserialize(MapAccessDeserializer::new(map)).map(Part::Series)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Part, E> {
        Ok(Part::Time)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Part, E> {
        Ok(Part::Time)
    }

    fn visit_i64<E: serde::de::Error>(self, _: i64) -> Result<Part, E> {
        Err(E::custom("a time before 1970"))
    }

    fn visit_str<E>(self, text: &str) -> Result<Part, E> {
        Ok(Part::Text(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::metric::quantity::Quantity;

    fn vector(series: &str) -> String {
        format!(r#"{{"status":"success","data":{{"resultType":"vector","result":[{series}]}}}}"#)
    }

    fn read(body: &str) -> Result<Vec<(String, Number)>, Unusable> {
        let labels =
            |point: &Point| point.labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>();
        let points = decode(body.as_bytes(), false)?;
        Ok(points.iter().map(|point| (labels(point).join(","), point.number)).collect())
    }

    fn value(milli: i64) -> Number {
        Number::Value(Quantity::from_milli(milli))
    }

    #[test]
    fn each_series_of_a_vector_is_a_point() {
        let one = r#"{"metric":{"__name__":"up","pod":"a"},"value":[1435781451.781,"1"]}"#;
        let two = r#"{"value":[1435781451,"0.25"],"metric":{}}"#;
        let expected = vec![("__name__=up,pod=a".to_owned(), value(1000)), (String::new(), value(250))];
        assert_eq!(read(&vector(&format!("{one},{two}"))), Ok(expected));
        assert_eq!(read(&vector("")), Ok(Vec::new()));
        for (text, number) in [("NaN", Number::NotANumber), ("-3", Number::Negative), ("1e-07", value(1))] {
            let body = vector(&format!(r#"{{"metric":{{}},"value":[1,"{text}"]}}"#));
            assert_eq!(read(&body), Ok(vec![(String::new(), number)]));
        }
    }

    #[test]
    fn a_scalar_is_a_point_without_labels() {
        let scalar = r#"{"status":"success","data":{"resultType":"scalar","result":[1435781451.781,"7"]}}"#;
        assert_eq!(read(scalar), Ok(vec![(String::new(), value(7000))]));
        // The order of keys is the server's.
        let other = r#"{"data":{"result":[1435781451,"7"],"resultType":"scalar"},"status":"success"}"#;
        assert_eq!(read(other), Ok(vec![(String::new(), value(7000))]));
        for wrong in [r#"[1,"x"]"#, "[1]", r#"["7"]"#, r#"["1","7"]"#, r#"[1,"7","8"]"#, "[]", "[1,7]", "[1,null]"] {
            let body = scalar.replace(r#"[1435781451.781,"7"]"#, wrong);
            assert!(matches!(read(&body), Err(Unusable::Invalid(_))), "{wrong}");
        }
    }

    #[test]
    fn other_types_are_no_value() {
        for (kind, result, expected) in [
            ("string", r#"[1,"7"]"#, "a string"),
            ("matrix", r#"[{"metric":{},"values":[[1,"7"]]}]"#, "a range vector (matrix)"),
            ("matrix", "[]", "a range vector (matrix)"),
        ] {
            let body = format!(r#"{{"status":"success","data":{{"resultType":"{kind}","result":{result}}}}}"#);
            assert_eq!(read(&body), Err(Unusable::Type(expected)));
        }
        let histogram = r#"{"metric":{"a":"b"},"histogram":[1,{"count":"5","sum":"7","buckets":[[0,"1","2","3"]]}]}"#;
        let value = r#"{"metric":{"a":"c"},"value":[1,"2"]}"#;
        let points = read(&vector(&format!("{histogram},{value}"))).unwrap();
        assert!(matches!(points[0].1, Number::Unusable(why) if why.contains("native histogram")), "{points:?}");
        assert_eq!(points[1], ("a=c".to_owned(), Number::Value(Quantity::from_units(2))));
    }

    #[test]
    fn an_answer_that_may_lack_values_has_none() {
        let good = vector(r#"{"metric":{},"value":[1,"2"]}"#);
        for (part, instead, partial) in [
            (r#""success","#, r#""success","warnings":["no store of {a=\"b\"}"],"#, Some("no store of {…}")),
            (r#""vector","#, r#""vector","warnings":["x"],"#, Some("x")),
            (r#""success","#, r#""success","warnings":[7],"#, Some("no text")),
            (r#""success","#, r#""success","isPartial":true,"#, Some("isPartial")),
            (r#""vector","#, r#""vector","isPartial":true,"#, Some("isPartial")),
            (r#""vector","#, r#""vector","isPartial":false,"#, None),
            (r#""success","#, r#""success","isPartial":false,"#, None),
            (r#""success","#, r#""success","warnings":[],"#, None),
            (r#""success","#, r#""success","warnings":null,"#, None),
            (r#""success","#, r#""success","infos":["not a counter"],"stats":{"seriesFetched":"1"},"#, None),
        ] {
            let body = good.replacen(part, instead, 1);
            match partial {
                Some(why) => assert_eq!(read(&body), Err(Unusable::Partial(why.to_owned())), "{body}"),
                None => assert!(read(&body).is_ok(), "{body}"),
            }
            assert!(decode(body.as_bytes(), true).is_ok(), "{body}");
        }
    }

    #[test]
    fn an_error_with_status_200_is_an_error() {
        let failed = |text: &str| Err(Unusable::Failed(text.to_owned()));
        assert_eq!(read(r#"{"status":"error","errorType":"timeout","error":"query timed out"}"#), failed("timeout"));
        assert_eq!(read(r#"{"status":"error","data":null}"#), failed("no reason"));
        assert_eq!(read(r#"{"status":"error","errorType":"Bearer x"}"#), failed("no reason"));
    }

    #[test]
    fn what_is_no_answer_is_never_a_value() {
        let good = vector(r#"{"metric":{},"value":[1,"2"]}"#);
        for (part, instead) in [
            (r#""2""#, "2"),
            (r#""2""#, "null"),
            (r#""2""#, r#""""#),
            (r#""2""#, r#""2k""#),
            (r#"[1,"2"]"#, "[]"),
            (r#"[1,"2"]"#, "null"),
            (r#"[1,"2"]"#, r#"["1","2"]"#),
            (r#""value""#, r#""values""#),
            (r#""metric":{},"#, ""),
            (r#""metric":{}"#, r#""metric":{"a":1}"#),
            (r#""metric":{}"#, r#""metric":{"a":"1","a":"2"}"#),
            (r#""metric":{}"#, r#""metric":null"#),
            (r#""resultType":"vector","#, ""),
            ("vector", "streams"),
            ("success", "ok"),
            (r#""status":"success","#, ""),
            (r#"[{"metric":{},"value":[1,"2"]}]"#, "null"),
            (r#"[{"metric":{},"value":[1,"2"]}]"#, r#"[[1,"2"]]"#),
            (r#"[{"metric":{},"value":[1,"2"]}]"#, r#"[1,"2"]"#),
            ("}}", "}"),
        ] {
            let body = good.replacen(part, instead, 1);
            assert_ne!(body, good);
            assert!(matches!(read(&body), Err(Unusable::Invalid(_))), "{body}");
        }
        for body in ["", "null", "[]", "3", "<html>", r#"{"status":"success"}"#, r#"{"status":"success","data":null}"#]
        {
            assert!(matches!(read(body), Err(Unusable::Invalid(_))), "{body}");
        }
        let secret = good.replacen(r#"{"metric":{},"value":[1,"2"]}"#, r#""hunter2""#, 1);
        assert!(!format!("{:?}", read(&secret)).contains("hunter2"));
    }

    proptest! {
        #[test]
        fn no_body_panics(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&body, true);
        }

        #[test]
        fn a_cut_answer_has_no_value(end in 0..400_usize) {
            let series: Vec<String> = (0..5).map(|n| format!(r#"{{"metric":{{"n":"{n}"}},"value":[1,"{n}"]}}"#)).collect();
            let whole = vector(&series.join(","));
            if end < whole.len() {
                prop_assert!(decode(&whole.as_bytes()[..end], true).is_err());
            }
        }
    }
}
