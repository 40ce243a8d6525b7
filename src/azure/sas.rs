//! Shared access signatures. Pure.
//!
//! The string to sign is the encoded URL of the resource, a line feed, and the time at which the
//! signature expires in seconds. The key is its own text, and is not decoded. The resource is encoded in
//! small letters, as the Go client does it. It may be any prefix of the URL that is requested. With the
//! path of the entity, policies of the namespace and of the entity both work.

use aws_lc_rs::hmac::{HMAC_SHA256, Key as HmacKey, sign};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// What both official clients leave as it is.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
/// What a signature begins with.
const SCHEME: &str = "SharedAccessSignature ";

/// A key of an access policy.
#[derive(Clone)]
pub struct Key {
    /// The name of the policy.
    pub name: String,
    key: Box<HmacKey>,
}

/// A signature that was made elsewhere.
#[derive(Clone)]
pub struct Signature {
    /// The whole text.
    text: String,
    /// When it expires, in seconds.
    expires: i64,
    /// The name of the policy, if it has it.
    name: Option<String>,
}

// === impl Key ===

impl Key {
    /// A key of this policy.
    pub fn new(name: String, key: &str) -> Self {
        Self { name, key: Box::new(HmacKey::new(HMAC_SHA256, key.as_bytes())) }
    }

    /// The signature of a resource, as the value of `Authorization`.
    pub fn sign(&self, resource: &str, expires: i64) -> String {
        let resource = encoded(resource).to_ascii_lowercase();
        let signed = sign(&self.key, format!("{resource}\n{expires}").as_bytes());
        let signature = encoded(&STANDARD.encode(signed));
        format!("{SCHEME}sr={resource}&sig={signature}&se={expires}&skn={}", encoded(&self.name))
    }
}

// === impl Signature ===

impl Signature {
    /// A signature in its text form. `None` if it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let fields = text.trim().strip_prefix(SCHEME)?;
        let value = |name: &str| {
            let mut pairs = fields.split('&').filter_map(|field| field.split_once('='));
            pairs.find_map(|(key, value)| (key == name && !value.is_empty()).then_some(value))
        };
        let (_, _, expires) = (value("sr")?, value("sig")?, value("se")?.parse().ok()?);
        let name = value("skn").map(|name| percent_encoding::percent_decode_str(name).decode_utf8_lossy().into_owned());
        Some(Self { text: text.trim().to_owned(), expires, name })
    }

    /// As the value of `Authorization`.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it is of no use any more.
    pub fn has_expired(&self, now: Timestamp) -> bool {
        self.expires <= now.as_second()
    }

    /// The name of the policy, if it has it.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, ENCODED).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_those_of_other_implementations() {
        for (name, key, resource, expires, expected) in [
            // The test of Go module azservicebus.
            (
                "keyName",
                "key",
                "audience",
                1_578_099_723,
                "SharedAccessSignature sr=audience&sig=8UM0iIfFCfeBSqxSdBMW8pUbhAm7mnjSUaIZTZx8V0g%3D&se=1578099723&skn=keyName",
            ),
            // The test of Perl module Net::Azure::EventHubs, which authenticates in the same way.
            (
                "mykey",
                "AexamplekeyAEXAMPLEKEYAexamplekeyAEXAMPLEKEY=",
                "https://mysvc.servicebus.windows.net/myentity/messages",
                1_476_065_410,
                "SharedAccessSignature sr=https%3a%2f%2fmysvc.servicebus.windows.net%2fmyentity%2fmessages&sig=nQDGh0YxA8O3SFO7SyrmnTK6BnP%2F33KShAbTXFjmYV0%3D&se=1476065410&skn=mykey",
            ),
            // By `openssl dgst -sha256 -hmac`.
            (
                "Read Policy",
                "hand-checked-key=",
                "https://shop.servicebus.windows.net/Orders_1.a/subscriptions/eu-west",
                1_795_960_800,
                "SharedAccessSignature sr=https%3a%2f%2fshop.servicebus.windows.net%2forders_1.a%2fsubscriptions%2feu-west&sig=T9XtfPSvvJFUzbn1zf1ExAp5Q5Ei%2Byq2LRADwo2PIjI%3D&se=1795960800&skn=Read%20Policy",
            ),
        ] {
            assert_eq!(Key::new(name.to_owned(), key).sign(resource, expires), expected);
        }
    }

    #[test]
    fn a_signature_says_when_it_expires_and_whose_it_is() {
        let text = Key::new("a b".to_owned(), "key").sign("https://shop.servicebus.windows.net", 1000);
        let signature = Signature::parse(&format!("{text}\n")).unwrap();
        assert_eq!((signature.as_str(), signature.name()), (text.as_str(), Some("a b")));
        let expired = |second| signature.has_expired(Timestamp::from_second(second).unwrap());
        assert_eq!([expired(999), expired(1000)], [false, true]);
        for text in ["", "sr=a&sig=b&se=1", "SharedAccessSignature sr=a&sig=b", "SharedAccessSignature sr=a&sig=b&se=x"]
        {
            assert!(Signature::parse(text).is_none(), "{text}");
        }
    }
}
