//! Whether a request is signed as OCI wants it, judged by what was on the wire alone; shares
//! nothing with the client, nor with the emulator.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::Value;

use super::double::Received;

/// A part of the Authorization header: `keyId`.
pub(crate) fn part(request: &Received, name: &str) -> String {
    let header = request.header("authorization");
    let rest = header.strip_prefix("Signature ").unwrap_or_else(|| panic!("not signed: {header}"));
    // In this order, with commas and no blanks.
    let names: Vec<&str> = rest.split(',').map(|part| part.split_once('=').unwrap().0).collect();
    assert_eq!(names, ["algorithm", "headers", "keyId", "signature", "version"]);
    let from = rest.split_once(&format!("{name}=\"")).unwrap().1;
    from.split_once('"').unwrap().0.to_owned()
}

/// Whether the signature over `headers`, in this order, is that of a public key (base64 of its
/// DER SubjectPublicKeyInfo).
pub(crate) fn is_signed(request: &Received, headers: &str, public: &str) -> bool {
    assert_eq!(part(request, "algorithm"), "rsa-sha256");
    assert_eq!(part(request, "version"), "1");
    assert_eq!(part(request, "headers"), headers, "which headers are signed, and in which order");
    let line = |name: &str| match name {
        "(request-target)" => format!("{name}: {} {}", request.method.to_lowercase(), request.target),
        _ => format!("{name}: {}", request.header(name)),
    };
    let text: Vec<String> = headers.split(' ').map(line).collect();
    let key = ParsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, STANDARD.decode(public).unwrap()).unwrap();
    let signature = STANDARD.decode(part(request, "signature")).unwrap();
    key.verify_sig(text.join("\n").as_bytes(), &signature).is_ok()
}

/// The hash that goes with a body.
pub(crate) fn body_hash(request: &Received) -> String {
    STANDARD.encode(digest(&SHA256, request.body.as_bytes()))
}

/// A token with these claims; nobody here checks who signed it.
pub(crate) fn jwt(claims: &Value) -> String {
    let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
    format!("{}.{}.{}", part(r#"{"alg":"RS256"}"#), part(&claims.to_string()), part("unsigned"))
}
