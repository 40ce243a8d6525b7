//! Tables and properties of the selector grammar.

use proptest::prelude::*;

use super::*;

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().copied().collect()
}

#[test]
fn parses_and_prints() {
    for (text, printed) in [
        ("", ""),
        ("  ", ""),
        ("queue=orders", "queue=orders"),
        ("queue==orders", "queue=orders"),
        (" queue \t= orders ", "queue=orders"),
        ("queue!=orders", "queue!=orders"),
        ("queue in (b,a)", "queue in (a,b)"),
        ("queue in(a)", "queue=a"),
        ("queue notin (a, b)", "queue notin (a,b)"),
        ("queue", "queue"),
        ("!queue", "!queue"),
        ("! queue", "!queue"),
        ("queue=", "queue="),
        ("queue=,x", "queue=,x"),
        ("queue in ()", "queue="),
        ("queue in (,a)", "queue in (,a)"),
        ("queue in (a,,b)", "queue in (,a,b)"),
        ("queue in (a,)", "queue in (,a)"),
        ("in in (in,notin)", "in in (in,notin)"),
        ("notin", "notin"),
        ("depthgauge.dev/activation=1", "depthgauge.dev/activation=1"),
        ("x>1,y<2", "x>1,y<2"),
        ("channel in (a,b),queue=orders", "channel in (a,b),queue=orders"),
    ] {
        assert_eq!(Selector::parse(text).map(|s| s.to_string()), Ok(printed.to_owned()), "{text:?}");
    }
}

#[test]
fn says_what_does_not_parse() {
    let long = "a".repeat(64);
    for (text, message) in [
        ("=", "found '=', expected: !, identifier, or 'end of string'"),
        (",", "found ',', expected: !, identifier, or 'end of string'"),
        ("a,", "found '', expected: identifier after ','"),
        ("a,,b", "found ',', expected: identifier after ','"),
        ("a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"),
        ("a=b c", "found 'c', expected: ',' or 'end of string'"),
        ("a in b", "unable to parse requirement: found 'b' expected: '('"),
        ("a in (b", "unable to parse requirement: found '', expected: ',' or ')'"),
        ("a in (b c)", "unable to parse requirement: found 'c', expected: ',' or ')'"),
        ("a in (=)", "unable to parse requirement: found '=', expected: ',', ')' or identifier"),
        ("a in", "unable to parse requirement: found '' expected: '('"),
        ("!", "unable to parse requirement: found '', expected: identifier"),
        ("a===b", "unable to parse requirement: found '=', expected: identifier"),
        ("!a=b", "unable to parse requirement: found '=', expected: ',' or 'end of string' after '!a'"),
    ] {
        assert_eq!(Selector::parse(text), Err(ParseError(message.to_owned())), "{text:?}");
    }
    for bad in [
        "a=ü",
        "-a",
        "a=b-",
        "a=b/c",
        "/a",
        "A.b/",
        "A.b/c",
        "a..b/c",
        "x>y",
        "x>",
        "x>-2",
        "a\0b",
        "a=b\0,c=d",
        "a=\0",
        &format!("{long}=b"),
        &format!("a={long}"),
    ] {
        assert!(Selector::parse(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn matches_as_kubernetes_does() {
    let orders = labels(&[("queue", "orders"), ("n", "7")]);
    for (text, expected) in [
        ("", true),
        ("queue=orders", true),
        ("queue=other", false),
        ("queue!=other", true),
        ("absent!=other", true),
        ("absent=other", false),
        ("absent in (x)", false),
        ("absent notin (x)", true),
        ("queue in (a,orders)", true),
        ("queue notin (a,orders)", false),
        ("queue", true),
        ("!queue", false),
        ("absent", false),
        ("!absent", true),
        ("n>6", true),
        ("n>7", false),
        ("n<8", true),
        ("queue>1", false),
        ("absent<1", false),
        ("queue=orders,!absent,n>1", true),
        ("queue=orders,absent", false),
    ] {
        assert_eq!(Selector::parse(text).unwrap().matches(&orders), expected, "{text:?}");
    }
}

proptest! {
    #[test]
    fn never_panics(text in "[ \ta-c=!(),<>./0-9\u{0}ü-]{0,40}|(in|notin|a|,|\\(|\\)|=| ){0,12}") {
        let _ = Selector::parse(&text);
    }

    #[test]
    fn what_it_prints_parses_to_the_same(text in "(a|b|!a|a=b|a!=b|a in \\(b,c\\)|c notin \\(,a\\)|a>1|a=)(,(x|!y|x=b|x in \\(\\))){0,4}") {
        let parsed = Selector::parse(&text).unwrap();
        prop_assert_eq!(Selector::parse(&parsed.to_string()).unwrap(), parsed);
    }
}
