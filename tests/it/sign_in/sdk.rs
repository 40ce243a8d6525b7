//! Profiles and keys as people have them: each is read as the official Python SDK reads it, or
//! refused with a message that has the cause.

use std::path::Path;

use depthgauge::oci::credentials::Credentials;
use serde_json::Value;

use crate::emulator::{json, run, sdk_python};

const VECTORS: &str = include_str!("../../golden/oci/vectors.json");

/// What both make of a profile.
enum Both {
    /// The SDK and depthgauge use it.
    Read,
    /// Neither does, and depthgauge says this.
    Refused(&'static str),
    /// Only the SDK does, and depthgauge says this.
    OnlySdk(&'static str),
}

use Both::{OnlySdk, Read, Refused};

/// A profile whose key file holds `key`.
fn write(folder: &Path, name: &str, key: &str, edit: impl Fn(String) -> String) {
    let vectors: Value = serde_json::from_str(VECTORS).unwrap();
    let text = |field: &str| vectors[field].as_str().unwrap().to_owned();
    let key_file = folder.join(format!("{name}.pem"));
    std::fs::write(&key_file, key).unwrap();
    let (user, fingerprint, tenancy) = (text("user"), text("fingerprint"), text("tenancy"));
    let profile = format!(
        "[DEFAULT]\nuser={user}\nfingerprint={fingerprint}\nkey_file={}\npass_phrase=secret\ntenancy={tenancy}\nregion=eu-frankfurt-1\n",
        key_file.display()
    );
    std::fs::write(folder.join(format!("{name}.config")), edit(profile)).unwrap();
}

fn after(key: &str, more: &str) -> impl Fn(String) -> String {
    move |profile| {
        let line = |line: &str| format!("{line}{}\n", if line.starts_with(key) { more } else { "" });
        profile.lines().map(line).collect()
    }
}

fn indented(is_it: fn(&str) -> bool) -> impl Fn(String) -> String {
    move |profile| profile.lines().map(|line| format!("{}{line}\n", if is_it(line) { "  " } else { "" })).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn profiles_are_read_as_the_sdk_reads_them_or_refused_with_the_cause() {
    crate::support::crypto();
    let mut python = sdk_python().await;
    let folder = tempfile::tempdir().unwrap();
    let vectors: Value = serde_json::from_str(VECTORS).unwrap();
    let good = vectors["private_key_pkcs8_pem"].as_str().unwrap();
    let public = vectors["public_key_pem"].as_str().unwrap();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/oci/keys");
    let golden = |name: &str| std::fs::read_to_string(golden.join(name)).unwrap();
    let comment = "a comment after a value is part of it, so move it to a line of its own";
    let mut cases: Vec<(&str, Both)> = Vec::new();
    let mut profile = |name: &'static str, both: Both, edit: &dyn Fn(String) -> String| {
        write(folder.path(), name, good, edit);
        cases.push((name, both));
    };
    profile("plain", Read, &|text| text);
    profile("indented", Read, &indented(|_| true));
    profile("crlf", Read, &|text| text.replace('\n', "\r\n"));
    profile("default-twice", Read, &after("tenancy", "\n[DEFAULT]"));
    profile("colons", Read, &|text| text.replace("tenancy=", "Tenancy : "));
    profile(
        "swallowed-region",
        Refused("line 7 is indented, so it continues the value of `tenancy` in line 6: remove the blanks at its start"),
        &indented(|line| line.starts_with("region")),
    );
    profile(
        "swallowed-fingerprint",
        Refused("line 3 has it, but is indented, so it continues the value of `user` in line 2"),
        &indented(|line| line.starts_with("fingerprint")),
    );
    profile("bom", Refused("line 1: the file begins with a byte order mark (BOM)"), &|text| format!("\u{feff}{text}"));
    profile("comment-tenancy", Refused(comment), &after("tenancy", " # TODO"));
    profile("comment-user", Refused("`user` in line 2 is not an OCID"), &after("user", " # TODO"));
    profile("comment-region", OnlySdk(comment), &after("region", " # TODO"));
    profile(
        "comment-key",
        Refused("`key_file` of profile [DEFAULT] (line 4, where the comment is part of the value)"),
        &after("key_file", " # TODO"),
    );
    profile("no-ocid", Refused("`user` in line 2 is not an OCID"), &|text| text.replace("user=ocid1.", "user="));
    profile(
        "key-content",
        Refused("has `key_content` in line 4, which the OCI SDKs refuse in a file"),
        &after("fingerprint", "\nkey_content=-----BEGIN PRIVATE KEY-----\n  AAAA"),
    );
    profile(
        "no-default",
        Refused("there is no profile [DEFAULT]; there are: mine; name one in `oci.auth`, as `profile`"),
        &|text| text.replace("[DEFAULT]", "[mine]"),
    );
    let mut key = |name: &'static str, both: Both, pem: String| {
        write(folder.path(), name, &pem, |text| text);
        cases.push((name, both));
    };
    key("public-first", Read, format!("{public}\n{good}"));
    key("console", Read, vectors["private_key_with_console_label_pem"].as_str().unwrap().to_owned());
    key("bom-before-key", Read, format!("\u{feff}{good}"));
    key("public-only", Refused("this is a public key"), public.to_owned());
    let convert = "is not supported: convert it with `openssl pkey -in KEY -aes256 -out NEW`";
    for name in ["pkcs8-des3", "pkcs8-pbe-sha1-3des", "pkcs8-pbe-md5-des", "pkcs1-des3"] {
        key(name, OnlySdk(convert), golden(&format!("{name}.pem")));
    }
    key("short", OnlySdk("less than 2048 bits"), golden("short.pem"));
    key("short-aes", OnlySdk("less than 2048 bits"), golden("short-aes.pem"));

    python.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/sign_in/profiles.py")).arg(folder.path());
    let theirs = json(&run(python).await);
    for (name, both) in cases {
        let ours = Credentials::api_key(&folder.path().join(format!("{name}.config")), "DEFAULT");
        let (read, cause) = match both {
            Read => (true, None),
            OnlySdk(cause) => (true, Some(cause)),
            Refused(cause) => (false, Some(cause)),
        };
        assert_eq!(theirs[name]["key"] == "RSAPrivateKey", read, "{name}, by the SDK: {}", theirs[name]);
        match (ours, cause) {
            (Ok(credentials), None) => {
                assert_eq!(credentials.region(), theirs[name]["region"].as_str(), "{name}");
            }
            (Err(error), Some(cause)) => assert!(error.to_string().contains(cause), "{name}: {error}"),
            (ours, _) => panic!("{name}: {ours:?}"),
        }
    }
}
