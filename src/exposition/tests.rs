use proptest::prelude::*;

use super::*;

/// Name and labels, the number as written, the type and the timestamp.
type Line = (String, String, MetricType, Option<f64>);

fn read(text: &str, format: Format) -> Result<Vec<Line>, ParseError> {
    let line = |sample: Sample<'_>| {
        let labels: Vec<String> = sample.labels.iter().map(|(label, value)| format!("{label}={value:?}")).collect();
        let series = format!("{}{{{}}}", sample.name, labels.join(","));
        (series, sample.written.to_owned(), sample.metric_type, sample.timestamp)
    };
    parse(text.as_bytes(), format)?.map(|sample| sample.map(line)).collect()
}

/// Series with their numbers.
fn numbers(text: &str, format: Format) -> Result<Vec<(String, String)>, ParseError> {
    Ok(read(text, format)?.into_iter().map(|(series, number, ..)| (series, number)).collect())
}

fn texts(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(series, number)| ((*series).to_owned(), (*number).to_owned())).collect()
}

fn cause(text: &str, format: Format) -> (usize, &'static str) {
    let ParseError { line, cause } = numbers(text, format).expect_err(text);
    (line, cause)
}

/// Lines that Prometheus' own tests of its parser read, with its results.
#[test]
fn the_text_format_as_prometheus_reads_it() {
    let text = concat!(
        "# HELP go_gc_duration_seconds A summary of the GC invocation durations.\n",
        "# \tTYPE go_gc_duration_seconds summary\n",
        "go_gc_duration_seconds{quantile=\"0\"} 4.9351e-05\n",
        "go_gc_duration_seconds{quantile=\"0.25\",} 7.424100000000001e-05\n",
        "go_gc_duration_seconds{ quantile=\"0.9\", a=\"b\"} 8.3835e-05\n",
        "# Hrandom comment starting with prefix of HELP\n",
        "#\n",
        "#TYPE is a comment, because there is no space\n",
        "wind_speed{A=\"2\",c=\"3\"} 12345\n",
        "# HELP nohelp1\n",
        "# HELP nohelp2 \n",
        "\n",
        "  \t\n",
        "go_gc_duration_seconds { quantile = \"1.0\", a = \"b\", } 8.3835e-05\n",
        "go_gc_duration_seconds_count 99\n",
        "some:aggregate:rate5m{a_b=\"c\"}\t1\n",
        "# TYPE go_goroutines gauge\n",
        "go_goroutines 33  \t123123\n",
        "_metric_starting_with_underscore 1\n",
        "testmetric{label=\"\\\"bar\\\"\",other=\"\\\\ \\n \\d\"} 1\n",
        "null_byte{a=\"abc\0\",b=\"two\nlines\"} -1",
    );
    assert_eq!(
        numbers(text, Format::Text),
        Ok(texts(&[
            ("go_gc_duration_seconds{quantile=\"0\"}", "4.9351e-05"),
            ("go_gc_duration_seconds{quantile=\"0.25\"}", "7.424100000000001e-05"),
            ("go_gc_duration_seconds{quantile=\"0.9\",a=\"b\"}", "8.3835e-05"),
            ("wind_speed{A=\"2\",c=\"3\"}", "12345"),
            ("go_gc_duration_seconds{quantile=\"1.0\",a=\"b\"}", "8.3835e-05"),
            ("go_gc_duration_seconds_count{}", "99"),
            ("some:aggregate:rate5m{a_b=\"c\"}", "1"),
            ("go_goroutines{}", "33"),
            ("_metric_starting_with_underscore{}", "1"),
            (r#"testmetric{label="\"bar\"",other="\\ \n \\d"}"#, "1"),
            (r#"null_byte{a="abc\0",b="two\nlines"}"#, "-1"),
        ]))
    );
}

#[test]
fn names_of_any_characters_are_quoted() {
    let text = concat!(
        "# TYPE \"go.gc_duration_seconds\" counter\n",
        "{\"go.gc_duration_seconds\",quantile=\"0\"} 1\n",
        "{ \"go.gc_duration_seconds\", \"a.b\" = \"c\", } 2\n",
        "{\"go.gc_duration_seconds_count\"} 99\n",
        "{\"Heizölrückstoßabdämpfung 10€ \\\"x\\\" {a\\nb}\",\"strange©™\\n'q'\"=\"6\"} 10.0\n",
        "plain{\"quoted\"=\"7\"} 3\n",
    );
    let expected = texts(&[
        ("go.gc_duration_seconds{quantile=\"0\"}", "1"),
        ("go.gc_duration_seconds{a.b=\"c\"}", "2"),
        ("go.gc_duration_seconds_count{}", "99"),
        ("Heizölrückstoßabdämpfung 10€ \"x\" {a\nb}{strange©™\n'q'=\"6\"}", "10.0"),
        ("plain{quoted=\"7\"}", "3"),
    ]);
    assert_eq!(numbers(text, Format::Text).as_ref(), Ok(&expected));
    assert_eq!(numbers(&format!("{text}# EOF\n"), Format::OpenMetrics), Ok(expected));
    let types: Vec<MetricType> = read(text, Format::Text).unwrap().into_iter().map(|(.., kind, _)| kind).collect();
    assert_eq!(types[..3], [MetricType::Counter, MetricType::Counter, MetricType::Unknown]);
}

#[test]
fn open_metrics_with_units_exemplars_and_creation_times() {
    use MetricType::{Counter, Gauge, GaugeHistogram, Histogram, Info, StateSet, Summary, Unknown};
    let text = concat!(
        "# HELP orders Orders that were taken.\n",
        "# TYPE orders counter\n",
        "# UNIT orders seconds\n",
        "orders_total{shop=\"a\"} 25 # {trace_id=\"KOO5S4vxi0o\"} 0.67\n",
        "orders_total{shop=\"b\"} 3.0 1520879607.789 # {} 1 1520879607.789\n",
        "orders_created{shop=\"a\"} 1520430000.123\n",
        "orders 1\n",
        "ordersx_total 1\n",
        "# TYPE h histogram\n",
        "h_bucket{le=\"+Inf\"} 1\n",
        "h_count 1\n",
        "h_sum 0.5\n",
        "# TYPE gh gaugehistogram\n",
        "gh_gcount 1\n",
        "gh_count 1\n",
        "# TYPE s summary\n",
        "s{quantile=\"0.5\"} NaN\n",
        "# TYPE build info\n",
        "build_info{version=\"1\"} 1\n",
        "# TYPE state stateset\n",
        "state{state=\"a\"} 1\n",
        "# TYPE g gauge\n",
        "g -1e3 -1.5\n",
        "g_count 1\n",
        "# TYPE u unknown\n",
        "u +Inf\n",
        "# EOF\n",
    );
    let all = read(text, Format::OpenMetrics).unwrap();
    let types: Vec<MetricType> = all.iter().map(|(_, _, kind, _)| *kind).collect();
    let (counters, histograms) = ([Counter, Counter, Counter, Counter, Unknown], [Histogram, Histogram, Histogram]);
    let rest = [GaugeHistogram, Unknown, Summary, Info, StateSet, Gauge, Unknown, Unknown];
    assert_eq!(types, [&counters[..], &histograms, &rest].concat());
    let times: Vec<Option<f64>> = all.iter().map(|(.., time)| *time).collect();
    assert_eq!(times[..3], [None, Some(1_520_879_607.789), None]);
    assert_eq!(times[13], Some(-1.5));
    assert_eq!(all[2].1, "1520430000.123");
    // The newline after the end may be missing.
    assert_eq!(read(text.trim_end(), Format::OpenMetrics), Ok(all));
}

#[test]
fn timestamps_of_the_text_format_are_in_milliseconds() {
    let times = |text| read(text, Format::Text).map(|all| all.into_iter().map(|(.., time)| time).collect::<Vec<_>>());
    assert_eq!(times("a 1 1520879607789\nb 1\nc 1 -5\n"), Ok(vec![Some(1_520_879_607.789), None, Some(-0.005)]));
    assert!(times("a 1 1520879607.789\n").is_err());
}

#[test]
fn lines_end_with_or_without_a_carriage_return() {
    let expected = texts(&[("a{b=\"c\"}", "1"), ("d{}", "2")]);
    for text in ["# TYPE a gauge\r\na{b=\"c\"} 1\r\nd 2 7\r\n", "a{b=\"c\"} 1\r\n\r\nd 2"] {
        assert_eq!(numbers(text, Format::Text).as_ref(), Ok(&expected), "{text:?}");
    }
    assert_eq!(numbers("a{b=\"c\"} 1\r\nd 2\r\n# EOF\r\n", Format::OpenMetrics), Ok(expected));
    assert!(numbers("a 1\rb 2\n", Format::Text).is_err());
}

#[test]
fn numbers_as_go_writes_them() {
    for text in ["0", "-0", "1", "+1", "1.5", ".5", "5.", "1e+21", "1E-7", "9007199254740993", "5e-324"] {
        assert_eq!(number(text), Some(text.parse().unwrap()), "{text}");
    }
    for text in ["Inf", "+Inf", "inf", "+INFINITY"] {
        assert_eq!(number(text), Some(f64::INFINITY), "{text}");
    }
    assert_eq!(number("-Inf"), Some(f64::NEG_INFINITY));
    assert!(number("NaN").unwrap().is_nan() && number("nan").unwrap().is_nan());
    for text in ["", "-", ".", "e5", "1e999", "-1e999", "+NaN", "0x1p-2", "0x10", "1_000", "1k", "true", "1,5", "1 "] {
        assert_eq!(number(text), None, "{text}");
    }
}

#[test]
fn one_wrong_line_makes_the_whole_text_invalid() {
    let value = "expected a number as the value of a sample";
    let label = "expected the name of a label";
    let label_value = "expected a label value between quotation marks";
    for (text, expected) in [
        ("a", (1, value)),
        ("a 1\nb\n", (2, value)),
        ("a 1\nb 0x1p-3\n", (2, value)),
        ("a true\n", (1, value)),
        ("a-1\n", (1, value)),
        ("a{} \n", (1, value)),
        ("1a 1\n", (1, "expected the name of a metric")),
        ("{} 1\n", (1, "expected the name of a metric")),
        ("{a=\"ok\"} 1\n", (1, "expected the name of a metric")),
        ("<html>\n", (1, "expected the name of a metric")),
        ("a{b='c'} 1\n", (1, label_value)),
        ("a{b=\"c} 1\n", (1, label_value)),
        ("a{b=\"c\\\"} 1\n", (1, label_value)),
        ("a{b=\n", (1, label_value)),
        ("a{=\"\"} 1\n", (1, label)),
        ("a{,} 1\n", (1, label)),
        ("a{\"\"=\"b\"} 1\n", (1, label)),
        ("a{b:c=\"d\"} 1\n", (1, "expected = after the name of a label")),
        ("a{b} 1\n", (1, "expected = after the name of a label")),
        ("a{\"b\"} 1\n", (1, "expected = after the name of a label")),
        ("{\"a\",\"b\"} 1\n", (1, "expected = after the name of a label")),
        ("a{b=\"c\" d=\"e\"} 1\n", (1, "expected , or } after a label")),
        ("a{b=\"c\",b=\"d\"} 1\n", (1, "a label occurs twice")),
        ("a 1 x\n", (1, "expected a timestamp or the end of the line after a value")),
        ("a 1 # {b=\"c\"} 1\n", (1, "expected a timestamp or the end of the line after a value")),
        ("a 1 2 3\n", (1, "expected the end of the line after a sample")),
        ("a{__name__=\"b\"} 1\n", (1, "__name__ is not a label: the name of a metric is before its labels")),
        ("# TYPE #\n", (1, "expected the name of a metric after # TYPE or # HELP")),
        ("# HELP 9 Nine.\n", (1, "expected the name of a metric after # TYPE or # HELP")),
        ("# HELP \n", (1, "expected the name of a metric after # TYPE or # HELP")),
        ("\n# TYPE a dragon\n", (2, "expected the type of a metric")),
        ("# TYPE a\n", (1, "expected the type of a metric")),
    ] {
        assert_eq!(cause(text, Format::Text), expected, "{text:?}");
    }
    let exemplar = "expected { after # in the line of a sample";
    for (text, expected) in [
        ("", (1, "the text ends before # EOF")),
        ("a 1\n", (2, "the text ends before # EOF")),
        ("a 1\n#EOF\n", (3, "the text ends before # EOF")),
        ("a 1\n# EOF\nb 2\n", (2, "there is more after # EOF")),
        ("a 1\n# EOF\n\n", (2, "there is more after # EOF")),
        ("a{b=\"c\nd\"} 1\n# EOF\n", (1, label_value)),
        ("a 1 #\n# EOF\n", (1, exemplar)),
        ("a 1 # 5\n# EOF\n", (1, exemplar)),
        ("a 1 # {b} 5\n# EOF\n", (1, "expected = after the name of a label")),
        ("a 1 # {\"b\"} 5\n# EOF\n", (1, "expected = after the name of a label")),
        ("a 1 # {b=\"c\"}\n# EOF\n", (1, "expected a number as the value of an exemplar")),
        ("a 1 NaN\n# EOF\n", (1, "expected a timestamp or the end of the line after a value")),
        ("a 1 # {} 1 2 3\n# EOF\n", (1, "expected the end of the line after a sample")),
    ] {
        assert_eq!(cause(text, Format::OpenMetrics), expected, "{text:?}");
    }
    let error = parse(b"a 1\nb{c=\"\xff\"} 1\n", Format::Text).unwrap_err();
    assert_eq!(error.to_string(), "line 2: the text is not UTF-8");
}

#[test]
fn samples_labels_and_bytes_are_bounded() {
    let labelled = |count: usize| {
        let labels: String = (0..count).map(|at| format!("l{at}=\"\",")).collect();
        format!("a{{{labels}}} 1\n")
    };
    assert_eq!(read(&labelled(LABELS_MAX), Format::Text).map(|all| all.len()), Ok(1));
    assert_eq!(cause(&labelled(LABELS_MAX + 1), Format::Text), (1, "a sample has more than 64 labels"));
    let many = |count: usize| "a 1\n".repeat(count);
    assert_eq!(parse(many(SAMPLES_MAX).as_bytes(), Format::Text).unwrap().filter(Result::is_ok).count(), SAMPLES_MAX);
    assert_eq!(cause(&many(SAMPLES_MAX + 1), Format::Text).1, "there are more than 250,000 samples");
    let long = format!("#{}", "x".repeat(BYTES_MAX));
    assert_eq!(cause(&long, Format::Text), (1, "the text has more than 16 MiB"));
    assert_eq!(numbers(&long[1..], Format::Text).map_err(|error| error.line), Err(1));
}

#[test]
fn the_format_is_in_the_content_type() {
    for (content_type, expected) in [
        ("text/plain; version=0.0.4; charset=utf-8", Some(Format::Text)),
        ("text/plain;version=1.0.0;escaping=allow-utf-8", Some(Format::Text)),
        ("TEXT/PLAIN", Some(Format::Text)),
        ("application/openmetrics-text; version=1.0.0; charset=utf-8", Some(Format::OpenMetrics)),
        ("application/openmetrics-text", Some(Format::OpenMetrics)),
        ("application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily", None),
        ("text/html", None),
        ("application/json", None),
        ("", None),
    ] {
        assert_eq!(Format::of(content_type), expected, "{content_type}");
    }
}

/// A sample before it is written: name, labels, number, timestamp in milliseconds.
type Written = (String, Vec<(String, String)>, f64, Option<i64>);

fn quote(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n"))
}

/// Writes a sample as a client of Prometheus does.
fn write((name, labels, number, time): &Written, format: Format) -> String {
    let labels: Vec<String> =
        labels.iter().map(|(label, value)| format!("{}={}", quote(label), quote(value))).collect();
    let time = match (time, format) {
        (None, _) => String::new(),
        (Some(time), Format::Text) => format!(" {time}"),
        (Some(time), Format::OpenMetrics) => format!(" {}.{:03}", time / 1000, time % 1000),
    };
    format!("{{{},{}}} {number:?}{time}\n", quote(name), labels.join(","))
}

fn samples() -> impl Strategy<Value = Vec<Written>> {
    let labels = proptest::collection::btree_map(".+", ".*", 0..4).prop_map(|labels| labels.into_iter().collect());
    let number = any::<f64>().prop_filter("equal to itself", |number| !number.is_nan());
    let time = proptest::option::of(0_i64..4_000_000_000_000);
    proptest::collection::vec((".+", labels, number, time), 0..5)
}

proptest! {
    #[test]
    fn what_is_written_is_read(samples in samples(), is_text: bool) {
        let format = if is_text { Format::Text } else { Format::OpenMetrics };
        let mut text: String = samples.iter().map(|sample| write(sample, format)).collect();
        if !is_text {
            text.push_str("# EOF\n");
        }
        let read: Vec<Written> = parse(text.as_bytes(), format).unwrap().map(|sample| {
            let Sample { name, labels, value, timestamp, .. } = sample.unwrap();
            let labels = labels.into_iter().map(|(label, value)| (label.into_owned(), value.into_owned())).collect();
            #[expect(clippy::cast_possible_truncation, reason = "as small as it was written")]
            let time = timestamp.map(|seconds| (seconds * 1000.0).round() as i64);
            (name.into_owned(), labels, value, time)
        }).collect();
        prop_assert_eq!(read, samples);
    }

    /// However much of an OpenMetrics text arrives, a part of it is an error.
    #[test]
    fn a_part_of_open_metrics_is_an_error(samples in samples(), at: prop::sample::Index) {
        let text: String = samples.iter().map(|sample| write(sample, Format::OpenMetrics)).collect();
        let text = format!("{text}# EOF");
        let part = &text[..text.floor_char_boundary(at.index(text.len()))];
        prop_assert!(numbers(part, Format::OpenMetrics).is_err(), "{part:?}");
    }

    /// An error ends it, and is the last element.
    #[test]
    fn any_text_ends(text in r#"([a-c]|[{}=,"\\#\n \t\r]|# TYPE a counter\n|# EOF\n|1|[^a]){0,40}"#, is_text: bool) {
        let format = if is_text { Format::Text } else { Format::OpenMetrics };
        let mut all = parse(text.as_bytes(), format).unwrap();
        let read: Vec<bool> = all.by_ref().map(|sample| sample.is_ok()).collect();
        prop_assert!(all.next().is_none());
        prop_assert!(read.iter().rev().skip(1).all(|good| *good));
        prop_assert!(read.len() <= text.lines().count() + 1);
    }
}
