//! `~/.oci/config`: the profiles of the OCI SDKs and CLI.
//!
//! Every profile inherits from `[DEFAULT]`, as in the official SDK. What the SDK refuses is refused
//! here, with the key, its line and the cause; [`text`] has the rules of the format.

use std::fmt;
use std::path::{Path, PathBuf};

use super::environment::Environment;
use super::key::{Passphrase, has_comment};
use text::{Sections, Value};

mod text;

/// The profile that is meant when none is named; it always exists.
pub const DEFAULT_PROFILE: &str = "DEFAULT";

/// All profiles of a file, each with what it inherits.
pub struct ConfigFile {
    sections: Sections,
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
    /// What names it, like [`KeyFile::named_by`].
    pub token_named_by: String,
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
    /// What names it: "`key_file` of profile \[DEFAULT] (line 4)".
    pub named_by: String,
    /// What protects it, if the profile names it.
    pub passphrase: Option<Passphrase>,
}

/// A profile of a file that is used for one method.
struct Profile<'f> {
    file: &'f ConfigFile,
    name: &'f str,
    /// `an API key`
    method: &'static str,
}

/// What is wrong with a file or a profile.
#[derive(Debug, thiserror::Error)]
pub enum ConfigFileError {
    /// Not readable.
    #[error("cannot be read: {source}")]
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
    #[error("there is no profile [{profile}]; {others}{note}")]
    NoProfile {
        /// Its name.
        profile: String,
        /// The profiles that there are.
        others: String,
        /// Why it is absent, if that is known.
        note: String,
    },
    /// A key that signing needs is absent.
    #[error("profile [{profile}] has no `{key}`, which {method} needs{note}")]
    Missing {
        /// The profile's name.
        profile: String,
        /// The key's name.
        key: &'static str,
        /// What cannot do without it: `an API key`.
        method: &'static str,
        /// Why it is absent, if that is known.
        note: String,
    },
    /// A value that cannot be right.
    #[error("profile [{profile}]: {fault}")]
    Malformed {
        /// The profile's name.
        profile: String,
        /// What is wrong, with key and line.
        fault: String,
    },
    /// The key itself, which the SDKs refuse in a file.
    #[error(
        "profile [{profile}] has `key_content` in line {line}, which the OCI SDKs refuse in a file: write the key to a file of its own, and name it by `key_file`"
    )]
    KeyContent {
        /// The profile's name.
        profile: String,
        /// Where it is.
        line: usize,
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
        Ok(Self { sections: text::parse(text)? })
    }

    /// What signing with the API key of a profile needs.
    pub fn api_key(&self, profile: &str) -> Result<ApiKeyProfile, ConfigFileError> {
        let profile = self.profile(profile, "an API key")?;
        let fingerprint =
            profile.required("fingerprint", is_fingerprint, "16 pairs of lower-case hex digits with colons between")?;
        let tenancy = profile.required("tenancy", is_ocid, "an OCID (ocid1.tenancy.oc1..UNIQUE_ID)")?;
        let user = profile.required("user", is_ocid, "an OCID (ocid1.user.oc1..UNIQUE_ID)")?;
        Ok(ApiKeyProfile {
            tenancy: tenancy.text.clone(),
            user: user.text.clone(),
            fingerprint: fingerprint.text.clone(),
            key: profile.key()?,
            region: profile.region()?,
        })
    }

    /// What signing with the session token of a profile needs.
    pub fn session(&self, profile: &str) -> Result<SessionProfile, ConfigFileError> {
        let profile = self.profile(profile, "a session token")?;
        let (token_file, token_named_by) = profile.file("security_token_file")?;
        Ok(SessionProfile { token_file, token_named_by, key: profile.key()?, region: profile.region()? })
    }

    /// Whether a profile is a session and no user's API key.
    pub fn is_session(&self, profile: &str) -> bool {
        self.found(profile, "security_token_file").is_some() && self.found(profile, "user").is_none()
    }

    /// A key of a profile, its own or inherited.
    pub fn value(&self, profile: &str, key: &str) -> Option<&str> {
        self.found(profile, key).map(|value| value.text.as_str())
    }

    fn found(&self, profile: &str, key: &str) -> Option<&Value> {
        let of = |section: &str| self.sections.get(section).and_then(|entries| entries.get(key));
        of(profile).or_else(|| of(DEFAULT_PROFILE))
    }

    fn profile<'f>(&'f self, name: &'f str, method: &'static str) -> Result<Profile<'f>, ConfigFileError> {
        if !self.sections.contains_key(name) {
            let names: Vec<&str> = self.sections.keys().map(String::as_str).collect();
            return Err(ConfigFileError::NoProfile {
                profile: name.to_owned(),
                others: match names.as_slice() {
                    [] => "the file has none".to_owned(),
                    names => format!("there are: {}", names.join(", ")),
                },
                note: match text::swallowed(&self.sections, |line| text::begins(line, name)) {
                    // The name that applies when the config names none.
                    note if note.is_empty() && name == DEFAULT_PROFILE && !names.is_empty() => {
                        "; name one in `oci.auth`, as `profile`".to_owned()
                    }
                    note => note,
                },
            });
        }
        if let Some(value) = self.found(name, "key_content") {
            return Err(ConfigFileError::KeyContent { profile: name.to_owned(), line: value.line });
        }
        Ok(Profile { file: self, name, method })
    }
}

// === impl Profile ===

impl Profile<'_> {
    fn required(
        &self,
        key: &'static str,
        is_well_formed: fn(&str) -> bool,
        expected: &str,
    ) -> Result<&Value, ConfigFileError> {
        let value = self.file.found(self.name, key).filter(|value| !value.text.is_empty());
        let value = value.ok_or_else(|| ConfigFileError::Missing {
            profile: self.name.to_owned(),
            key,
            method: self.method,
            note: text::swallowed(&self.file.sections, |line| text::sets(line, key)),
        })?;
        self.well_formed(value, key, is_well_formed, expected).map(|()| value)
    }

    fn well_formed(
        &self,
        value: &Value,
        key: &str,
        is_well_formed: fn(&str) -> bool,
        expected: &str,
    ) -> Result<(), ConfigFileError> {
        let fault = value.fault(key, is_well_formed, expected);
        let malformed = |fault| Err(ConfigFileError::Malformed { profile: self.name.to_owned(), fault });
        fault.map_or(Ok(()), malformed)
    }

    /// A path, and what names it. A path may have any characters.
    fn file(&self, key: &'static str) -> Result<(PathBuf, String), ConfigFileError> {
        let path = self.required(key, |_| true, "a path")?;
        Ok((expand_home(&path.text), format!("`{key}` of profile [{}] ({})", self.name, path.place())))
    }

    fn key(&self) -> Result<KeyFile, ConfigFileError> {
        let (path, named_by) = self.file("key_file")?;
        let phrase = self.file.found(self.name, "pass_phrase");
        if let Some(phrase) = phrase {
            self.well_formed(phrase, "pass_phrase", |_| true, "a passphrase")?;
        }
        Ok(KeyFile { path, named_by, passphrase: phrase.map(|phrase| Passphrase::new(&phrase.text)) })
    }

    fn region(&self) -> Result<Option<String>, ConfigFileError> {
        let Some(region) = self.file.found(self.name, "region").filter(|region| !region.text.is_empty()) else {
            return Ok(None);
        };
        self.well_formed(region, "region", |text| !has_comment(text), "a region")?;
        Ok(Some(region.text.clone()))
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

/// The shape that the SDK checks, which is the same for tenancies and users.
fn is_ocid(text: &str) -> bool {
    let parts: Vec<&str> = text.split(['.', ':']).collect();
    let legal = |part: &&str| part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    let ends = [parts.first(), parts.last()];
    parts.len() >= 5 && ends.iter().all(|end| end.is_some_and(|part| !part.is_empty())) && parts.iter().all(legal)
}

fn is_fingerprint(text: &str) -> bool {
    let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    text.split(':').count() == 16 && text.split(':').all(|pair| pair.len() == 2 && pair.bytes().all(hex))
}

#[cfg(test)]
mod tests;
