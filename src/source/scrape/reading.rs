//! The selected series of one target, out of what it exposes. Pure.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use crate::exposition::{Format, MetricType, ParseError, Sample, Samples, SeriesSelector, parse};
use crate::metric::Labels;
use crate::source::chosen::counts_as;

/// The metric with the time at which a process began, in the client libraries for most languages. Some
/// programs put a prefix before it.
const PROCESS_START: &str = "process_start_time_seconds";
/// What the names of samples of counters, histograms and summaries end in.
const SUFFIXES: [&str; 4] = ["_total", "_bucket", "_count", "_sum"];

/// A `_created` of a smaller number counts something: this one is in September 2001.
const CREATED_MIN: f64 = 1e9;
/// How far the clock of a pod may be ahead, in seconds: a day. A later `_created` counts something.
const AHEAD_MAX: f64 = 86_400.0;

/// The most processes that the series of one target are searched for. With more, none is known.
const PROCESSES_MAX: usize = 16;

/// The most series of all targets of a source. Each takes one to three kilobytes.
pub const SERIES_MAX: usize = 10_000;

/// A selected series of a target.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Its labels, of which none is empty. They differ from those of the other series.
    pub labels: Labels,
    /// Its number. It may be NaN or infinite.
    pub value: f64,
    /// When it was 0, in seconds since 1970: its `_created`.
    pub created: Option<f64>,
    /// When its process began, in seconds since 1970.
    pub process: Option<f64>,
    /// Its type as declared.
    pub metric_type: MetricType,
}

/// Why what a target exposes can't be used. The message contains nothing of it.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Invalid {
    /// A syntax error.
    #[error(transparent)]
    Syntax(#[from] ParseError),
    /// Two samples of one series.
    #[error("a selected series occurs twice")]
    Twice,
    /// A sample that the program repeats. Without it, a sum would be smaller than it is.
    #[error("the timestamp of a selected series is older than `maxAge`")]
    Old,
    /// More series than all targets together may have. The rest is not read.
    #[error("all pods together have more than {SERIES_MAX} selected series")]
    Many,
    /// No sample at all, as of a proxy or of a program that starts. So it does not count as 0.
    #[error("the answer of a pod has no sample")]
    Empty,
}

/// When a process began. What it exposes has its labels: those that a program adds to all series, or those
/// that distinguish the targets of a federating Prometheus.
struct Process {
    labels: Labels,
    prefix: String,
    start: f64,
}

/// The selected series of an exposition that came `now`, in seconds since 1970. They are sorted by their labels.
/// Every line of it is checked. An exposition without any sample is not one without the selected series: a proxy may
/// have sent it, or a program that starts.
pub fn select(
    body: &[u8],
    format: Format,
    selector: &SeriesSelector,
    now: f64,
    max_age: Duration,
) -> Result<Vec<Series>, Invalid> {
    let oldest = now - max_age.as_secs_f64();
    let created_name = created_name(selector.name());
    let mut selected: BTreeMap<Labels, Series> = BTreeMap::new();
    let (mut counted, mut has_created) = (0, false);
    let mut processes = Vec::new();
    let mut is_empty = true;
    for sample in parse(body, format)? {
        let sample = sample?;
        is_empty = false;
        if selector.matches(&sample) {
            if sample.timestamp.is_some_and(|timestamp| timestamp < oldest) {
                return Err(Invalid::Old);
            }
            let (labels, value) = (labels(&sample), sample.value);
            counted += counts_as(&labels, usize::MAX);
            if counted > SERIES_MAX {
                return Err(Invalid::Many);
            }
            let series =
                Series { labels: labels.clone(), value, created: None, process: None, metric_type: sample.metric_type };
            if selected.insert(labels, series).is_some() {
                return Err(Invalid::Twice);
            }
        } else if sample.name == created_name {
            has_created |= is_time(&sample, format, now);
        } else if processes.len() <= PROCESSES_MAX
            && let Some(process) = Process::of(&sample)
        {
            processes.push(process);
        }
    }
    if is_empty {
        return Err(Invalid::Empty);
    }
    let processes = Process::sorted(processes);
    // In a second pass, because the times of series that are not selected may be many.
    let created = match has_created {
        true => created(parse(body, format)?, selected.keys(), |sample| {
            sample.name == created_name && is_time(sample, format, now)
        })?,
        false => HashMap::new(),
    };
    let series = selected.into_values().map(|series| {
        let time = |labels: &Labels| created.get(labels).copied().flatten();
        let created = time(&series.labels).or_else(|| of_histogram(&series.labels).as_ref().and_then(time));
        let process = processes.iter().rev().find(|process| process.has(&series.labels));
        Series { created, process: process.map(|process| process.start), ..series }
    });
    Ok(series.collect())
}

/// The times at which these series were 0, by labels. `is_one`: whether a sample has such a time.
fn created<'l>(
    samples: Samples<'_>,
    series: impl Iterator<Item = &'l Labels>,
    is_one: impl Fn(&Sample<'_>) -> bool,
) -> Result<HashMap<Labels, Option<f64>>, ParseError> {
    let wanted = series.flat_map(|labels| [Some(labels.clone()), of_histogram(labels)]).flatten();
    let mut created: HashMap<Labels, Option<f64>> = wanted.map(|labels| (labels, None)).collect();
    for sample in samples {
        let sample = sample?;
        if is_one(&sample)
            && let Some(time) = created.get_mut(&labels(&sample))
        {
            *time = Some(sample.value);
        }
    }
    Ok(created)
}

/// The labels of a histogram that this series may be a bucket of. The buckets have been created with it.
fn of_histogram(series: &Labels) -> Option<Labels> {
    series.value("le").map(|_| series.without("le"))
}

// === impl Process ===

impl Process {
    fn of(sample: &Sample<'_>) -> Option<Self> {
        let prefix = sample.name.strip_suffix(PROCESS_START)?;
        let is_one = prefix.is_empty() || prefix.ends_with('_');
        is_one.then(|| Self { labels: labels(sample), prefix: prefix.to_owned(), start: sample.value })
    }

    /// The most specific one last. None if there are too many.
    fn sorted(mut processes: Vec<Self>) -> Vec<Self> {
        if processes.len() > PROCESSES_MAX {
            processes.clear();
        }
        processes
            .sort_by_cached_key(|process| (process.labels.len(), process.prefix.is_empty(), process.prefix.clone()));
        processes
    }

    fn has(&self, series: &Labels) -> bool {
        self.labels.iter().all(|(label, value)| series.value(label) == Some(value))
    }
}

/// Whether a `_created` sample has a time. In the text format, it is a gauge of its own, and a counter with
/// this name counts what was created. Its type may not be declared, so the time must be a likely one.
fn is_time(created: &Sample<'_>, format: Format, now: f64) -> bool {
    let may_be = format == Format::OpenMetrics || created.metric_type != MetricType::Counter || created.is_part;
    may_be && (CREATED_MIN..=now + AHEAD_MAX).contains(&created.value)
}

/// The name of the sample with the time at which a series was 0.
fn created_name(name: &str) -> String {
    let base = SUFFIXES.iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name);
    format!("{base}_created")
}

fn labels(sample: &Sample<'_>) -> Labels {
    let labels = sample.labels.iter().filter(|(_, value)| !value.is_empty());
    labels.map(|(label, value)| (label, value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Labels, number, creation time and start of the process of a series.
    type Line = (String, f64, Option<f64>, Option<f64>);

    const NOW: f64 = 1.8e9;
    const MAX_AGE: Duration = Duration::from_mins(1);

    fn read(text: &str, selector: &str) -> Result<Vec<Line>, Invalid> {
        let format = if text.ends_with("# EOF\n") { Format::OpenMetrics } else { Format::Text };
        let series = select(text.as_bytes(), format, &selector.parse().unwrap(), NOW, MAX_AGE)?;
        let line = |Series { labels, value, created, process, .. }: Series| {
            let labels: Vec<String> = labels.iter().map(|(label, value)| format!("{label}={value}")).collect();
            (labels.join(","), value, created, process)
        };
        Ok(series.into_iter().map(line).collect())
    }

    /// What the Python client exposes in the text format.
    #[test]
    fn a_counter_with_its_creation_time_and_process() {
        let text = concat!(
            "# TYPE process_start_time_seconds gauge\nprocess_start_time_seconds 1.79e9\n",
            "# TYPE ops_total counter\nops_total{path=\"/a\"} 25.0\nops_total{path=\"/b\",x=\"\"} 3.0\n",
            "# TYPE ops_created gauge\nops_created{path=\"/a\"} 1.790000001e+09\n",
            "other_total{path=\"/a\"} 7\n",
        );
        let (a, b) = (
            ("path=/a".to_owned(), 25.0, Some(1_790_000_001.0), Some(1.79e9)),
            ("path=/b".to_owned(), 3.0, None, Some(1.79e9)),
        );
        assert_eq!(read(text, "ops_total"), Ok(vec![a, b.clone()]));
        assert_eq!(read(text, r#"ops_total{path="/b"}"#), Ok(vec![b]));
        assert_eq!(read(text, r#"ops_total{x=~"y"}"#), Ok(vec![]));
        let series = select(text.as_bytes(), Format::Text, &"ops_total".parse().unwrap(), NOW, MAX_AGE).unwrap();
        assert_eq!(series[0].metric_type, MetricType::Counter);
    }

    #[test]
    fn the_rest_of_too_many_series_is_not_read() {
        let text = |count: usize, rest: &str| {
            let lines: Vec<String> = (0..count).map(|n| format!("m{{n=\"{n}\"}} 1\n")).collect();
            lines.concat() + rest
        };
        assert_eq!(read(&text(SERIES_MAX, ""), "m").map(|all| all.len()), Ok(SERIES_MAX));
        assert_eq!(read(&text(SERIES_MAX + 1, "not valid"), "m"), Err(Invalid::Many));
        assert_eq!(read(&text(SERIES_MAX + 1, ""), "m{n=\"7\"}").map(|all| all.len()), Ok(1));
        // Long labels count as several series.
        let labels: Vec<String> = (0..60).map(|n| format!("{}{n}=\"x\"", "l".repeat(2000))).collect();
        let long: Vec<String> = (0..130).map(|n| format!("m{{n=\"{n}\",{}}} 1\n", labels.join(","))).collect();
        assert_eq!(read(&long[..100].concat(), "m").map(|all| all.len()), Ok(100));
        assert_eq!(read(&long.concat(), "m"), Err(Invalid::Many));
        let values: Vec<String> = (0..4).map(|n| format!("m{{n=\"{n}{}\"}} 1\n", "x".repeat(4_100_000))).collect();
        assert_eq!(read(&values[..3].concat(), "m").map(|all| all.len()), Ok(3));
        assert_eq!(read(&values.concat(), "m"), Err(Invalid::Many));
    }

    #[test]
    fn histograms_have_one_creation_time() {
        let text = "# TYPE h histogram\nh_bucket{le=\"1\",a=\"b\"} 2\nh_bucket{le=\"+Inf\",a=\"b\"} 3\nh_count{a=\"b\"} 3\nh_sum{a=\"b\"} 1.5\nh_created{a=\"b\"} 1.7e9\n# EOF\n";
        let created =
            |selector| read(text, selector).unwrap().into_iter().map(|(.., created, _)| created).collect::<Vec<_>>();
        assert_eq!(created("h_bucket"), [Some(1.7e9), Some(1.7e9)]);
        assert_eq!(created("h_count"), [Some(1.7e9)]);
        assert_eq!(created("h_sum"), [Some(1.7e9)]);
        assert_eq!(created("h"), []);
    }

    #[test]
    fn a_counter_of_what_was_created_has_no_times() {
        let created = |kind| {
            let text = format!("# TYPE jobs gauge\njobs 3\n# TYPE jobs_created {kind}\njobs_created 1.79e9\n");
            read(&text, "jobs").unwrap().remove(0).2
        };
        assert_eq!((created("counter"), created("gauge"), created("untyped")), (None, Some(1.79e9), Some(1.79e9)));
        // OpenMetrics that is sent as text.
        let text = "# TYPE jobs counter\njobs_total 3\njobs_created 1.79e9\n";
        assert_eq!(read(text, "jobs_total").unwrap()[0].2, Some(1.79e9));
    }

    #[test]
    fn an_old_sample_is_no_value() {
        for (seconds, is_old) in [
            ("1799996400", true),
            ("1799999939.999", true),
            ("1799999940", false),
            ("1800000000", false),
            // The clock of the program is ahead.
            ("1800003600", false),
        ] {
            let millis = (seconds.parse::<f64>().unwrap() * 1000.0).round();
            let expected = if is_old { Err(Invalid::Old) } else { Ok(2) };
            for text in [format!("m 1\nm{{a=\"b\"}} 7 {millis}\n"), format!("m 1\nm{{a=\"b\"}} 7 {seconds}\n# EOF\n")] {
                assert_eq!(read(&text, "m").map(|all| all.len()), expected, "{text}");
            }
        }
        // Only the selected series count.
        assert_eq!(read("m 1\no 7 0\n", "m").map(|all| all.len()), Ok(1));
    }

    #[test]
    fn an_unlikely_time_is_none() {
        for (created, is_time) in [
            ("0", false),
            ("205", false),
            ("-1.79e9", false),
            ("999999999.9", false),
            ("1e9", true),
            ("1.8e9", true),
            ("1800086400", true),
            ("1800086400.5", false),
            // Milliseconds.
            ("1.79e12", false),
            ("NaN", false),
            ("+Inf", false),
        ] {
            let of_text = |kind: &str| format!("orders_total 7\n{kind}orders_created {created}\n");
            let declared = "# TYPE orders_created gauge\n";
            let metrics = format!("# TYPE orders counter\norders_total 7\norders_created {created}\n# EOF\n");
            for text in [of_text(""), of_text(declared), metrics] {
                let found = read(&text, "orders_total").unwrap().remove(0).2;
                assert_eq!(found, is_time.then(|| created.parse().unwrap()), "{text}");
            }
        }
    }

    #[test]
    fn a_series_is_of_the_process_whose_labels_it_has() {
        for (text, expected) in [
            ("m 1\n", None),
            ("m 1\nprocess_start_time_seconds 5\n", Some(5.0)),
            ("m{a=\"b\"} 1\nprocess_start_time_seconds{x=\"\"} 5\n", Some(5.0)),
            ("m{a=\"b\"} 1\nprocess_start_time_seconds{a=\"b\"} 5\nprocess_start_time_seconds{a=\"c\"} 6\n", Some(5.0)),
            ("m{a=\"b\"} 1\nprocess_start_time_seconds{a=\"b\"} 5\nprocess_start_time_seconds 6\n", Some(5.0)),
            ("m 1\nprocess_start_time_seconds{a=\"b\"} 5\n", None),
            ("m 1\nshop_process_start_time_seconds 5\n", Some(5.0)),
            ("m 1\nprocess_start_time_seconds 5\nshop_process_start_time_seconds 6\n", Some(5.0)),
            ("m 1\nsubprocess_start_time_seconds 5\n", None),
        ] {
            assert_eq!(read(text, "m").unwrap().remove(0).3, expected, "{text:?}");
        }
        let of = |count| {
            let all: String = (0..count).map(|at| format!("process_start_time_seconds{{a=\"{at}\"}} {at}\n")).collect();
            read(&format!("m{{a=\"1\"}} 1\n{all}"), "m").unwrap().remove(0).3
        };
        assert_eq!((of(PROCESSES_MAX), of(PROCESSES_MAX + 1)), (Some(1.0), None));
    }

    #[test]
    fn what_can_not_be_used() {
        // A label with an empty value is the same as none.
        assert_eq!(read("m{a=\"\"} 1\nm 2\n", "m"), Err(Invalid::Twice));
        // Only the selected series count.
        assert_eq!(read("m 1\no 1\no 2\n", "m").map(|all| all.len()), Ok(1));
        // A later line makes all of it invalid.
        let error = read("m 1\nbroken\n", "m").unwrap_err();
        assert_eq!(error.to_string(), "line 2: expected a number as the value of a sample");
        for text in ["", "\n", "# HELP m x\n# TYPE m gauge\n", "# EOF\n"] {
            assert_eq!(read(text, "m"), Err(Invalid::Empty), "{text:?}");
        }
        // It has counted nothing.
        assert_eq!(read("up 1\n", "m"), Ok(vec![]));
    }
}
