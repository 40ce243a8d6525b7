//! A document that is made once and never changes, in every supported encoding.

use std::sync::LazyLock;

use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, header};
use prost::Message;
use serde::Serialize;

use super::accept::{Accepted, Encoding};
use super::encode::{self, EncodeError};
use super::reply;
use crate::api_error::{ApiError, NOT_MODIFIED};

/// `Cache-Control` of a document with a tag: clients may cache it and revalidate it by the tag.
const REVALIDATE: &str = "public";

/// A document that is made at the first request, or the error.
pub(super) type Made = LazyLock<Result<Fixed, EncodeError>>;

/// A document in all of its encodings.
pub(super) struct Fixed {
    json: Bytes,
    pretty: Bytes,
    yaml: Bytes,
    protobuf: Option<Bytes>,
    /// The hash of the content, if clients may revalidate the document by it.
    tag: Option<HeaderValue>,
}

/// A type of `meta/v1`, with its kind and version in JSON. In protobuf, the envelope has these.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Typed<'m, M> {
    kind: &'static str,
    api_version: &'static str,
    #[serde(flatten)]
    message: &'m M,
}

/// What was made, or the refusal of a request for it.
pub(super) fn get<T>(made: &Result<T, EncodeError>) -> Result<&T, ApiError> {
    made.as_ref().map_err(|error| ApiError::internal(error.to_string()))
}

// === impl Fixed ===

impl Fixed {
    /// In JSON and YAML.
    pub(super) fn new(document: &impl Serialize) -> Result<Self, EncodeError> {
        Ok(Self {
            json: encode::json(document, false, 0)?,
            pretty: encode::json(document, true, 0)?,
            yaml: encode::yaml(document)?,
            protobuf: None,
            tag: None,
        })
    }

    /// An object of `v1`, which also has a protobuf encoding.
    pub(super) fn object(kind: &'static str, message: &(impl Message + Serialize)) -> Result<Self, EncodeError> {
        let api_version = "v1";
        let protobuf = encode::protobuf::object(api_version, kind, message);
        Ok(Self { protobuf: Some(protobuf), ..Self::new(&Typed { kind, api_version, message })? })
    }

    /// With a tag, by which clients can revalidate a cached document.
    pub(super) fn tagged(self) -> Self {
        let tag = HeaderValue::try_from(format!("\"{}\"", hash(&self.json))).ok();
        Self { tag, ..self }
    }

    /// The content's hash.
    pub(super) fn hash(&self) -> String {
        hash(&self.json)
    }

    /// In the encoding that the client accepts, of the available ones. `as=` is not supported.
    pub(super) fn reply(&self, request: &Parts, available: &[Encoding]) -> Result<Response, ApiError> {
        let offer = |encoding, conversion: Option<_>| {
            (conversion.is_none() && available.contains(&encoding)).then_some(encoding)
        };
        let Accepted { offer, pretty } = reply::negotiate(request, available, offer)?;
        Ok(self.reply_as(request, offer, pretty, offer.media_type()))
    }

    /// In this encoding, with this `content_type`.
    pub(super) fn reply_as(
        &self,
        request: &Parts,
        encoding: Encoding,
        pretty: bool,
        content_type: &'static str,
    ) -> Response {
        let body = match encoding {
            Encoding::Json if pretty => &self.pretty,
            Encoding::Json => &self.json,
            Encoding::Yaml => &self.yaml,
            Encoding::Protobuf => self.protobuf.as_ref().unwrap_or(&self.json),
        };
        // Not compressed: all answers share these bytes, and each would have a compressed copy of its own.
        let Some(tag) = &self.tag else { return reply::uncompressed(content_type, body.clone()) };
        let headers = [
            (header::ETAG, tag.clone()),
            (header::VARY, HeaderValue::from_static("Accept")),
            (header::CACHE_CONTROL, HeaderValue::from_static(REVALIDATE)),
        ];
        if is_known(&request.headers, tag) {
            return (NOT_MODIFIED, headers).into_response();
        }
        (headers, [(header::CONTENT_TYPE, content_type)], body.clone()).into_response()
    }
}

/// Whether `If-None-Match` names this tag.
fn is_known(headers: &HeaderMap, tag: &HeaderValue) -> bool {
    let values = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let mut tags = values.flat_map(|value| value.split(',')).map(str::trim);
    tags.any(|known| known == "*" || known.trim_start_matches("W/").as_bytes() == tag.as_bytes())
}

/// The same as in the Go library: SHA-512 in upper-case hexadecimal.
fn hash(bytes: &[u8]) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA512, bytes);
    digest.as_ref().iter().map(|byte| format!("{byte:02X}")).collect()
}
