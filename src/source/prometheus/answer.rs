//! The answer to an instant query, as <https://prometheus.io/docs/prometheus/latest/querying/api/>
//! describes it, and as Thanos, Mimir and VictoriaMetrics extend it. Pure.

use std::fmt;

use serde::de::{Error as _, IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::sentence::{is_word, without_label_sets};
use crate::document::distinct::distinct;
use crate::document::json_fault;
use crate::metric::{Labels, names};
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

/// The values of an answer. The series of a vector are decoded one by one, because there may be any number of
/// them.
#[derive(Debug)]
pub(super) enum Answer<'b> {
    Vector(&'b RawValue),
    Scalar(Number),
}

#[derive(Deserialize)]
struct Document<'b> {
    status: String,
    #[serde(borrow)]
    data: Option<Data<'b>>,
    #[serde(rename = "errorType")]
    error_type: Option<String>,
    #[serde(borrow)]
    warnings: Option<Warnings<'b>>,
    /// VictoriaMetrics: a storage node did not answer.
    #[serde(rename = "isPartial")]
    is_partial: Option<bool>,
}

#[derive(Deserialize)]
struct Data<'b> {
    #[serde(rename = "resultType")]
    result_type: String,
    #[serde(borrow)]
    result: &'b RawValue,
    /// The documentation of Thanos has them here.
    #[serde(borrow)]
    warnings: Option<Warnings<'b>>,
    /// A proxy that puts answers together may have it here.
    #[serde(rename = "isPartial")]
    is_partial: Option<bool>,
}

/// The first one, if there is any.
struct Warnings<'b>(Option<&'b RawValue>);

#[derive(Deserialize)]
struct Series {
    #[serde(deserialize_with = "labels")]
    metric: Labels,
    value: Option<(f64, String)>,
    histogram: Option<IgnoredAny>,
}

/// Hands over each series of a vector as a point.
struct EachPoint<'e> {
    each: &'e mut dyn FnMut(&Point),
    /// Why a series is no point. Serde's errors have a line and a column only.
    wrong: &'e mut Option<&'static str>,
}

fn labels<'de, D: Deserializer<'de>>(from: D) -> Result<Labels, D::Error> {
    Ok(distinct::<_, String>(from)?.into_iter().collect())
}

/// The values of an answer. `partial`: also of one that has warnings.
pub(super) fn decode(body: &[u8], partial: bool) -> Result<Answer<'_>, Unusable> {
    let Document { status, data, error_type, warnings, is_partial } =
        serde_json::from_slice(body).map_err(|error| invalid(&error))?;
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
    let first = [warnings, inner].into_iter().flatten().find_map(|Warnings(first)| first);
    if !partial && let Some(warning) = first {
        let warning: String = serde_json::from_str(warning.get()).unwrap_or_else(|_| "no text".to_owned());
        let warning = without_label_sets(&warning);
        return Err(Unusable::Partial(names::shortened(&warning, WARNING_BYTES).into_owned()));
    }
    if !partial && [is_partial, is_inner_partial].contains(&Some(true)) {
        return Err(Unusable::Partial("isPartial".to_owned()));
    }
    match &*result_type {
        "vector" => Ok(Answer::Vector(result)),
        "scalar" => {
            let (_, text): (f64, String) = serde_json::from_str(result.get()).map_err(|error| in_result(&error))?;
            let number = Number::parse(&text).ok_or_else(|| lacks("a scalar that is not a number"))?;
            Ok(Answer::Scalar(number))
        }
        "matrix" => Err(Unusable::Type("a range vector (matrix)")),
        "string" => Err(Unusable::Type("a string")),
        _ => Err(lacks("an unknown `resultType`")),
    }
}

/// Serde's own messages repeat what they found, which may be a secret.
fn invalid(error: &serde_json::Error) -> Unusable {
    Unusable::Invalid(json_fault(error))
}

/// The same of an error whose line and column are those in the result.
fn in_result(error: &serde_json::Error) -> Unusable {
    Unusable::Invalid(format!("`result`: {}", json_fault(error)))
}

// === impl Answer ===

impl Answer<'_> {
    /// Hands over all points. An error may come after some of them.
    pub(super) fn points(&self, each: &mut dyn FnMut(&Point)) -> Result<(), Unusable> {
        match self {
            Self::Scalar(number) => {
                each(&Point { labels: Labels::default(), number: *number });
                Ok(())
            }
            Self::Vector(series) => {
                let mut json = serde_json::Deserializer::from_str(series.get());
                let mut wrong = None;
                let read = json.deserialize_seq(EachPoint { each, wrong: &mut wrong });
                read.map_err(|error| wrong.map_or_else(|| in_result(&error), |why| Unusable::Invalid(why.to_owned())))
            }
        }
    }
}

// === impl Series ===

impl Series {
    /// As a point, or why it is none.
    fn point(self) -> Result<Point, &'static str> {
        let Self { metric, value, histogram } = self;
        let number = match (value, histogram) {
            (Some((_, text)), None) => Number::parse(&text).ok_or("a value that is not a number")?,
            (None, Some(_)) => Number::Unusable(
                "it is a native histogram. Make it a number, as by histogram_quantile() or histogram_count().",
            ),
            _ => return Err("a series without one value"),
        };
        Ok(Point { labels: metric, number })
    }
}

// === impl EachPoint ===

impl<'de> Visitor<'de> for EachPoint<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of series")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut all: A) -> Result<(), A::Error> {
        while let Some(series) = all.next_element::<Series>()? {
            let point = series.point().map_err(|why| A::Error::custom(*self.wrong.insert(why)))?;
            (self.each)(&point);
        }
        Ok(())
    }
}

// === impl Warnings ===

impl<'de: 'b, 'b> Deserialize<'de> for Warnings<'b> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_seq(FirstVisitor)
    }
}

struct FirstVisitor;

impl<'de> Visitor<'de> for FirstVisitor {
    type Value = Warnings<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of warnings")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut all: A) -> Result<Warnings<'de>, A::Error> {
        let first = all.next_element()?;
        while all.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Warnings(first))
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

    fn points(body: &[u8], partial: bool) -> Result<Vec<Point>, Unusable> {
        let mut points = Vec::new();
        decode(body, partial)?.points(&mut |point| points.push(point.clone()))?;
        Ok(points)
    }

    fn read(body: &str) -> Result<Vec<(String, Number)>, Unusable> {
        let labels =
            |point: &Point| point.labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>();
        let points = points(body.as_bytes(), false)?;
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
            assert!(points(body.as_bytes(), true).is_ok(), "{body}");
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
        let lacking = |from: &str, to: &str| read(&good.replacen(from, to, 1));
        let invalid = |why: &str| Err(Unusable::Invalid(why.to_owned()));
        assert_eq!(lacking(r#""2""#, r#""2k""#), invalid("a value that is not a number"));
        assert_eq!(lacking(r#""value""#, r#""values""#), invalid("a series without one value"));
        let secret = good.replacen(r#"{"metric":{},"value":[1,"2"]}"#, r#""hunter2""#, 1);
        assert!(!format!("{:?}", read(&secret)).contains("hunter2"));
    }

    proptest! {
        #[test]
        fn no_body_panics(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = points(&body, true);
        }

        #[test]
        fn a_cut_answer_has_no_value(end in 0..400_usize) {
            let series: Vec<String> = (0..5).map(|n| format!(r#"{{"metric":{{"n":"{n}"}},"value":[1,"{n}"]}}"#)).collect();
            let whole = vector(&series.join(","));
            if end < whole.len() {
                prop_assert!(points(&whole.as_bytes()[..end], true).is_err());
            }
        }
    }
}
