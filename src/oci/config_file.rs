//! `~/.oci/config`: the profiles of the OCI SDKs and CLI.
//!
//! Read as the official SDK reads it, which is Python's configparser without interpolation:
//! `=` or `:` as delimiter, keys in lower case, values stripped, comments only on lines of
//! their own (what follows a value on its line is part of it), indented lines continue a value,
//! every profile inherits from `[DEFAULT]`, and a duplicate key or section is an error.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use super::environment::Environment;
use super::key::Passphrase;

/// The profile that is meant when none is named; it always exists.
pub const DEFAULT_PROFILE: &str = "DEFAULT";

/// All profiles of a file, each with what it inherits.
pub struct ConfigFile {
    sections: BTreeMap<String, BTreeMap<String, String>>,
}

/// The part of a profile that signing with an API key needs.
#[derive(Debug)]
pub struct ApiKeyProfile {
    /// OCID of the tenancy.
    pub tenancy: String,
    /// OCID of the user.
    pub user: String,
    /// Of the public key: MD5 in lower-case hex with colons.
    pub fingerprint: String,
    /// Where the private key is.
    pub key: KeyFile,
    /// Home region of requests that name no other.
    pub region: Option<String>,
}

/// The part of a profile that signing with a session token needs: what `oci session
/// authenticate` writes.
#[derive(Debug)]
pub struct SessionProfile {
    /// Where the token is; `~` already expanded.
    pub token_file: PathBuf,
    /// Where the private key is that the token was made for.
    pub key: KeyFile,
    /// Home region of requests that name no other.
    pub region: Option<String>,
}

/// Where a private key is.
#[derive(Debug)]
pub struct KeyFile {
    /// `~` already expanded.
    pub path: PathBuf,
    /// What protects it, if the profile says anything.
    pub passphrase: Option<Passphrase>,
}

/// What is wrong with a file or a profile.
#[derive(Debug, thiserror::Error)]
pub enum ConfigFileError {
    /// Not readable.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Not the format.
    #[error("line {line}: {problem}")]
    Syntax {
        /// Counted from 1.
        line: usize,
        /// What is wrong and how to write it.
        problem: String,
    },
    /// No such profile.
    #[error("there is no profile [{0}]; there are: {1}")]
    NoProfile(String, String),
    /// A key that signing needs is absent.
    #[error("profile [{profile}] has no `{key}`, which {method} needs")]
    Missing {
        /// The profile's name.
        profile: String,
        /// The key's name.
        key: &'static str,
        /// What cannot do without it: `an API key`.
        method: &'static str,
    },
    /// The fingerprint is not in the form that the service compares.
    #[error(
        "profile [{profile}]: fingerprint {fingerprint:?} is malformed: 16 pairs of lower-case hex digits with colons between"
    )]
    Fingerprint {
        /// The profile's name.
        profile: String,
        /// As written.
        fingerprint: String,
    },
}

// === impl ConfigFile ===

impl ConfigFile {
    /// Reads and parses a file.
    pub fn read(path: &Path) -> Result<Self, ConfigFileError> {
        let text =
            std::fs::read_to_string(path).map_err(|source| ConfigFileError::Read { path: path.to_owned(), source })?;
        Self::parse(&text)
    }

    /// Parses the text of a file.
    pub fn parse(text: &str) -> Result<Self, ConfigFileError> {
        let mut sections: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
        let mut section: Option<String> = None;
        let mut last_key: Option<String> = None;
        for (at, raw) in text.lines().enumerate() {
            let syntax = |problem: String| ConfigFileError::Syntax { line: at + 1, problem };
            let line = raw.trim();
            if line.is_empty() || line.starts_with(['#', ';']) {
                continue;
            }
            let current = section.as_ref().and_then(|name| sections.get_mut(name));
            if raw.starts_with([' ', '\t'])
                && let (Some(entries), Some(key)) = (current, &last_key)
            {
                if let Some(value) = entries.get_mut(key) {
                    value.push('\n');
                    value.push_str(line);
                }
                continue;
            }
            if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.split_once(']')).map(|(name, _)| name) {
                if sections.contains_key(name) {
                    return Err(syntax(format!("profile [{name}] is there twice")));
                }
                sections.insert(name.to_owned(), BTreeMap::new());
                section = Some(name.to_owned());
                last_key = None;
                continue;
            }
            let Some(name) = &section else {
                return Err(syntax("a key before the first [profile]".to_owned()));
            };
            let Some((key, value)) = line.split_once(['=', ':']) else {
                return Err(syntax("expected `key = value`, [profile] or a comment".to_owned()));
            };
            let key = key.trim().to_lowercase();
            if key.is_empty() {
                return Err(syntax("a value without a key".to_owned()));
            }
            let entries = sections.entry(name.clone()).or_default();
            if entries.insert(key.clone(), value.trim().to_owned()).is_some() {
                return Err(syntax(format!("`{key}` is there twice in [{name}]")));
            }
            last_key = Some(key);
        }
        Ok(Self { sections })
    }

    /// A key of a profile, its own or inherited.
    pub fn value(&self, profile: &str, key: &str) -> Option<&str> {
        let of = |section: &str| self.sections.get(section).and_then(|entries| entries.get(key));
        of(profile).or_else(|| of(DEFAULT_PROFILE)).map(String::as_str)
    }

    /// What signing with the API key of a profile needs.
    pub fn api_key(&self, profile: &str) -> Result<ApiKeyProfile, ConfigFileError> {
        let required = |key| self.required(profile, key, "an API key");
        let fingerprint = required("fingerprint")?;
        if !is_fingerprint(&fingerprint) {
            return Err(ConfigFileError::Fingerprint { profile: profile.to_owned(), fingerprint });
        }
        Ok(ApiKeyProfile {
            tenancy: required("tenancy")?,
            user: required("user")?,
            fingerprint,
            key: self.key(profile, &required("key_file")?),
            region: self.region(profile),
        })
    }

    /// What signing with the session token of a profile needs.
    pub fn session(&self, profile: &str) -> Result<SessionProfile, ConfigFileError> {
        let required = |key| self.required(profile, key, "a session token");
        Ok(SessionProfile {
            token_file: expand_home(&required("security_token_file")?),
            key: self.key(profile, &required("key_file")?),
            region: self.region(profile),
        })
    }

    /// Whether a profile is a session and no user's API key.
    pub fn is_session(&self, profile: &str) -> bool {
        self.value(profile, "security_token_file").is_some() && self.value(profile, "user").is_none()
    }

    fn required(&self, profile: &str, key: &'static str, method: &'static str) -> Result<String, ConfigFileError> {
        if profile != DEFAULT_PROFILE && !self.sections.contains_key(profile) {
            let names: Vec<&str> = self.sections.keys().map(String::as_str).collect();
            return Err(ConfigFileError::NoProfile(profile.to_owned(), names.join(", ")));
        }
        let value = self.value(profile, key).filter(|value| !value.is_empty());
        let missing = || ConfigFileError::Missing { profile: profile.to_owned(), key, method };
        value.map(str::to_owned).ok_or_else(missing)
    }

    fn key(&self, profile: &str, path: &str) -> KeyFile {
        KeyFile { path: expand_home(path), passphrase: self.value(profile, "pass_phrase").map(Passphrase::new) }
    }

    fn region(&self, profile: &str) -> Option<String> {
        self.value(profile, "region").filter(|region| !region.is_empty()).map(str::to_owned)
    }
}

impl fmt::Debug for ConfigFile {
    // Not the values: one may be a passphrase.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ConfigFile").field(&self.sections.keys()).finish()
    }
}

/// The default file. An existing `~/.oci/config` wins over `OCI_CONFIG_FILE`, as in the SDK.
pub fn default_path(env: &Environment<'_>) -> PathBuf {
    let home = expand_home("~/.oci/config");
    match env.var("OCI_CONFIG_FILE") {
        Some(named) if !env.exists(&home) => expand_home(&named),
        _ => home,
    }
}

/// `~` at the start becomes the home directory; variables are left alone, as in the SDK.
pub fn expand_home(path: &str) -> PathBuf {
    match (path.strip_prefix("~/"), std::env::home_dir()) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => PathBuf::from(path),
    }
}

fn is_fingerprint(text: &str) -> bool {
    let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    text.split(':').count() == 16 && text.split(':').all(|pair| pair.len() == 2 && pair.bytes().all(hex))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FINGERPRINT: &str = "51:9f:f0:c8:27:72:80:81:d3:3b:7b:fa:14:f8:1c:7d";

    #[test]
    fn profiles_inherit_from_default() {
        let file = ConfigFile::parse(&format!(
            "# comment\n[DEFAULT]\nuser=u\nTenancy : t\nkey_file = /k.pem # not a comment\n\n[OTHER]\n  ; indented comment\nuser = u2\nfingerprint = {FINGERPRINT}\nregion = eu-\n  continued\n"
        ))
        .unwrap();
        let profile = file.api_key("OTHER").unwrap();
        assert_eq!(profile.user, "u2");
        assert_eq!(profile.tenancy, "t");
        assert_eq!(profile.key.path, PathBuf::from("/k.pem # not a comment"));
        assert_eq!(profile.region.as_deref(), Some("eu-\ncontinued"));
    }

    #[test]
    fn each_problem_says_what_it_is() {
        for (text, message) in [
            ("user=u", "line 1: a key before the first [profile]"),
            ("[A]\nuser=u\nUSER=v", "line 3: `user` is there twice in [A]"),
            ("[A]\n[A]", "line 2: profile [A] is there twice"),
            ("[A]\nuser", "line 2: expected `key = value`, [profile] or a comment"),
            ("[A]\n=u", "line 2: a value without a key"),
        ] {
            assert_eq!(ConfigFile::parse(text).unwrap_err().to_string(), message);
        }
        let profile = |text: &str, name: &str| ConfigFile::parse(text).unwrap().api_key(name).unwrap_err().to_string();
        assert_eq!(profile("[A]", "B"), "there is no profile [B]; there are: A");
        assert_eq!(profile("", "DEFAULT"), "profile [DEFAULT] has no `fingerprint`, which an API key needs");
        let upper = FINGERPRINT.to_uppercase();
        assert!(profile(&format!("[DEFAULT]\nfingerprint={upper}"), "DEFAULT").contains("malformed"));
        assert_eq!(
            profile(&format!("[DEFAULT]\nfingerprint={FINGERPRINT}\ntenancy="), "DEFAULT"),
            "profile [DEFAULT] has no `tenancy`, which an API key needs"
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
        let profile = "[DEFAULT]\nuser=u\ntenancy=t\nkey_file=/k\nregion=";
        let file = ConfigFile::parse(&format!("{profile}\nfingerprint={FINGERPRINT}\n")).unwrap();
        assert_eq!(file.api_key("DEFAULT").unwrap().region, None);
    }
}
