//! Label values for names that no label value can hold, such as a queue's display name. Pure.

use std::borrow::Cow;

use super::pattern::Pattern;
use super::{LABEL_VALUE_MAX, is_label_value};

/// The label value of a name without a letter or digit.
const UNNAMED: &str = "unnamed";

/// The label value by which a selector picks this name. Characters that no label value can have become
/// `_`, the ends are trimmed to a letter or digit, and there are at most 63 of them.
pub fn selectable(name: &str) -> Cow<'_, str> {
    if is_label_value(name) {
        return Cow::Borrowed(name);
    }
    let ascii: String = name.chars().map(legal).collect();
    let trimmed = ascii.trim_matches(is_trimmed);
    let value = trimmed[..trimmed.len().min(LABEL_VALUE_MAX)].trim_end_matches(is_trimmed);
    if value.is_empty() { Cow::Borrowed(UNNAMED) } else { Cow::Owned(value.to_owned()) }
}

/// Whether a name that fits the pattern can have this label value.
pub fn may_become(pattern: &Pattern, value: &str) -> bool {
    if pattern.matches(value) {
        return true;
    }
    let mut name = Progress::new(pattern);
    name.pass_trimmed();
    if value == UNNAMED && name.can_end() {
        return true;
    }
    for character in value.chars() {
        name.pass(|literal| literal == character);
        if !name.can_go_on() {
            return false;
        }
    }
    let mut whole = name.clone();
    whole.pass_trimmed();
    if whole.can_end() {
        return true;
    }
    // The rest of the name was cut off, except what was trimmed at its new end.
    for _ in value.len()..LABEL_VALUE_MAX {
        name.pass(is_trimmed);
    }
    name.can_go_on()
}

/// How far a name that is read from its start can have come in a pattern.
#[derive(Clone)]
struct Progress {
    /// `None` is a `*`.
    pattern: Vec<Option<char>>,
    /// Whether the name can stand before this part of the pattern, and at last behind all of it.
    reached: Vec<bool>,
}

// === impl Progress ===

impl Progress {
    fn new(pattern: &Pattern) -> Self {
        let part = |character| if character == '*' { None } else { Some(legal(character)) };
        let pattern: Vec<_> = pattern.as_str().chars().map(part).collect();
        let mut reached = vec![false; pattern.len() + 1];
        reached[0] = true;
        Self { pattern, reached }.after_stars()
    }

    /// Reads one character for which `fits` holds.
    fn pass(&mut self, fits: impl Fn(char) -> bool) {
        let mut reached = vec![false; self.reached.len()];
        for (at, part) in self.pattern.iter().enumerate().filter(|(at, _)| self.reached[*at]) {
            match part {
                None => reached[at] = true,
                Some(literal) => reached[at + 1] |= fits(*literal),
            }
        }
        *self = Self { pattern: std::mem::take(&mut self.pattern), reached }.after_stars();
    }

    /// Reads any number of characters that are trimmed.
    fn pass_trimmed(&mut self) {
        for (at, part) in self.pattern.iter().enumerate() {
            self.reached[at + 1] |= self.reached[at] && part.is_none_or(is_trimmed);
        }
    }

    /// A `*` may stand for nothing.
    fn after_stars(mut self) -> Self {
        for (at, part) in self.pattern.iter().enumerate() {
            self.reached[at + 1] |= self.reached[at] && part.is_none();
        }
        self
    }

    fn can_end(&self) -> bool {
        self.reached.last().is_some_and(|reached| *reached)
    }

    fn can_go_on(&self) -> bool {
        self.reached.contains(&true)
    }
}

fn legal(character: char) -> char {
    if character.is_ascii_alphanumeric() || matches!(character, '-' | '_' | '.') { character } else { '_' }
}

fn is_trimmed(character: char) -> bool {
    !character.is_ascii_alphanumeric()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_name_has_a_label_value() {
        let long = "q".repeat(70);
        let cut_at_a_dash = format!("{}-more", "q".repeat(62));
        for (name, value) in [
            ("orders", "orders"),
            ("My Queue", "My_Queue"),
            ("Köln", "K_ln"),
            ("(orders)", "orders"),
            ("-bills.", "bills"),
            (&long, &long[..63]),
            (&cut_at_a_dash, &cut_at_a_dash[..62]),
            ("日本", "unnamed"),
            ("--", "unnamed"),
            ("", "unnamed"),
        ] {
            assert_eq!(selectable(name), value, "{name}");
        }
    }

    #[test]
    fn a_label_value_belongs_to_a_pattern_if_one_of_its_names_becomes_it() {
        let long = "q".repeat(63);
        for (pattern, value, expected) in [
            ("orders-*", "orders-eu", true),
            ("orders-*", "bills", false),
            ("orders-*", "orders2", false),
            // The name is `orders-`.
            ("orders-*", "orders", true),
            ("My *", "My_Queue", true),
            ("My *", "MyQueue", false),
            ("-*", "orders", true),
            ("* *", "unnamed", true),
            ("*", "unnamed", true),
            ("a*", "unnamed", false),
            ("q*z", &long, true),
            ("q*z", &long[1..], true),
            ("r*z", &long, false),
        ] {
            assert_eq!(may_become(&Pattern::new(pattern), value), expected, "{pattern} {value}");
        }
    }

    proptest! {
        #[test]
        fn a_label_value_can_be_written_in_a_selector(name in "\\PC{0,80}") {
            prop_assert!(is_label_value(&selectable(&name)));
        }

        #[test]
        fn no_list_misses_a_name_that_it_has(name in "[aé_ .-]{0,6}(-{60,70})?[ab ]{0,4}", cuts in (0..9_usize, 0..9_usize)) {
            // A pattern that the name fits: a part of it is replaced by `*`.
            let characters: Vec<char> = name.chars().collect();
            let (from, to) = (cuts.0.min(characters.len()), (cuts.0 + cuts.1).min(characters.len()));
            let (start, end) = (characters[..from].iter().collect::<String>(), characters[to..].iter().collect::<String>());
            let pattern = Pattern::new(format!("{start}*{end}"));
            prop_assert!(pattern.matches(&name));
            prop_assert!(may_become(&pattern, &selectable(&name)), "{pattern:?} {name:?}");
        }

        /// Longer names differ from these in what a `*` or the end of a label value hides.
        #[test]
        fn no_list_is_read_for_a_name_that_it_cannot_have(pattern in "[a*-]{0,4}", value in "a{1,2}") {
            let (pattern, filler) = (Pattern::new(pattern), "-".repeat(70));
            let short = |longest: u32| (0..=longest).flat_map(texts);
            let cut = short(4).flat_map(|start| short(3).map(move |end| (start.clone(), end)));
            let names = short(6).chain(cut.map(|(start, end)| format!("{start}{filler}{end}")));
            let exists = names.into_iter().any(|name| pattern.matches(&name) && selectable(&name) == value);
            prop_assert_eq!(may_become(&pattern, &value), exists);
        }
    }

    /// All texts of this length of three characters.
    fn texts(length: u32) -> impl Iterator<Item = String> {
        (0..3_usize.pow(length))
            .map(move |code| (0..length).map(|at| ['a', '-', ' '][code / 3_usize.pow(at) % 3]).collect())
    }
}
