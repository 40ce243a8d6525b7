//! The environment of the process, as far as authentication depends on it: variables and existing
//! files. It is an argument, so that tests can set it.

use std::path::Path;

/// What the OCI CLI takes its credentials from, and neither the SDKs nor depthgauge does.
const CLI_VARIABLES: [&str; 11] = [
    "OCI_CLI_AUTH",
    "OCI_CLI_CONFIG_FILE",
    "OCI_CLI_PROFILE",
    "OCI_CLI_REGION",
    "OCI_CLI_TENANCY",
    "OCI_CLI_USER",
    "OCI_CLI_FINGERPRINT",
    "OCI_CLI_KEY_FILE",
    "OCI_CLI_KEY_CONTENT",
    "OCI_CLI_PASSPHRASE",
    "OCI_CLI_SECURITY_TOKEN_FILE",
];

/// Variables and files.
#[derive(Clone, Copy)]
pub struct Environment<'e> {
    var: &'e dyn Fn(&str) -> Option<String>,
    exists: &'e dyn Fn(&Path) -> bool,
}

// === impl Environment ===

impl<'e> Environment<'e> {
    /// These variables and files.
    pub fn new(var: &'e dyn Fn(&str) -> Option<String>, exists: &'e dyn Fn(&Path) -> bool) -> Self {
        Self { var, exists }
    }

    /// Those of this process.
    pub fn of_process() -> Self {
        Self { var: &|name| std::env::var(name).ok(), exists: &Path::exists }
    }

    /// The value of a variable; one that is empty is not set.
    pub fn var(&self, name: &str) -> Option<String> {
        (self.var)(name).filter(|value| !value.is_empty())
    }

    /// The warning about variables that only the OCI CLI reads, if some are set.
    pub fn unread(&self) -> Option<String> {
        let set: Vec<&str> = CLI_VARIABLES.into_iter().filter(|name| self.var(name).is_some()).collect();
        (!set.is_empty()).then(|| {
            format!("only the OCI CLI reads {}: set `oci.auth` and `oci.region`, or OCI_CONFIG_FILE", set.join(", "))
        })
    }

    /// Whether there is such a file.
    pub fn exists(&self, path: &Path) -> bool {
        (self.exists)(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_that_only_the_cli_reads_are_named() {
        let env = |set: &'static [&'static str]| {
            move |name: &str| set.contains(&name).then(|| if name == "OCI_CLI_AUTH" { "" } else { "x" }.to_owned())
        };
        for (set, named) in [
            (&["OCI_CLI_USER", "OCI_CLI_PROFILE"][..], Some("only the OCI CLI reads OCI_CLI_PROFILE, OCI_CLI_USER: ")),
            (&["OCI_CONFIG_FILE", "OCI_REGION", "OCI_CLI_AUTH", "OCI_CLI_RC_FILE"], None),
        ] {
            let unread = Environment::new(&env(set), &|_| false).unread();
            assert_eq!(
                unread.as_deref().map(|text| named.is_some_and(|named| text.starts_with(named))),
                named.map(|_| true)
            );
        }
    }
}
