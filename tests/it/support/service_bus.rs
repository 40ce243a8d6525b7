//! What Azure Service Bus answers, and how it verifies signatures: written by Microsoft's REST reference,
//! and by no code of the program.

use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;

const ATOM: &str = "http://www.w3.org/2005/Atom";
const DESCRIPTION: &str = "http://schemas.microsoft.com/netservices/2010/10/servicebus/connect";
const COUNTS: &str = "http://schemas.microsoft.com/netservices/2011/06/servicebus";

/// An entity of this kind (`Queue`, `Subscription`) with so many active messages, which need not be a
/// number.
pub(crate) fn entry(kind: &str, name: &str, status: &str, active: &str) -> String {
    described(kind, name, status, &counts([active, "1", "2"]))
}

/// An entity with any counts, or none.
pub(crate) fn described(kind: &str, name: &str, status: &str, counts: &str) -> String {
    format!(
        r#"<entry xmlns="{ATOM}"><id>https://shop.servicebus.windows.net/{name}?api-version=2021-05</id><title type="text">{name}</title><published>2026-11-22T14:00:00Z</published><updated>2026-11-22T14:00:00Z</updated><author><name>shop</name></author><content type="application/xml"><{kind}Description xmlns="{DESCRIPTION}" xmlns:i="http://www.w3.org/2001/XMLSchema-instance"><LockDuration>PT1M</LockDuration><MaxSizeInMegabytes>1024</MaxSizeInMegabytes><RequiresDuplicateDetection>false</RequiresDuplicateDetection><RequiresSession>false</RequiresSession><DefaultMessageTimeToLive>P14D</DefaultMessageTimeToLive><DeadLetteringOnMessageExpiration>false</DeadLetteringOnMessageExpiration><MaxDeliveryCount>10</MaxDeliveryCount><EnableBatchedOperations>true</EnableBatchedOperations><SizeInBytes>0</SizeInBytes><MessageCount>99</MessageCount><Status>{status}</Status><CreatedAt>2026-11-22T14:00:00Z</CreatedAt><UpdatedAt>2026-11-22T14:00:00Z</UpdatedAt><AccessedAt>2026-11-22T14:00:00Z</AccessedAt>{counts}<AutoDeleteOnIdle>P10675199DT2H48M5.4775807S</AutoDeleteOnIdle><EntityAvailabilityStatus>Available</EntityAvailabilityStatus></{kind}Description></content></entry>"#
    )
}

/// Active, dead-lettered and scheduled messages.
pub(crate) fn counts([active, dead_letter, scheduled]: [&str; 3]) -> String {
    format!(
        r#"<CountDetails xmlns:d2p1="{COUNTS}"><d2p1:ActiveMessageCount>{active}</d2p1:ActiveMessageCount><d2p1:DeadLetterMessageCount>{dead_letter}</d2p1:DeadLetterMessageCount><d2p1:ScheduledMessageCount>{scheduled}</d2p1:ScheduledMessageCount><d2p1:TransferMessageCount>0</d2p1:TransferMessageCount><d2p1:TransferDeadLetterMessageCount>0</d2p1:TransferDeadLetterMessageCount></CountDetails>"#
    )
}

/// A page of a list. Without entries, it is also the answer for what does not exist.
pub(crate) fn feed(entries: &[String]) -> String {
    format!(
        r#"<feed xmlns="{ATOM}"><title type="text">Publicly Listed Services</title><id>https://shop.servicebus.windows.net/</id><updated>2026-11-22T14:00:00Z</updated>{}</feed>"#,
        entries.concat()
    )
}

/// A text within XML.
pub(crate) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// A shared access signature in its parts, as they were sent.
pub(crate) struct Signature {
    /// Encoded.
    resource: String,
    signature: String,
    pub(crate) expires: i64,
    pub(crate) policy: String,
}

// === impl Signature ===

impl Signature {
    pub(crate) fn parse(authorization: &str) -> Option<Self> {
        let (mut resource, mut signature, mut expires, mut policy) = (None, None, None, None);
        for field in authorization.strip_prefix("SharedAccessSignature ")?.split('&') {
            let (name, value) = field.split_once('=')?;
            let slot = match name {
                "sr" => &mut resource,
                "sig" => &mut signature,
                "se" => &mut expires,
                "skn" => &mut policy,
                _ => return None,
            };
            if slot.replace(value).is_some() {
                return None;
            }
        }
        Some(Self {
            resource: resource?.to_owned(),
            signature: decoded(signature?)?,
            expires: expires?.parse().ok()?,
            policy: decoded(policy?)?,
        })
    }

    /// Whether this key made it.
    pub(crate) fn is_of(&self, key: &str) -> bool {
        let signed =
            sign(&Key::new(HMAC_SHA256, key.as_bytes()), format!("{}\n{}", self.resource, self.expires).as_bytes());
        STANDARD.encode(signed) == self.signature
    }

    /// Whether it is for this URL: its resource is the beginning of it, whatever the case is.
    pub(crate) fn covers(&self, url: &str) -> bool {
        let Some(resource) = decoded(&self.resource) else { return false };
        // The official client for Go signs the query as well.
        let resource = resource.split('?').next().unwrap_or_default();
        let (resource, url) = (resource.to_ascii_lowercase(), url.to_ascii_lowercase());
        let (resource, url) = (resource.trim_end_matches('/'), url.trim_end_matches('/'));
        url.strip_prefix(resource).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

fn decoded(text: &str) -> Option<String> {
    percent_decode_str(text).decode_utf8().ok().map(|text| text.into_owned())
}

/// Whether a value of `Authorization` is a signature of this key.
pub(crate) fn is_signed_by(authorization: &str, key: &str) -> bool {
    Signature::parse(authorization).is_some_and(|signature| signature.is_of(key))
}
