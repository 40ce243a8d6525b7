//! Receipts: what proves that a consumer was given a message.
//!
//! Opaque to the consumer, like the service's: base64url, and void in another queue.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

/// Part of every receipt, so that one of another queue, or of an earlier run, opens nothing.
#[derive(Clone, Copy)]
pub(crate) struct Tag(u64);

/// One delivery.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Receipt {
    /// Index of the consumer group.
    pub(crate) group: usize,
    /// Id of the message.
    pub(crate) message: u64,
    /// The how-manieth delivery of it.
    pub(crate) delivery: u32,
}

// === impl Tag ===

impl Tag {
    pub(crate) fn new() -> Self {
        Self(fastrand::u64(..))
    }
}

// === impl Receipt ===

impl Receipt {
    pub(crate) fn seal(self, tag: Tag) -> String {
        let group = u32::try_from(self.group).unwrap_or(u32::MAX);
        let parts: [&[u8]; 4] =
            [&tag.0.to_be_bytes(), &group.to_be_bytes(), &self.message.to_be_bytes(), &self.delivery.to_be_bytes()];
        BASE64_URL_SAFE_NO_PAD.encode(parts.concat())
    }

    pub(crate) fn open(text: &str, tag: Tag) -> Option<Self> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).ok()?;
        let (known, rest) = bytes.split_first_chunk()?;
        let (group, rest) = rest.split_first_chunk()?;
        let (message, rest) = rest.split_first_chunk()?;
        let delivery = u32::from_be_bytes(rest.try_into().ok()?);
        let group = usize::try_from(u32::from_be_bytes(*group)).ok()?;
        let receipt = Self { group, message: u64::from_be_bytes(*message), delivery };
        (u64::from_be_bytes(*known) == tag.0).then_some(receipt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sealed_opens_with_the_same_tag_only() {
        let (tag, other) = (Tag(7), Tag(8));
        let receipt = Receipt { group: 3, message: u64::MAX, delivery: 9 };
        let text = receipt.seal(tag);
        assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)), "{text}");
        assert_eq!(Receipt::open(&text, tag), Some(receipt));
        assert_eq!(Receipt::open(&text, other), None);
        for wrong in ["", "AAAA", "!", &text[1..], &text[..31], &format!("{text}=="), &"A".repeat(32)] {
            assert_eq!(Receipt::open(wrong, tag), None, "{wrong}");
        }
    }
}
