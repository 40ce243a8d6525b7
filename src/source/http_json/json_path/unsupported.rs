//! Paths that the library evaluates differently from RFC 9535. Without an error, they would match another value.
//! Pure.

use jsonpath_rust::parser::model::{
    Comparable, Comparison, Filter, FilterAtom, FnArg, JpQuery, Segment, Selector, Test, TestFunction,
};

/// The functions of the RFC whose results are right.
const FUNCTIONS: &str = "use length, value, match or search";

/// What of a path is not supported, as it continues an error message.
pub(super) fn in_query(query: &JpQuery) -> Option<String> {
    in_segments(&query.segments)
}

fn in_segments(segments: &[Segment]) -> Option<String> {
    segments.iter().find_map(|segment| selectors(segment).iter().find_map(in_selector))
}

/// The selectors of a segment.
fn selectors(segment: &Segment) -> &[Selector] {
    match segment {
        Segment::Descendant(segment) => selectors(segment),
        Segment::Selector(selector) => std::slice::from_ref(selector),
        Segment::Selectors(selectors) => selectors,
    }
}

fn in_selector(selector: &Selector) -> Option<String> {
    match selector {
        Selector::Filter(filter) => in_filter(filter),
        Selector::Name(_) | Selector::Wildcard | Selector::Index(_) | Selector::Slice(..) => None,
    }
}

fn in_filter(filter: &Filter) -> Option<String> {
    match filter {
        Filter::Or(filters) | Filter::And(filters) => filters.iter().find_map(in_filter),
        Filter::Atom(FilterAtom::Filter { expr, .. }) => in_filter(expr),
        Filter::Atom(FilterAtom::Test { expr, .. }) => match &**expr {
            // Never true. The RFC has no such test either.
            Test::Function(function) if function.is_comparable() => {
                Some("a function without a comparison: its result is a value and not a condition".to_owned())
            }
            test => in_test(test),
        },
        Filter::Atom(FilterAtom::Comparison(comparison)) => in_comparison(comparison),
    }
}

fn in_comparison(comparison: &Comparison) -> Option<String> {
    let (left, right) = comparison.vals();
    [left, right].into_iter().find_map(|comparable| match comparable {
        Comparable::Function(function) => in_function(function),
        Comparable::Literal(_) | Comparable::SingularQuery(_) => None,
    })
}

fn in_test(test: &Test) -> Option<String> {
    match test {
        // It is applied to the item itself, and not to the values in it.
        Test::RelQuery(segments) if segments.first().is_some_and(has_filter) => Some(
            "a filter right after `@`, which is not supported: name a member first, as in `@.jobs[?@.x > 1]`"
                .to_owned(),
        ),
        Test::RelQuery(segments) => in_segments(segments),
        Test::AbsQuery(query) => in_query(query),
        Test::Function(function) => in_function(function),
    }
}

fn has_filter(segment: &Segment) -> bool {
    selectors(segment).iter().any(|selector| matches!(selector, Selector::Filter(_)))
}

fn in_function(function: &TestFunction) -> Option<String> {
    match function {
        TestFunction::Custom(name, _) => {
            Some(format!("{name}(), which is not a function of JSONPath (RFC 9535): {FUNCTIONS}"))
        }
        // Of no nodes, it is nothing instead of 0.
        TestFunction::Count(_) => Some(format!("count(), which is not supported: {FUNCTIONS}")),
        TestFunction::Length(argument) => in_value(argument),
        TestFunction::Value(argument) => in_argument(argument),
        TestFunction::Search(left, right) | TestFunction::Match(left, right) => {
            in_value(left).or_else(|| in_value(right))
        }
    }
}

/// An argument that must be one value. The library counts the nodes of a query that may have several.
fn in_value(argument: &FnArg) -> Option<String> {
    let is_singular = match argument {
        FnArg::Test(test) => match &**test {
            Test::RelQuery(segments) | Test::AbsQuery(JpQuery { segments }) => segments.iter().all(is_name_or_index),
            Test::Function(_) => true,
        },
        FnArg::Literal(_) | FnArg::Filter(_) => true,
    };
    let several = || (!is_singular).then(|| "a function of a path that may match several values".to_owned());
    in_argument(argument).or_else(several)
}

fn is_name_or_index(segment: &Segment) -> bool {
    matches!(segment, Segment::Selector(Selector::Name(_) | Selector::Index(_)))
}

fn in_argument(argument: &FnArg) -> Option<String> {
    match argument {
        FnArg::Literal(_) => None,
        FnArg::Test(test) => in_test(test),
        FnArg::Filter(filter) => in_filter(filter),
    }
}

#[cfg(test)]
mod tests {
    use jsonpath_rust::parser::parse_json_path;
    use jsonpath_rust::query::js_path_process;
    use serde_json::{Value, json};

    use super::*;

    fn document() -> Value {
        json!({
            "all": ["a", "b"],
            "groups": [
                {"name": "a", "jobs": [{"x": 1}, {"x": 2}]},
                {"name": "b", "jobs": [], "more": {"x": 2}},
            ],
        })
    }

    /// The names of what the library matches.
    fn matched(path: &str) -> Vec<String> {
        let (query, document) = (parse_json_path(path).unwrap(), document());
        let found = js_path_process(&query, &document).unwrap();
        found.into_iter().filter_map(|found| found.val["name"].as_str().map(str::to_owned)).collect()
    }

    /// If one of these fails after an update of the library, the path may be supported.
    #[test]
    fn what_is_refused_would_match_another_value() {
        for (path, by_the_rfc, refused) in [
            // No nodes are 0 nodes.
            ("$.groups[?count(@.jobs[*]) == 0]", vec!["b"], "count(), which is not supported"),
            ("$.groups[?count(@.more.*) < 1]", vec!["a"], "count(), which is not supported"),
            // Group `b` has a member with such an `x`.
            ("$.groups[?@[?@.x > 1]]", vec!["b"], "a filter right after `@`"),
            ("$.groups[?@['gone', ?@.x > 1]]", vec!["b"], "a filter right after `@`"),
            ("$.groups[?!@[?@.x > 1]]", vec!["a"], "a filter right after `@`"),
            // By the RFC, it is no path. It must not match nothing without an error.
            ("$.groups[?length(@.jobs[*]) == 0]", vec!["b"], "a function of a path that may match several values"),
        ] {
            let library = matched(path);
            assert_ne!(library, by_the_rfc, "{path}");
            let found = in_query(&parse_json_path(path).unwrap());
            assert!(found.as_ref().is_some_and(|what| what.starts_with(refused)), "{path}: {found:?}");
        }
    }

    #[test]
    fn what_is_not_in_the_rfc_is_refused() {
        for (path, refused) in [
            ("$.groups[?in(@.name, $.all)]", "in(), which is not a function"),
            ("$.groups[?nin(@.name, $.all)]", "nin(), which is not a function"),
            ("$.groups[?none_of(@.jobs, $.all)]", "none_of(), which is not a function"),
            ("$.groups[?any_of(@.jobs, $.all)]", "any_of(), which is not a function"),
            ("$.groups[?subset_of(@.jobs, $.all)]", "subset_of(), which is not a function"),
            ("$.groups[?(!in(@.name, $.all) || @.x) && @.y].name", "in(), which is not a function"),
            ("$.groups[?@.jobs[?in(@.x, $.all)]]", "in(), which is not a function"),
            ("$.groups[0, ?in(@.x, $.all)]", "in(), which is not a function"),
            ("$..[?in(@.x, $.all)]", "in(), which is not a function"),
            ("$.groups[?length(@.jobs[?in(@.x, $.all)]) > 1]", "in(), which is not a function"),
            ("$.groups[?$.groups[?in(@.x, $.all)]]", "in(), which is not a function"),
            ("$.groups[?length(@.jobs)]", "a function without a comparison"),
            ("$.groups[?!length(@.jobs)]", "a function without a comparison"),
            ("$.groups[?value(@.jobs)]", "a function without a comparison"),
            ("$.groups[?count(@.jobs)]", "a function without a comparison"),
            ("$.groups[?match(@.*, 'a')]", "a function of a path that may match several values"),
            ("$.groups[?search('a', @..name)]", "a function of a path that may match several values"),
        ] {
            let found = in_query(&parse_json_path(path).unwrap());
            assert!(found.as_ref().is_some_and(|what| what.starts_with(refused)), "{path}: {found:?}");
        }
    }

    #[test]
    fn everything_else_is_supported() {
        for (path, expected) in [
            ("$.groups[?@.name == 'in(@.a, $.b)']", vec![]),
            ("$.groups[?@.name == 'b']", vec!["b"]),
            ("$.groups[?length(@.jobs) > 1]", vec!["a"]),
            ("$.groups[?length(@.jobs) == 0]", vec!["b"]),
            ("$.groups[?@.jobs[?@.x > 1]]", vec!["a"]),
            ("$.groups[?!@.jobs[?@.x > 1]]", vec!["b"]),
            ("$.groups[?@[*][?@.x > 1]]", vec!["a"]),
            ("$.groups[?value(@.jobs[0].x) == 1]", vec!["a"]),
            ("$.groups[?match(@.name, 'a|c')]", vec!["a"]),
            ("$.groups[?search(@.name, 'b') && (@.name != 'a' || @.more)]", vec!["b"]),
            ("$.groups[?@.name == $.all[0]]", vec!["a"]),
        ] {
            assert_eq!(in_query(&parse_json_path(path).unwrap()), None, "{path}");
            assert_eq!(matched(path), expected, "{path}");
        }
    }
}
