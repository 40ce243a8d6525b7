//! The config file: an error says where, and no key goes unread.
//!
//! Input: the text of a file.
#![no_main]

use depthgauge::config::Config;
use depthgauge::source::KINDS;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    match Config::parse(text, KINDS) {
        Ok(config) => {
            // One source needs a line at least.
            assert!(config.source_count() <= text.len());
            let longer = format!("{text}\nnobodyKnowsThis: 1\n");
            assert!(Config::parse(&longer, KINDS).is_err(), "an unknown key goes unread in {longer:?}");
        }
        Err(problems) => {
            assert!(!problems.is_empty());
            // A carriage return alone ends a line of YAML, too; what is missing at the end of
            // the file is missing on the line after its last.
            let last = text.matches(['\n', '\r']).count() + 2;
            for problem in problems.lines() {
                let mut parts = problem.splitn(3, ':');
                let mut number = || parts.next().and_then(|part| part.parse::<usize>().ok());
                let (line, column) = (number(), number());
                assert!(line.is_some_and(|line| (1..=last).contains(&line)), "{problem:?} in {text:?}");
                assert!(column.is_some_and(|column| column >= 1), "{problem:?} in {text:?}");
            }
        }
    }
});
