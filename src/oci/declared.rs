//! Regions that the table does not have: their places as the environment describes them.
//!
//! Places and order are those of the official SDKs. The first is `~/.oci/regions-config.json`, then
//! the variable `OCI_REGION_METADATA`, then (for an instance) its metadata service. Then follow a
//! region with a dot, which is a whole domain, and `OCI_DEFAULT_REALM`. A region of the table is
//! never looked up here, so none can be overridden. Where the SDKs take an unknown region to be one
//! of `oraclecloud.com`, this is an error: it is a typing error far more often than a new region.

use std::path::PathBuf;

use serde::Deserialize;

use super::config_file::expand_home;
use super::environment::Environment;
use super::region::{Home, Region};
use crate::document::json_fault;

const FILE: &str = "~/.oci/regions-config.json";
const VARIABLE: &str = "OCI_REGION_METADATA";
const DEFAULT_REALM: &str = "OCI_DEFAULT_REALM";

/// Why the place of a region is unknown. Each has its remedy.
#[derive(Debug, thiserror::Error)]
pub enum RegionError {
    /// Neither the table nor the environment has it.
    #[error(
        "{0:?} is not a known region; write its name, such as eu-frankfurt-1, or describe one that is new in {VARIABLE}"
    )]
    Unknown(String),
    /// What describes regions cannot be understood.
    #[error("{place}: {problem}; a region is described by {EXAMPLE}")]
    Malformed {
        /// The file or the variable.
        place: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A file that is there and cannot be read.
    #[error("{path}: {source}; make it readable, or remove it", path = path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

const EXAMPLE: &str =
    r#"{"realmKey":"OC1","realmDomainComponent":"oraclecloud.com","regionKey":"SYD","regionIdentifier":"ap-sydney-1"}"#;

/// A region as file and variable describe it; all four keys are required.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Described {
    realm_key: String,
    realm_domain_component: String,
    region_key: String,
    region_identifier: String,
}

/// The place of a region: from the table, otherwise from the environment.
pub fn find(env: &Environment<'_>, text: &str) -> Result<Home, RegionError> {
    if let Some(region) = Region::find(text) {
        return Ok(Home { region: region.name.to_owned(), domain: Some(region.domain.to_owned()) });
    }
    let found = described(env, text)?.or_else(|| guessed(env, text));
    found.ok_or_else(|| RegionError::Unknown(text.to_owned()))
}

/// A region that the file or the variable describes.
pub(super) fn described(env: &Environment<'_>, text: &str) -> Result<Option<Home>, RegionError> {
    let wanted = text.to_ascii_lowercase();
    let path = expand_home(FILE);
    if env.exists(&path) {
        let content = std::fs::read_to_string(&path);
        let content = content.map_err(|source| RegionError::Unreadable { path: path.clone(), source })?;
        let place = path.display().to_string();
        let regions: Vec<Described> = parse(&content, &place)?;
        if let Some(found) = search(&regions, &wanted, &place)? {
            return Ok(Some(found));
        }
    }
    let Some(content) = env.var(VARIABLE) else { return Ok(None) };
    search(&[parse(&content, VARIABLE)?], &wanted, VARIABLE)
}

/// A region that is a domain by itself, or one of the realm that unknown regions belong to.
pub(super) fn guessed(env: &Environment<'_>, text: &str) -> Option<Home> {
    let region = text.to_ascii_lowercase();
    let domain = if region.contains('.') { None } else { Some(env.var(DEFAULT_REALM)?.to_ascii_lowercase()) };
    Some(Home { region, domain }).filter(|home| home.queue_control_plane().is_some())
}

fn parse<'t, T: Deserialize<'t>>(text: &'t str, place: &str) -> Result<T, RegionError> {
    serde_json::from_str(text)
        .map_err(|error| RegionError::Malformed { place: place.to_owned(), problem: json_fault(&error) })
}

fn search(regions: &[Described], wanted: &str, place: &str) -> Result<Option<Home>, RegionError> {
    let mut found = None;
    for Described { realm_key, realm_domain_component, region_key, region_identifier } in regions {
        let all = [realm_key, realm_domain_component, region_key, region_identifier];
        let home = Home {
            region: region_identifier.to_ascii_lowercase(),
            domain: Some(realm_domain_component.to_ascii_lowercase()),
        };
        if all.iter().any(|text| text.is_empty()) || home.queue_control_plane().is_none() {
            let problem =
                format!("region {region_identifier:?} of {realm_domain_component:?} is not a valid host name");
            return Err(RegionError::Malformed { place: place.to_owned(), problem });
        }
        if found.is_none() && (home.region == wanted || region_key.to_ascii_lowercase() == wanted) {
            found = Some(home);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SYDNEY_2: &str = r#"{"realmKey":"OC99","realmDomainComponent":"OracleCloud99.com","regionKey":"SY2","regionIdentifier":"ap-sydney-2"}"#;

    fn found(variables: &[(&str, &str)], region: &str) -> Result<String, String> {
        let var = |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        let home = find(&Environment::new(&var, &|_| false), region).map_err(|error| error.to_string())?;
        Ok(home.queue_control_plane().unwrap())
    }

    #[test]
    fn an_unknown_region_is_where_the_environment_says() {
        let described = (VARIABLE, SYDNEY_2);
        let realm = (DEFAULT_REALM, "oraclecloud77.com");
        for (variables, region, place) in [
            (vec![described], "ap-sydney-2", "https://messaging.ap-sydney-2.oci.oraclecloud99.com"),
            (vec![described, realm], "SY2", "https://messaging.ap-sydney-2.oci.oraclecloud99.com"),
            (vec![described, realm], "ap-hobart-1", "https://messaging.ap-hobart-1.oci.oraclecloud77.com"),
            (vec![described, realm], "Custom.Example.com", "https://messaging.custom.example.com"),
            (vec![], "custom.example.com", "https://messaging.custom.example.com"),
        ] {
            assert_eq!(found(&variables, region).unwrap(), place, "{region}");
        }
    }

    #[test]
    fn a_known_region_cannot_be_overridden() {
        let elsewhere = SYDNEY_2.replace("ap-sydney-2", "eu-frankfurt-1").replace("SY2", "FRA");
        let variables = [(VARIABLE, elsewhere.as_str()), (DEFAULT_REALM, "evil.example.com")];
        for region in ["eu-frankfurt-1", "FRA"] {
            assert_eq!(
                found(&variables, region).unwrap(),
                "https://messaging.eu-frankfurt-1.oci.oraclecloud.com",
                "{region}"
            );
        }
        // It is not even read.
        assert!(found(&[(VARIABLE, "nonsense")], "fra").is_ok());
    }

    #[test]
    fn what_is_wrong_is_said_with_the_remedy() {
        assert_eq!(
            found(&[], "atlantis-1").unwrap_err(),
            "\"atlantis-1\" is not a known region; write its name, such as eu-frankfurt-1, or describe one that is new in OCI_REGION_METADATA"
        );
        let missing = SYDNEY_2.replace("realmKey", "realm");
        let empty = SYDNEY_2.replace("OC99", "");
        let host = SYDNEY_2.replace("OracleCloud99.com", "example.com/x?");
        for bad in ["[]", "x", &missing, &empty, &host] {
            let said = found(&[(VARIABLE, bad)], "ap-sydney-2").unwrap_err();
            assert!(said.starts_with("OCI_REGION_METADATA: ") && said.contains("regionIdentifier"), "{said}");
        }
        let said = found(&[(VARIABLE, "\"s3cr3t\"")], "ap-sydney-2").unwrap_err();
        assert!(said.starts_with("OCI_REGION_METADATA: not the expected JSON at line 1, column 8"), "{said}");
        assert!(!said.contains("s3cr3t"), "{said}");
        for (realm, region) in [("e@vil.com", "atlantis-1"), ("example.com", "at/lantis"), ("example.com", "a..b")] {
            assert!(found(&[(DEFAULT_REALM, realm)], region).is_err(), "{realm} {region}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics_and_what_is_found_is_an_endpoint(content: String, region: String, realm: String) {
            for variable in [VARIABLE, DEFAULT_REALM] {
                let value = if variable == VARIABLE { &content } else { &realm };
                if let Ok(place) = found(&[(variable, value)], &region) {
                    prop_assert!(place.parse::<crate::oci::endpoint::Endpoint>().is_ok(), "{place}");
                }
            }
        }
    }
}
