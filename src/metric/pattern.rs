//! Names with `*` in them, as in `namespaces: [shop, "team-*"]`. Pure.

/// Stands for what `*` matches in an example.
const FILLER: &str = "x";

/// A text in which each `*` stands for any characters, none included.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Pattern(String);

impl Pattern {
    /// Any text is a pattern.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, with its `*`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it has no `*`, and so matches one text only.
    pub fn is_literal(&self) -> bool {
        !self.0.contains('*')
    }

    /// Whether the whole of `name` fits.
    pub fn matches(&self, name: &str) -> bool {
        let mut parts = self.0.split('*');
        // `split` yields at least one part.
        let first = parts.next().unwrap_or_default();
        let Some(mut rest) = name.strip_prefix(first) else { return false };
        let Some(last) = parts.next_back() else { return rest.is_empty() };
        for part in parts {
            // The leftmost fit leaves the most for what follows.
            let Some(at) = rest.find(part) else { return false };
            rest = &rest[at + part.len()..];
        }
        rest.ends_with(last)
    }

    /// Whether all that `other` matches fits this one too. What the `*` of `other` stands for is
    /// matched by a `*` of this pattern, which matches anything else as well.
    pub fn covers(&self, other: &Self) -> bool {
        self.matches(&other.0)
    }

    /// A text that both match. `None` if there is none.
    pub fn common(&self, other: &Self) -> Option<String> {
        let (Some((start, rest)), Some((other_start, other_rest))) = (self.0.split_once('*'), other.0.split_once('*'))
        else {
            let (literal, pattern) = if self.is_literal() { (self, other) } else { (other, self) };
            return pattern.matches(&literal.0).then(|| literal.0.clone());
        };
        let (middle, end) = rest.rsplit_once('*').unwrap_or(("", rest));
        let (other_middle, other_end) = other_rest.rsplit_once('*').unwrap_or(("", other_rest));
        // A `*` matches the rest of the longer start and of the longer end, and the other's middle.
        let start = longer(start, other_start, |long, short| long.starts_with(short))?;
        let end = longer(end, other_end, |long, short| long.ends_with(short))?;
        let middles = [middle, other_middle].into_iter().filter(|middle| !middle.is_empty());
        let parts: Vec<String> = [start].into_iter().chain(middles).map(|part| part.replace('*', FILLER)).collect();
        Some(format!("{}{FILLER}{end}", parts.join(FILLER)))
    }

    /// The namespaces that both match, in words: `namespaces matching "team-*"`.
    pub fn namespaces(&self, other: &Self) -> String {
        let one = match (self.covers(other), other.covers(self)) {
            (true, _) => other,
            (_, true) => self,
            _ => return format!("namespaces matching {:?} and {:?}", self.0, other.0),
        };
        let namespaces = if one.is_literal() { "namespace" } else { "namespaces matching" };
        format!("{namespaces} {:?}", one.0)
    }
}

/// The longer of two texts, if it has the shorter one at its start or end.
fn longer<'t>(one: &'t str, other: &'t str, has: fn(&str, &str) -> bool) -> Option<&'t str> {
    let (long, short) = if one.len() >= other.len() { (one, other) } else { (other, one) };
    has(long, short).then_some(long)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn patterns() {
        for (pattern, name, fits) in [
            ("shop", "shop", true),
            ("shop", "shop2", false),
            ("shop", "", false),
            ("*", "", true),
            ("*", "anything", true),
            ("team-*", "team-", true),
            ("team-*", "team-a", true),
            ("team-*", "teama", false),
            ("*-prod", "shop-prod", true),
            ("*-prod", "prod", false),
            ("a*b*c", "aXbYc", true),
            ("a*b*c", "abc", true),
            ("a*b*c", "acb", false),
            ("aa*aa", "aaa", false),
            ("a**b", "ab", true),
            ("", "", true),
            ("", "a", false),
        ] {
            assert_eq!(Pattern::new(pattern).matches(name), fits, "{pattern} {name}");
        }
    }

    #[test]
    fn a_common_name_of_two_patterns() {
        for (one, other, common) in [
            ("team-a", "team-a", Some("team-a")),
            ("team-a", "team-b", None),
            ("team-*", "team-a", Some("team-a")),
            ("*", "*", Some("x")),
            ("team-*", "*-prod", Some("team-x-prod")),
            ("team-*", "team-a-*", Some("team-a-x")),
            ("a*b*c", "*d*", Some("axbxdxc")),
            ("ab*ba", "aba", None),
            ("a*-prod", "b*", None),
            ("*-prod", "*-dev", None),
        ] {
            let (one, other) = (Pattern::new(one), Pattern::new(other));
            assert_eq!(one.common(&other).as_deref(), common, "{one:?} {other:?}");
            assert_eq!(one.common(&other).is_some(), other.common(&one).is_some(), "{one:?} {other:?}");
        }
    }

    #[test]
    fn namespaces_in_words() {
        for (one, other, words) in [
            ("shop", "*", "namespace \"shop\""),
            ("team-*", "team-*", "namespaces matching \"team-*\""),
            ("*", "team-*", "namespaces matching \"team-*\""),
            ("team-*", "*-prod", "namespaces matching \"team-*\" and \"*-prod\""),
        ] {
            assert_eq!(Pattern::new(one).namespaces(&Pattern::new(other)), words);
        }
    }

    /// All texts of these two characters up to a length.
    fn texts(length: u32) -> impl Iterator<Item = String> {
        (0..=length).flat_map(|length| {
            (0..1_u32 << length)
                .map(move |bits| (0..length).map(|at| if bits >> at & 1 == 0 { 'a' } else { 'b' }).collect::<String>())
        })
    }

    proptest! {
        /// The shortest common name has no more characters than both patterns together.
        #[test]
        fn patterns_have_a_common_name_exactly_where_some_text_matches_both(one in "[ab*]{0,5}", other in "[ab*]{0,5}") {
            let (one, other) = (Pattern::new(one), Pattern::new(other));
            let exists = texts(10).any(|text| one.matches(&text) && other.matches(&text));
            let common = one.common(&other);
            prop_assert_eq!(common.is_some(), exists);
            if let Some(common) = common {
                prop_assert!(one.matches(&common) && other.matches(&common), "{}", common);
            }
        }

        #[test]
        fn a_pattern_covers_no_other_that_matches_more(one in "[ab*]{0,5}", other in "[ab*]{0,5}") {
            let (one, other) = (Pattern::new(one), Pattern::new(other));
            if one.covers(&other) {
                prop_assert!(texts(7).filter(|text| other.matches(text)).all(|text| one.matches(&text)));
            }
        }
    }
}
