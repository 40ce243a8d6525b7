//! `~/.oci/config`: the profiles of the OCI SDKs and CLI.
//!
//! Read as the official SDK reads it, which is Python's configparser without interpolation:
//! `=` or `:` as delimiter, keys in lower case, values stripped, comments only on lines of
//! their own (what follows a value on its line is part of it), indented lines continue a value,
//! every profile inherits from `[DEFAULT]`, and a duplicate key or section is an error.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The profile that is meant when none is named; it always exists.
pub const DEFAULT_PROFILE: &str = "DEFAULT";

/// All profiles of a file, each with what it inherits.
#[derive(Debug)]
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
    /// Where the private key is; `~` already expanded.
    pub key_file: PathBuf,
    /// Home region of requests that name no other.
    pub region: Option<String>,
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
    #[error("profile [{profile}] has no `{key}`, which an API key needs")]
    Missing {
        /// The profile's name.
        profile: String,
        /// The key's name.
        key: &'static str,
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
        if profile != DEFAULT_PROFILE && !self.sections.contains_key(profile) {
            let names: Vec<&str> = self.sections.keys().map(String::as_str).collect();
            return Err(ConfigFileError::NoProfile(profile.to_owned(), names.join(", ")));
        }
        let required = |key: &'static str| {
            let value = self.value(profile, key).filter(|value| !value.is_empty());
            value.map(str::to_owned).ok_or_else(|| ConfigFileError::Missing { profile: profile.to_owned(), key })
        };
        let fingerprint = required("fingerprint")?;
        if !is_fingerprint(&fingerprint) {
            return Err(ConfigFileError::Fingerprint { profile: profile.to_owned(), fingerprint });
        }
        Ok(ApiKeyProfile {
            tenancy: required("tenancy")?,
            user: required("user")?,
            fingerprint,
            key_file: expand_home(&required("key_file")?),
            region: self.value(profile, "region").map(str::to_owned),
        })
    }
}

/// The default file. An existing `~/.oci/config` wins over `OCI_CONFIG_FILE`, as in the SDK.
pub fn default_path() -> PathBuf {
    let home = expand_home("~/.oci/config");
    match std::env::var_os("OCI_CONFIG_FILE") {
        Some(named) if !home.exists() => expand_home(&named.to_string_lossy()),
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
        assert_eq!(profile.key_file, PathBuf::from("/k.pem # not a comment"));
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

    proptest! {
        #[test]
        fn never_panics(text in "([\\[\\]=:#; a-zA-Z\t]{0,8}\n){0,8}") {
            if let Ok(file) = ConfigFile::parse(&text) {
                let _ = file.api_key("a");
            }
        }
    }
}
