//! The body of an answer, and the ways in which a broken service sends one.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Frame;

/// What hyper sends.
pub(crate) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// A body.
#[derive(Debug)]
pub(crate) enum Payload {
    /// As it should be.
    Whole(Bytes),
    /// A byte at a time, each after this pause.
    Drip(Bytes, Duration),
    /// The connection ends after half of what was announced.
    CutOff(Bytes),
    /// This many times the first bytes, then the others.
    Repeat(Bytes, u64, Bytes),
    /// Blanks for as long as the client reads.
    Endless,
}

/// What [`Payload::Endless`] is made of.
const BLANKS: [u8; 16 * 1024] = [b' '; 16 * 1024];

// === impl Payload ===

impl Payload {
    /// The length to announce, unless there is none.
    pub(crate) fn length(&self) -> Option<u64> {
        let length = |bytes: &Bytes| bytes.len() as u64;
        match self {
            Self::Whole(bytes) | Self::Drip(bytes, _) | Self::CutOff(bytes) => Some(length(bytes)),
            Self::Repeat(part, times, rest) => Some(length(part) * times + length(rest)),
            Self::Endless => None,
        }
    }

    pub(crate) fn into_body(self) -> Body {
        match self {
            Self::Whole(bytes) => Full::new(bytes).map_err(|never| match never {}).boxed_unsync(),
            Self::Drip(bytes, pause) => StreamBody::new(stream::unfold(bytes, move |mut left| async move {
                if left.is_empty() {
                    return None;
                }
                tokio::time::sleep(pause).await;
                let drop = left.split_to(1);
                Some((Ok(Frame::data(drop)), left))
            }))
            .boxed_unsync(),
            Self::CutOff(bytes) => {
                let half = bytes.slice(..bytes.len() / 2);
                StreamBody::new(stream::unfold(Some(half), |half| async {
                    if let Some(half) = half {
                        return Some((Ok(Frame::data(half)), None));
                    }
                    // What an error finds unsent is not sent: let it go first.
                    tokio::task::yield_now().await;
                    Some((Err(io::Error::other("cut off, as ordered")), None))
                }))
                .boxed_unsync()
            }
            Self::Repeat(part, times, rest) => {
                let parts = (0..times).map(move |_| part.clone()).chain([rest]);
                StreamBody::new(stream::iter(parts.map(|part| Ok(Frame::data(part))))).boxed_unsync()
            }
            Self::Endless => {
                let blanks = std::iter::repeat_with(|| Ok(Frame::data(Bytes::from_static(&BLANKS))));
                StreamBody::new(stream::iter(blanks)).boxed_unsync()
            }
        }
    }
}
