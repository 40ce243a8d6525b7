//! Which host serves a region: the table of regions, short codes, realms and domains.
//!
//! Pure. Data in `regions.tsv`; a region that it does not list is where the environment
//! [declares](super::declared) it to be.

use super::endpoint::Endpoint;

/// One line of the table.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Region {
    /// `eu-frankfurt-1`
    pub name: &'static str,
    /// `fra`
    pub code: &'static str,
    /// Second-level domain of its realm: `oraclecloud.com`
    pub domain: &'static str,
}

/// The home of a principal, or of its queues, from its platform or the environment.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Home {
    /// A region's name or short code, in lower case; not necessarily one of the table. One with
    /// a dot is a whole domain.
    pub region: String,
    /// Second-level domain of its realm, if it was given.
    pub domain: Option<String>,
}

impl Region {
    /// The region of this name or short code, in any case.
    pub fn find(text: &str) -> Option<Self> {
        let wanted = text.to_ascii_lowercase();
        table().find(|region| region.name == wanted || region.code == wanted)
    }

    /// The region of an endpoint, which is a region's control plane (`messaging.REGION.oci.…`) or a queue's
    /// own messages endpoint there (`CELL.queue.messaging.REGION.oci.…`), if the table has it.
    pub fn at(endpoint: &Endpoint) -> Option<Self> {
        let mut labels = endpoint.host()?.split('.').skip_while(|label| *label != "messaging");
        Self::find(labels.nth(1)?)
    }

    /// The control plane of Queue: `https://messaging.eu-frankfurt-1.oci.oraclecloud.com`.
    pub fn queue_control_plane(&self) -> String {
        format!("https://messaging.{}.oci.{}", self.name, self.domain)
    }
}

// === impl Home ===

impl Home {
    /// The control plane of Queue there; nothing where no host can be.
    pub fn queue_control_plane(&self) -> Option<String> {
        let (region, domain) = self.resolve()?;
        somewhere(match domain {
            Some(domain) => format!("https://messaging.{region}.oci.{domain}"),
            None => format!("https://messaging.{region}"),
        })
    }

    /// The service there that changes an instance's certificate for a session: without `.oci.`,
    /// unlike every other.
    pub(super) fn federation(&self) -> Option<String> {
        let (region, domain) = self.resolve()?;
        somewhere(match domain {
            Some(domain) => format!("https://auth.{region}.{domain}"),
            None => format!("https://auth.{region}"),
        })
    }

    /// Name of the region and domain of its realm, from the table, otherwise as given; both fit for
    /// a host name. A region that is a domain has no other.
    fn resolve(&self) -> Option<(&str, Option<&str>)> {
        let (region, domain) = match Region::find(&self.region) {
            Some(region) => (region.name, Some(region.domain)),
            None => (self.region.as_str(), self.domain.as_deref()),
        };
        let known = domain.is_some() || region.contains('.');
        (known && is_host(region) && domain.is_none_or(is_host)).then_some((region, domain))
    }
}

/// Nothing where the rules for URLs see something else than a host name of these labels. For these
/// rules, `1.80` at its end is an address, and `xn--` begins what is not ASCII.
fn somewhere(place: String) -> Option<String> {
    Some(place).filter(|place| place.parse::<Endpoint>().is_ok_and(|endpoint| endpoint.to_string() == *place))
}

/// Whether a text is labels of a host name with dots between.
fn is_host(text: &str) -> bool {
    let legal = |label: &str| !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    // Names are 253 characters at most, and `messaging.` and `.oci.` are still to come.
    text.len() <= 200 && text.split('.').all(legal)
}

fn table() -> impl Iterator<Item = Region> {
    let lines = include_str!("regions.tsv").lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| {
        let mut fields = line.split('\t');
        let (name, code, _realm, domain) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        Some(Region { name, code, domain })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_region_is_asked() {
        for (text, region) in [
            ("https://messaging.eu-frankfurt-1.oci.oraclecloud.com", Some("fra")),
            ("https://cell-1.queue.messaging.us-ashburn-1.oci.oraclecloud.com", Some("iad")),
            ("https://messaging.nowhere-1.oci.oraclecloud.com", None),
            ("https://eu-frankfurt-1.example.com", None),
            ("https://messaging", None),
            ("http://127.0.0.1:8080", None),
        ] {
            assert_eq!(Region::at(&text.parse().unwrap()).map(|found| found.code), region, "{text}");
        }
    }

    #[test]
    fn a_region_that_can_be_no_host_is_nowhere() {
        for region in ["1.80", "a.0x1", "xn--.example", "a..b", "a b.example", ""] {
            let home = Home { region: region.to_owned(), domain: None };
            assert_eq!((home.queue_control_plane(), home.federation()), (None, None), "{region}");
        }
        let own = Home { region: "cloud.example".to_owned(), domain: None };
        assert_eq!(own.queue_control_plane().as_deref(), Some("https://messaging.cloud.example"));
    }

    #[test]
    fn regions_by_name_and_code() {
        let frankfurt = Region::find("FRA").unwrap();
        assert_eq!(frankfurt, Region::find("eu-frankfurt-1").unwrap());
        assert_eq!(frankfurt.queue_control_plane(), "https://messaging.eu-frankfurt-1.oci.oraclecloud.com");
        let frankfurt_sovereign = table().find(|region| region.domain == "oraclecloud.eu").unwrap();
        assert!(frankfurt_sovereign.queue_control_plane().ends_with(".oci.oraclecloud.eu"));
        assert_eq!(table().count(), 85);
        assert_eq!(Region::find("atlantis-1"), None);
        assert_eq!(Region::find(""), None);
        // The heading of the table is no line of it.
        assert_eq!(Region::find("# region"), None);
        assert_eq!(Region::find("short code"), None);
    }

    #[test]
    fn a_home_that_the_table_does_not_know_is_where_its_platform_says() {
        let home = |region: &str, domain: Option<&str>| {
            Home { region: region.to_owned(), domain: domain.map(str::to_owned) }.queue_control_plane()
        };
        let frankfurt = "https://messaging.eu-frankfurt-1.oci.oraclecloud.com";
        assert_eq!(home("fra", Some("example.com")).as_deref(), Some(frankfurt));
        let atlantis = "https://messaging.atlantis-1.oci.oraclecloud99.com";
        assert_eq!(home("atlantis-1", Some("oraclecloud99.com")).as_deref(), Some(atlantis));
        assert_eq!(home("atlantis-1", None), None);
        assert_eq!(home("example.com", None).as_deref(), Some("https://messaging.example.com"));
        for (region, domain) in [("a/b", Some("c.com")), ("", Some("c.com")), ("a", Some("c@d")), ("a..b", None)] {
            assert_eq!(home(region, domain), None, "{region} {domain:?}");
        }
    }
}
