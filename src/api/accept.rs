//! What the caller takes: `Accept` headers against what an endpoint offers. Pure.
//!
//! As in `k8s.io/apiserver/pkg/endpoints/handlers/negotiation`: clauses are tried from the best to
//! the worst, each against the encodings in [`Encoding`]'s order. A clause that requests something
//! the endpoint does not have (`as=Table` of an unknown version) is skipped. So kubectl, which
//! requests a Table first, gets plain JSON wherever there is no Table.
//!
//! Three things follow the HTTP standard and not the Go library. `q=0` refuses, media types are
//! case-insensitive, and a second Accept header counts.

/// How an answer is written. The order is that in which a wildcard picks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Encoding {
    /// `application/json`
    Json,
    /// `application/yaml`
    Yaml,
    /// `application/vnd.kubernetes.protobuf`
    Protobuf,
}

/// Another kind of object than the endpoint's own: `as=Table;v=v1;g=meta.k8s.io`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Conversion<'h> {
    /// Parameter `as`; empty if there is none.
    pub kind: &'h str,
    /// Parameter `g`.
    pub group: &'h str,
    /// Parameter `v`.
    pub version: &'h str,
}

/// What was agreed on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Accepted<T> {
    /// The endpoint's offer.
    pub offer: T,
    /// Whether the clause requested indentation (`pretty=1`).
    pub pretty: bool,
}

/// One media range with its parameters.
struct Clause<'h> {
    kind: &'h str,
    subtype: &'h str,
    /// From 0, which refuses, to 1.
    quality: f32,
    conversion: Option<Conversion<'h>>,
    pretty: bool,
}

/// Of a range without a wildcard.
const PRECISE: u8 = 2;
const ENCODINGS: [Encoding; 3] = [Encoding::Json, Encoding::Yaml, Encoding::Protobuf];

/// The best offer that these headers accept. `offer` returns what there is of an encoding, for a
/// caller that may want it converted. Without any header it is the first.
pub fn negotiate<'h, T, H: IntoIterator<Item = &'h str>>(
    headers: impl Fn() -> H,
    mut offer: impl FnMut(Encoding, Option<Conversion<'h>>) -> Option<T>,
) -> Option<Accepted<T>> {
    let ranges = || headers().into_iter().filter(|header| !header.is_empty()).flat_map(|header| header.split(','));
    // By the most precise range, whatever a wildcard beside it takes.
    let refused = |encoding| {
        let mut clauses = ranges().filter_map(Clause::parse);
        clauses.any(|clause| clause.quality <= 0.0 && clause.precision() == PRECISE && clause.covers(encoding))
    };
    let mut best: Option<(Accepted<T>, Clause<'h>)> = None;
    let mut silent = true;
    for range in ranges() {
        silent = false;
        let Some(clause) = Clause::parse(range).filter(|clause| clause.quality > 0.0) else { continue };
        if best.as_ref().is_some_and(|(_, best)| !clause.is_before(best)) {
            continue;
        }
        let takes = |encoding| clause.covers(encoding) && (clause.precision() == PRECISE || !refused(encoding));
        let offers = ENCODINGS.into_iter().filter(|encoding| takes(*encoding));
        if let Some(offer) = offers.into_iter().find_map(|encoding| offer(encoding, clause.conversion)) {
            best = Some((Accepted { offer, pretty: clause.pretty }, clause));
        }
    }
    if silent {
        return offer(Encoding::Json, None).map(|offer| Accepted { offer, pretty: false });
    }
    best.map(|(accepted, _)| accepted)
}

// === impl Encoding ===

impl Encoding {
    /// The media type.
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Yaml => "application/yaml",
            Self::Protobuf => "application/vnd.kubernetes.protobuf",
        }
    }

    fn subtype(self) -> &'static str {
        &self.media_type()["application/".len()..]
    }
}

// === impl Clause ===

impl<'h> Clause<'h> {
    /// `None` if it is none, or can never be met.
    fn parse(range: &'h str) -> Option<Self> {
        let mut parts = range.split(';');
        let (kind, subtype) = match parts.next()?.trim().split_once('/') {
            Some((kind, subtype)) => (kind.trim(), subtype.trim()),
            // Go's library takes this for `*/*`.
            None if range.trim_start().starts_with('*') => ("*", "*"),
            None => return None,
        };
        let mut clause = Self { kind, subtype, quality: 1.0, conversion: None, pretty: false };
        for part in parts {
            let Some((name, value)) = part.split_once('=') else { continue };
            clause.set(name.trim(), value.trim())?;
        }
        Some(clause)
    }

    /// Applies one parameter; `None` if it requests what no endpoint here has. Unknown ones
    /// (`charset`, `profile`) have no effect.
    fn set(&mut self, name: &str, value: &'h str) -> Option<()> {
        match name {
            "q" | "Q" => {
                let quality = value.parse().ok().filter(|quality: &f32| !quality.is_nan());
                self.quality = quality.unwrap_or_default().clamp(0.0, 1.0);
            }
            "as" => self.conversion.get_or_insert_default().kind = value,
            "g" => self.conversion.get_or_insert_default().group = value,
            "v" => self.conversion.get_or_insert_default().version = value,
            "pretty" => self.pretty = value == "1",
            // Only sets how a watch would be written.
            "stream" if !matches!(value, "" | "watch") => return None,
            // Another version of the whole group.
            "sv" if !value.is_empty() => return None,
            _ => {}
        }
        Some(())
    }

    fn covers(&self, encoding: Encoding) -> bool {
        match (self.kind, self.subtype) {
            ("*", subtype) => subtype == "*",
            (kind, "*") => kind.eq_ignore_ascii_case("application"),
            (kind, subtype) => {
                kind.eq_ignore_ascii_case("application") && subtype.eq_ignore_ascii_case(encoding.subtype())
            }
        }
    }

    /// By quality, then the more precise one; otherwise the earlier one stays.
    fn is_before(&self, other: &Self) -> bool {
        self.quality > other.quality || (self.quality >= other.quality && self.precision() > other.precision())
    }

    fn precision(&self) -> u8 {
        u8::from(self.kind != "*") + u8::from(self.subtype != "*")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TABLE: Conversion<'_> = Conversion { kind: "Table", group: "meta.k8s.io", version: "v1" };

    /// An endpoint with everything, and a Table in JSON.
    fn any<'h>(encoding: Encoding, conversion: Option<Conversion<'h>>) -> Option<(Encoding, bool)> {
        match conversion {
            None => Some((encoding, false)),
            Some(conversion) => (conversion == TABLE && encoding == Encoding::Json).then_some((encoding, true)),
        }
    }

    #[test]
    fn what_callers_send() {
        const JSON: Option<(Encoding, bool)> = Some((Encoding::Json, false));
        const YAML: Option<(Encoding, bool)> = Some((Encoding::Yaml, false));
        const PROTOBUF: Option<(Encoding, bool)> = Some((Encoding::Protobuf, false));
        const AS_TABLE: Option<(Encoding, bool)> = Some((Encoding::Json, true));
        for (accept, expected) in [
            ("", JSON),
            ("*/*", JSON),
            ("*", JSON),
            ("application/*", JSON),
            ("application/json", JSON),
            ("application/json, */*", JSON),
            ("application/yaml", YAML),
            ("application/vnd.kubernetes.protobuf, */*", PROTOBUF),
            ("application/vnd.kubernetes.protobuf,application/json", PROTOBUF),
            // kubectl get
            ("application/json;as=Table;v=v1;g=meta.k8s.io,application/json", AS_TABLE),
            ("application/json;as=Table;v=v7;g=meta.k8s.io,application/json", JSON),
            ("application/json;as=Table;v=v1;g=other,application/yaml", YAML),
            ("application/json;as=Table;v=v1", None),
            ("application/json;v=v1", None),
            ("*/*;as=Table;v=v1;g=meta.k8s.io", AS_TABLE),
            ("application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io, application/json;q=0.1", JSON),
            ("application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io,application/yaml;q=0.9", YAML),
            // Quality, then precision, then order.
            ("application/json;q=0.5,application/yaml;q=0.6", YAML),
            ("application/json;q=0.5,application/yaml", YAML),
            ("application/json;q=0.5,application/yaml;q=0.5", JSON),
            ("*/*,application/yaml", YAML),
            ("*/*,application/*,application/yaml;q=0.9", JSON),
            ("text/html,application/yaml;q=0.1", YAML),
            ("application/yaml;q=5,application/json", YAML),
            ("application/yaml ; q = 0.2 , application/json ; q=0.1", YAML),
            // Refused, or nothing that there is.
            ("application/json;q=0", None),
            ("application/json;q=0.000,application/yaml", YAML),
            ("application/json;q=x", None),
            ("application/json;q=NaN", None),
            ("application/json;q=-1", None),
            ("text/html", None),
            ("text/*", None),
            ("*/json", None),
            ("application", None),
            ("application/json/x", None),
            (",", None),
            // Parameters without an effect, and those that request what there is not.
            ("application/json;charset=utf-8", JSON),
            ("application/json;profile=nopeer;", JSON),
            ("application/json;stream=watch", JSON),
            ("application/json;stream=other", None),
            ("application/json;sv=v1", None),
            ("APPLICATION/JSON", JSON),
            ("application/json;q=0, */*", YAML),
            ("*/*, application/json;Q=0", YAML),
            ("application/json;q=0, application/*, application/yaml;q=0", PROTOBUF),
            ("application/json;q=0, application/json", JSON),
            ("application/json;q=NaN", None),
        ] {
            let accepted = negotiate(|| [accept], any);
            assert_eq!(accepted.map(|accepted| accepted.offer), expected, "{accept}");
        }
    }

    #[test]
    fn several_headers_are_one() {
        let offer = |headers: &[&'static str]| negotiate(|| headers.to_vec(), any).map(|accepted| accepted.offer.0);
        assert_eq!(offer(&[]), Some(Encoding::Json));
        assert_eq!(offer(&["", ""]), Some(Encoding::Json));
        assert_eq!(offer(&["text/html", "application/yaml"]), Some(Encoding::Yaml));
        assert_eq!(offer(&["application/json;q=0.5", "application/yaml"]), Some(Encoding::Yaml));
    }

    #[test]
    fn pretty_is_that_of_the_clause_taken() {
        let pretty = |accept| negotiate(|| [accept], any).unwrap().pretty;
        assert!(pretty("application/json;pretty=1"));
        assert!(!pretty("application/json;pretty=0"));
        assert!(!pretty("application/json,application/yaml;pretty=1"));
    }

    proptest! {
        #[test]
        fn any_text_is_answered(text in "[a*/;=, .q0-9A-Z\u{0}-\u{ff}]{0,80}") {
            let _ = negotiate(|| [text.as_str()], any);
        }

        #[test]
        fn a_wildcard_at_the_end_always_finds_something(text in "[a*/;=, .q0-9]{0,40}") {
            prop_assert!(negotiate(|| [text.as_str(), "*/*"], any).is_some());
        }
    }
}
