//! Documents and what is wrong with them, case by case.

use super::*;

#[test]
fn a_slip_is_told_from_another_word() {
    let known = ["name", "queueId", "refresh"];
    for (key, meant) in [
        ("queueID", Some("queueId")),
        ("queue_id", Some("queueId")),
        ("refesh", Some("refresh")),
        ("nmae", Some("name")),
        ("file", None),
        ("extra", None),
        ("", None),
    ] {
        assert_eq!(nearest(key, known), meant, "{key}");
    }
}

#[test]
fn a_slip_of_a_required_key_is_one_problem_and_its_value_is_read() {
    let mut problems = Problems::default();
    let node = Node::parse("quueId: 7\nqueue_id: x\n", &mut problems).unwrap();
    let mut fields = node.fields(&mut problems).unwrap();
    fields.require("queueId", &mut problems).unwrap().text(&mut problems);
    fields.finish(&mut problems);
    assert_eq!(
        problems.lines().collect::<Vec<_>>(),
        [
            "1:1: unknown key `quueId`; did you mean `queueId`?",
            "1:9: expected a string: write \"7\" with quotes",
            "2:1: unknown key `queue_id`; did you mean `queueId`? known here: queueId",
        ]
    );
}

#[test]
fn quotes_are_advised_only_where_they_help() {
    let (words, even) = (["sum", "true"], |text: &str| match text.len() % 2 {
        0 => Ok(()),
        _ => Err(format!("{text:?} is odd")),
    });
    for (value, of_words, of_check) in [
        ("0", "1:4: \"0\" is not supported; choose one of sum, true", "1:4: \"0\" is odd"),
        (
            "12",
            "1:4: \"12\" is not supported; choose one of sum, true",
            "1:4: expected a string: write \"12\" with quotes",
        ),
        (
            "true",
            "1:4: expected a string: write \"true\" with quotes",
            "1:4: expected a string: write \"true\" with quotes",
        ),
        ("[]", "1:4: expected a string, got a list", "1:4: expected a string, got a list"),
        ("sum", "", "1:4: \"sum\" is odd"),
        ("\"12\"", "1:4: \"12\" is not supported; choose one of sum, true", ""),
    ] {
        let said = |read: &dyn Fn(&Node, &mut Problems)| {
            let mut problems = Problems::default();
            let node = Node::parse(&format!("k: {value}\n"), &mut problems).unwrap();
            read(node.fields(&mut problems).unwrap().take("k").unwrap(), &mut problems);
            problems.lines().collect::<Vec<_>>().join("\n")
        };
        let wrong = |text: &str| format!("{text:?} is not supported");
        assert_eq!(said(&|node, problems| _ = node.one_of(&words, |word| word, wrong, problems)), of_words, "{value}");
        assert_eq!(said(&|node, problems| _ = node.checked_text(even, problems)), of_check, "{value}");
    }
}

#[test]
fn every_problem_has_its_place() {
    let text = "name: 7\nwait: soon\nlist: no list\nextra: 1\nmap: [a]\n";
    let mut problems = Problems::default();
    let node = Node::parse(text, &mut problems).unwrap();
    let mut fields = node.fields(&mut problems).unwrap();
    fields.take("name").unwrap().text(&mut problems);
    fields.take("wait").unwrap().duration(&mut problems);
    fields.take("list").unwrap().list(&mut problems);
    fields.take("map").unwrap().fields(&mut problems);
    fields.require("needed", &mut problems);
    fields.finish(&mut problems);
    assert_eq!(
        problems.lines().collect::<Vec<_>>(),
        [
            "1:1: `needed` is missing here",
            "1:7: expected a string: write \"7\" with quotes",
            "2:7: expected a duration above zero and up to 24h, such as 5s, 500ms or 2m",
            "3:7: expected a list, got a string",
            "4:1: unknown key `extra`; known here: list, map, name, needed, wait",
            "5:6: expected a mapping, got a list",
        ]
    );
}

#[test]
fn a_tagged_value_has_a_place_too() {
    let mut problems = Problems::default();
    let node = Node::parse("\n!t x", &mut problems).unwrap();
    assert!(node.fields(&mut problems).is_none());
    assert_eq!(problems.lines().collect::<Vec<_>>(), ["2:1: expected a mapping, got a string"]);
}

#[test]
fn durations() {
    for (text, millis) in [("5s", 5000), ("500ms", 500), ("2m", 120_000), ("1h30m", 5_400_000)] {
        let mut problems = Problems::default();
        let node = Node::parse(text, &mut problems).unwrap();
        assert_eq!(node.duration(&mut problems), Some(Duration::from_millis(millis)), "{text}");
    }
    for bad in ["0s", "-5s", "5", "five", "[5s]", "25h", "9000000000000000000s"] {
        let mut problems = Problems::default();
        let node = Node::parse(bad, &mut problems).unwrap();
        assert_eq!(node.duration(&mut problems), None, "{bad}");
        assert!(!problems.is_empty());
    }
}

#[test]
fn truths() {
    for (text, truth) in [
        ("true", Some(true)),
        ("false", Some(false)),
        ("yes", None),
        ("1", None),
        ("\"true\"", None),
        ("1.5", None),
        ("~", None),
    ] {
        let mut problems = Problems::default();
        let node = Node::parse(text, &mut problems).unwrap();
        assert_eq!((node.truth(&mut problems), problems.is_empty()), (truth, truth.is_some()), "{text}");
    }
}

#[test]
fn what_is_no_single_document() {
    for (text, line) in [
        ("", "1:1: the file is empty"),
        ("a: 1\n---\nb: 1\n", "1:1: more than one document: remove the `---` between them"),
        ("a: 1\na: 2\n", "2:1: not YAML: duplicated key in mapping"),
    ] {
        let mut problems = Problems::default();
        assert!(Node::parse(text, &mut problems).is_none());
        assert_eq!(problems.lines().collect::<Vec<_>>(), [line]);
    }
}

#[test]
fn a_value_that_serde_refuses_is_named_by_its_key_and_never_repeated() {
    #[derive(Debug, serde::Deserialize)]
    #[expect(dead_code, reason = "only decoded")]
    struct Outer {
        users: Vec<Inner>,
    }
    #[derive(Debug, serde::Deserialize)]
    #[expect(dead_code, reason = "only decoded")]
    struct Inner {
        name: String,
        number: Option<u8>,
        mode: Option<Mode>,
    }
    #[derive(Debug, serde::Deserialize)]
    enum Mode {
        Always,
    }
    for (text, problem) in [
        ("users: [{name: a, number: 7}]", None),
        ("s3cr3t", Some("1:1: expected a mapping, got a string")),
        ("users: s3cr3t", Some("1:8: `users` must not be a string")),
        ("users:\n- name: a\n- s3cr3t", Some("3:3: `users[1]` must not be a string")),
        ("users:\n- {name: a, number: s3cr3t}", Some("2:21: `users[0].number` must not be a string")),
        ("users: [{name: a, mode: s3cr3t}]", Some("1:25: `users[0].mode` has an invalid value")),
        ("users: [{number: 7}]", Some("1:9: `users[0]` has no `name`")),
    ] {
        let mut problems = Problems::default();
        let decoded = Node::parse(text, &mut problems).unwrap().decoded::<Outer>(&mut problems);
        assert_eq!((decoded.is_some(), problems.lines().next().as_deref()), (problem.is_none(), problem), "{text}");
    }
}

#[test]
fn a_fault_of_json_has_its_place_and_no_value() {
    for (text, fault) in [
        (r#"["a", "s3cr3t"]"#, "not the expected JSON at line 1, column 4"),
        ("s3cr3t", "not JSON at line 1, column 1"),
        ("[1,", "the JSON is incomplete at line 1, column 3"),
    ] {
        assert_eq!(json_fault(&serde_json::from_str::<Vec<u8>>(text).unwrap_err()), fault, "{text}");
    }
}
