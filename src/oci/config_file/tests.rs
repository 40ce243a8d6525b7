//! Profiles as users write them, and the errors of those that cannot be used.

use proptest::prelude::*;

use super::*;

const FINGERPRINT: &str = "51:9f:f0:c8:27:72:80:81:d3:3b:7b:fa:14:f8:1c:7d";

const TENANCY: &str = "ocid1.tenancy.oc1..aaaatenancy";
const USER: &str = "ocid1.user.oc1..aaaauser";

/// The keys of an API key, with a value of one replaced.
fn api_key(key: &str, value: &str) -> String {
    let keys = [
        ("user", USER),
        ("fingerprint", FINGERPRINT),
        ("key_file", "/k.pem"),
        ("tenancy", TENANCY),
        ("region", "eu-frankfurt-1"),
    ];
    let line = |(name, usual): (&str, &str)| format!("{name}={}\n", if name == key { value } else { usual });
    keys.into_iter().map(line).collect()
}

fn refused(text: &str, profile: &str) -> String {
    ConfigFile::parse(text).and_then(|file| file.api_key(profile)).unwrap_err().to_string()
}

#[test]
fn profiles_inherit_from_default() {
    let file = ConfigFile::parse(&format!(
        "# comment\n[DEFAULT]\nuser={USER}\nTenancy : {TENANCY}\nkey_file = /k.pem # not a comment\n\n[OTHER]\n  ; indented comment\nuser = {USER}2\nfingerprint = {FINGERPRINT}\n[DEFAULT]\nregion = eu-frankfurt-1\n"
    ))
    .unwrap();
    let profile = file.api_key("OTHER").unwrap();
    assert_eq!((profile.user, profile.tenancy.as_str()), (format!("{USER}2"), TENANCY));
    assert_eq!(profile.key.path, PathBuf::from("/k.pem # not a comment"));
    let named_by = "`key_file` of profile [OTHER] (line 5, where the comment is part of the value)";
    assert_eq!((profile.key.named_by.as_str(), profile.region.as_deref()), (named_by, Some("eu-frankfurt-1")));
}

#[test]
fn lines_that_are_indented_alike_continue_nothing() {
    let lines = format!("[DEFAULT]\n{}", api_key("", ""));
    for blanks in ["  ", "\t", " \u{a0} "] {
        let indented: String = lines.lines().map(|line| format!("{blanks}{line}\n")).collect();
        let profile = ConfigFile::parse(&indented).and_then(|file| file.api_key("DEFAULT")).unwrap();
        assert_eq!((profile.tenancy.as_str(), profile.region.as_deref()), (TENANCY, Some("eu-frankfurt-1")));
    }
}

#[test]
fn a_line_that_a_value_swallows_is_named() {
    let lines = format!("[DEFAULT]\n{}", api_key("", ""));
    let indented = |line: &str| lines.replace(line, &format!(" {line}"));
    for (text, profile, message) in [
        (
            indented("region="),
            "DEFAULT",
            "profile [DEFAULT]: line 6 is indented, so it continues the value of `tenancy` in line 5: remove the blanks at its start",
        ),
        (
            indented("fingerprint="),
            "DEFAULT",
            "profile [DEFAULT] has no `fingerprint`, which an API key needs; line 3 has it, but is indented, so it continues the value of `user` in line 2: remove the blanks at its start",
        ),
        (
            format!("{lines} [OTHER]\n user=x\n"),
            "OTHER",
            "there is no profile [OTHER]; there are: DEFAULT; line 7 has it, but is indented, so it continues the value of `region` in line 6: remove the blanks at its start",
        ),
        (
            format!("{lines}pass_phrase=hidden\n  other=x\n"),
            "DEFAULT",
            "profile [DEFAULT]: line 8 is indented, so it continues the value of `pass_phrase` in line 7: remove the blanks at its start",
        ),
    ] {
        assert_eq!(refused(&text, profile), message);
    }
}

#[test]
fn a_value_that_cannot_be_right_is_named_by_key_and_line() {
    let comment = ": a comment after a value is part of it, so move it to a line of its own";
    let upper = FINGERPRINT.to_uppercase();
    let with_comment = format!("{TENANCY} # TODO");
    for (key, value, message) in [
        ("user", "jane@example.com", "`user` in line 2 is not an OCID (ocid1.user.oc1..UNIQUE_ID)".to_owned()),
        ("user", "ocid1.user.oc1.", "`user` in line 2 is not an OCID (ocid1.user.oc1..UNIQUE_ID)".to_owned()),
        (
            "tenancy",
            &with_comment,
            format!("`tenancy` in line 5 is not an OCID (ocid1.tenancy.oc1..UNIQUE_ID){comment}"),
        ),
        (
            "fingerprint",
            &upper,
            "`fingerprint` in line 3 is not 16 pairs of lower-case hex digits with colons between".to_owned(),
        ),
        ("region", "eu-frankfurt-1 ; TODO", format!("`region` in line 6 is not a region{comment}")),
    ] {
        let text = format!("[DEFAULT]\n{}", api_key(key, value));
        assert_eq!(refused(&text, "DEFAULT"), format!("profile [DEFAULT]: {message}"));
    }
}

#[test]
fn each_problem_says_what_it_is() {
    for (text, message) in [
        ("user=u", "line 1: a key before the first [profile]"),
        ("[A]\nuser=u\nUSER=v", "line 3: `user` occurs twice in [A]"),
        ("[A]\n[A]", "line 2: profile [A] occurs twice"),
        ("[A]\nuser", "line 2: expected `key = value`, [profile] or a comment"),
        ("[A]\n=u", "line 2: a value without a key"),
        ("[A]\n[]", "line 2: expected `key = value`, [profile] or a comment"),
        (
            "\u{feff}[A]",
            "line 1: the file begins with a byte order mark (BOM), which the OCI SDKs refuse, too: save it as UTF-8 without BOM",
        ),
    ] {
        assert_eq!(ConfigFile::parse(text).unwrap_err().to_string(), message);
    }
    assert_eq!(refused("[A]", "B"), "there is no profile [B]; there are: A");
    assert_eq!(
        refused("[A]", "DEFAULT"),
        "there is no profile [DEFAULT]; there are: A; name one in `oci.auth`, as `profile`"
    );
    assert_eq!(refused("", "DEFAULT"), "there is no profile [DEFAULT]; the file has none");
    assert_eq!(refused("[DEFAULT]", "DEFAULT"), "profile [DEFAULT] has no `fingerprint`, which an API key needs");
    assert_eq!(
        refused(&format!("[DEFAULT]\nfingerprint={FINGERPRINT}\ntenancy="), "DEFAULT"),
        "profile [DEFAULT] has no `tenancy`, which an API key needs"
    );
    let content = refused(&format!("[DEFAULT]\n{}key_content=-----BEGIN\n  x\n", api_key("", "")), "DEFAULT");
    assert!(
        content.starts_with("profile [DEFAULT] has `key_content` in line 7, which the OCI SDKs refuse"),
        "{content}"
    );
}

#[test]
fn a_session_needs_a_token_and_no_user() {
    let file = ConfigFile::parse(
        "[DEFAULT]\nkey_file=/k.pem\npass_phrase=hidden\n[S]\nsecurity_token_file=/t\n[U]\nsecurity_token_file=/t\nuser=u\n",
    )
    .unwrap();
    assert_eq!((file.is_session("S"), file.is_session("U"), file.is_session("DEFAULT")), (true, false, false));
    let session = file.session("S").unwrap();
    assert_eq!((session.token_file, session.key.path.clone()), (PathBuf::from("/t"), PathBuf::from("/k.pem")));
    assert_eq!(session.token_named_by, "`security_token_file` of profile [S] (line 5)");
    assert!(session.key.passphrase.is_some());
    assert!(!format!("{file:?} {:?}", session.key).contains("hidden"));
    assert_eq!(
        file.session("DEFAULT").unwrap_err().to_string(),
        "profile [DEFAULT] has no `security_token_file`, which a session token needs"
    );
}

proptest! {
    #[test]
    fn never_panics(text in "([\\[\\]=:#; a-zA-Z\t]{0,8}\n){0,8}") {
        if let Ok(file) = ConfigFile::parse(&text) {
            let _ = file.api_key("a");
        }
    }
}

#[test]
fn an_empty_region_is_none() {
    let file = ConfigFile::parse(&format!("[DEFAULT]\n{}", api_key("region", ""))).unwrap();
    assert_eq!(file.api_key("DEFAULT").unwrap().region, None);
}
