//! Everything that a service can answer with, once. A fixture matches on [`Shape`] without a
//! wildcard, so a kind that leaves one out does not compile. What a [`Wire`] leads to does not depend
//! on the content, so all kinds over HTTP share one match, which has no wildcard either.

use super::Served;

/// Declares an enum with the list of its variants and the name that each has in the table.
macro_rules! outcomes {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $title:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        pub(super) enum $name {
            $(#[doc = $title] $variant,)*
        }

        impl $name {
            pub(super) const ALL: &'static [Self] = &[$(Self::$variant),*];

            pub(super) fn title(self) -> &'static str {
                match self {
                    $(Self::$variant => $title,)*
                }
            }
        }
    };
}

outcomes! {
    /// The content of a complete answer of status 200. The fixture writes it, because each protocol
    /// has its own way to say it.
    Shape {
        Value = "a value",
        Zero = "zero",
        Decimal = "a decimal",
        Empty = "empty",
        MissingField = "a missing field",
        Null = "null",
        NotANumber = "NaN",
        Negative = "negative",
        Huge = "huge",
        Overflow = "overflow",
        WrongType = "a wrong type",
        NotTheFormat = "not the format",
    }
}

outcomes! {
    /// What goes wrong between the service and depthgauge. The driver plays it the same way for
    /// every kind.
    Wire {
        BadRequest = "400",
        Unauthorized = "401",
        Forbidden = "403",
        NotFound = "404",
        Throttled = "429",
        ThrottledUntil = "429 with Retry-After",
        ServerError = "500",
        Unavailable = "503",
        UnavailableUntil = "503 with Retry-After",
        Html = "200 with an HTML page",
        NoBody = "200 without a body",
        WrongContentType = "200 with another Content-Type",
        PartialContent = "206",
        Redirect = "a redirect",
        Hang = "no answer",
        Reset = "a connection reset",
        HalfBody = "half an answer",
        CutBody = "an answer of HTTP/1.0 without its last byte",
        EndlessBody = "an endless answer",
        GzipBomb = "an answer that unpacks to 16 MiB",
    }
}

/// One row of the table.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Outcome {
    Shape(Shape),
    Wire(Wire),
}

/// What depthgauge must serve.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Expected {
    /// One item of this value.
    Value(&'static str),
    /// 404: what the selector names does not exist.
    NotFound,
    /// 503 with a message.
    Unavailable,
    /// 503: the source is read, and its value is not known.
    Unknown,
}

// === impl Outcome ===

impl Outcome {
    pub(super) fn all() -> impl Iterator<Item = Self> {
        let shapes = Shape::ALL.iter().copied().map(Self::Shape);
        shapes.chain(Wire::ALL.iter().copied().map(Self::Wire))
    }

    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Shape(shape) => shape.title(),
            Self::Wire(wire) => wire.title(),
        }
    }
}

// === impl Wire ===

impl Wire {
    /// What it must lead to for every kind over HTTP, with the value of a good answer. Another
    /// Content-Type changes nothing, because only the content counts.
    pub(super) fn over_http(self, good: &'static str) -> Expected {
        match self {
            Self::WrongContentType => Expected::Value(good),
            Self::BadRequest
            | Self::Unauthorized
            | Self::Forbidden
            | Self::NotFound
            | Self::Throttled
            | Self::ThrottledUntil
            | Self::ServerError
            | Self::Unavailable
            | Self::UnavailableUntil
            | Self::Html
            | Self::NoBody
            | Self::PartialContent
            | Self::Redirect
            | Self::Hang
            | Self::Reset
            | Self::HalfBody
            | Self::CutBody
            | Self::EndlessBody
            | Self::GzipBomb => Expected::Unavailable,
        }
    }
}

// === impl Expected ===

impl Expected {
    pub(super) fn is(self, served: &Served) -> bool {
        match (self, served) {
            (Self::Value(value), Ok(values)) => values[..] == [value],
            (Self::NotFound, Err((code, _))) => *code == 404,
            (Self::Unavailable | Self::Unknown, Err((code, _))) => *code == 503,
            (Self::Value(_), Err(_)) | (Self::NotFound | Self::Unavailable | Self::Unknown, Ok(_)) => false,
        }
    }
}
