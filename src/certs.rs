//! The certificate that the server serves. It is issued by a CA of depthgauge, kept where all
//! replicas share it, and renewed long before it expires. Or it is made elsewhere, and read again
//! when it changes.
//!
//! The CA goes into the APIService's `caBundle`, so kube-apiserver trusts this server and nothing
//! else by it. See `docs/explanation/certificates.md` for the trust relations, and [`rotation`] for the rotation of
//! a CA.

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::health::{Reporter, State};
use crate::rbac::LATE;

mod expiry;
mod inspection;
mod issue;
mod lifetimes;
mod own_files;
mod publication;
mod rotation;
mod secret_ref;
mod serving;
mod store;

pub use expiry::Expiry;
pub use inspection::Inspection;
pub use lifetimes::{BadLifetimes, Lifetimes};
pub use publication::Publication;
pub use secret_ref::{BadSecretRef, SecretRef};
pub use serving::{Ca, Serving};

use own_files::OwnFiles;
use rotation::{Held, Rules};
use serving::serving;
use store::Store;
use store::dir::Dir;
use store::secret::SharedSecret;

/// How often changes by other replicas are read, and dates are checked. A retired CA stays in the
/// bundle for much longer.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);
/// How often files of `--tls-cert-file`, and a Secret that could not be read yet, are read.
const LOOK_SOON: Duration = Duration::from_secs(1);
/// Deadline of one call to kube-apiserver, which answers within milliseconds unless it fails.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// Replicas that all write at once: each loses at most to each of the others.
const ATTEMPTS: usize = 5;

/// Keeps the certificate; see [`Certificates::keep`].
pub struct Certificates {
    origin: Origin,
    clock: fn() -> Timestamp,
    publication: Publication,
}

enum Origin {
    Own(Box<Own>),
    Files(OwnFiles),
}

/// A CA of depthgauge.
struct Own {
    store: Store,
    rules: Rules,
    /// What is served. If the store is emptied, kube-apiserver still trusts depthgauge.
    last: Mutex<Option<Held>>,
}

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum CertsError {
    /// A directory, or a file.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A Secret that cannot be read or written now, with the remedy.
    #[error("cannot store certificates in Secret {secret}: {trouble}")]
    Cluster {
        /// Which.
        secret: SecretRef,
        /// Why.
        trouble: String,
    },
    /// A Secret of another owner, which is never overwritten.
    #[error(
        "Secret {0} was not created by depthgauge (it has no label app.kubernetes.io/managed-by: depthgauge) and is not changed: name another with --cert-secret, or delete it"
    )]
    ForeignSecret(SecretRef),
    /// Other replicas write faster than this one reads.
    #[error("other replicas keep changing the certificates at the same time")]
    Contended,
    /// A certificate could not be made.
    #[error("cannot issue a certificate: {0}")]
    Issue(#[from] rcgen::Error),
    /// What was issued or read cannot be served.
    #[error("cannot serve the certificate: {0}")]
    Serve(String),
}

// === impl CertsError ===

impl CertsError {
    /// Whether it may pass without a change of the configuration.
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Cluster { .. } | Self::ForeignSecret(_) | Self::Contended)
    }
}

// === impl Certificates ===

impl Certificates {
    /// A CA of depthgauge, kept in a directory that is created when absent, for a server of these
    /// names; the first is its own.
    pub fn in_dir(
        dir: &Path,
        names: Vec<String>,
        lifetimes: Lifetimes,
        clock: fn() -> Timestamp,
    ) -> Result<Self, CertsError> {
        Ok(Self::own(Store::Dir(Dir::open(dir)?), names, lifetimes, clock))
    }

    /// A CA of depthgauge, shared by all replicas through this Secret.
    pub fn in_secret(
        client: kube::Client,
        secret: SecretRef,
        names: Vec<String>,
        lifetimes: Lifetimes,
        clock: fn() -> Timestamp,
    ) -> Self {
        Self::own(Store::Secret(Box::new(SharedSecret::new(client, secret))), names, lifetimes, clock)
    }

    /// A certificate and a key from other files, in PEM.
    pub fn in_files(certificate: PathBuf, key: PathBuf, clock: fn() -> Timestamp) -> Self {
        let origin = Origin::Files(OwnFiles::new(certificate, key));
        Self { origin, clock, publication: Publication::default() }
    }

    fn own(store: Store, names: Vec<String>, lifetimes: Lifetimes, clock: fn() -> Timestamp) -> Self {
        let rules = Rules { names, serving_lifetime: lifetimes.serving, ca_lifetime: lifetimes.ca };
        let own = Own { store, rules, last: Mutex::default() };
        Self { origin: Origin::Own(Box::new(own)), clock, publication: Publication::default() }
    }

    /// For the task that publishes the CA.
    pub fn publication(&self) -> Publication {
        self.publication.clone()
    }

    /// The certificate to serve now: the current one while it is valid for long enough, otherwise a
    /// new one, kept before it is served.
    pub async fn current(&self) -> Result<Serving, CertsError> {
        // Before it is read: what others write from now on may be missed.
        let looked_at = Instant::now();
        let current = match &self.origin {
            Origin::Files(files) => serving(&files.read()?, Ca::Foreign)?,
            Origin::Own(own) => self.own_current(own).await?,
        };
        Ok(Serving { looked_at, ..current })
    }

    /// The state of a certificate that is served, with the failure to get the next, if any.
    pub fn state(&self, serving: &Serving, trouble: Option<&str>) -> State {
        let expired = serving.expires <= (self.clock)();
        let (because, trouble) = (if trouble.is_some() { ": " } else { "" }, trouble.unwrap_or_default());
        match (&serving.ca, expired) {
            (Ca::Nobody, _) => State::Failed(format!("no certificate yet{because}{trouble}")),
            (_, true) => State::Failed(format!("the certificate expired at {:.0}{because}{trouble}", serving.expires)),
            (_, false) if trouble.is_empty() => State::Ok,
            (_, false) => State::Degraded(format!("the certificate cannot be renewed: {trouble}")),
        }
    }

    async fn own_current(&self, own: &Own) -> Result<Serving, CertsError> {
        for _ in 0..ATTEMPTS {
            let read = own.store.read().await?;
            let now = (self.clock)();
            let saved = own.last().filter(|last| read.held.is_lost(now) && last.serves(now));
            let is_saved = saved.is_some();
            let before = saved.unwrap_or_else(|| read.held.clone());
            let wanted = before.advance(&own.rules, now, |ca| self.publication.is_known(ca))?;
            if wanted != read.held {
                if !own.store.replace(&read, &wanted).await? {
                    // Another replica was faster: what it wrote counts.
                    continue;
                }
                if is_saved {
                    tracing::warn!("the stored CA and certificate were lost; stored those again that are served");
                }
                for change in changes(&before, &wanted) {
                    tracing::info!("{change}");
                }
            }
            let pair = wanted.serving.as_ref().ok_or_else(|| CertsError::Serve("the CA cannot sign".to_owned()))?;
            let current = serving(pair, Ca::Bundle(wanted.bundle()))?;
            own.serves(wanted);
            return Ok(current);
        }
        Err(CertsError::Contended)
    }

    /// Reads the certificates periodically, and publishes what has changed.
    pub async fn keep(self, held: watch::Sender<Serving>, reporter: Reporter) {
        loop {
            let soon = matches!(self.origin, Origin::Files(_)) || held.borrow().ca == Ca::Nobody;
            tokio::select! {
                () = tokio::time::sleep(if soon { LOOK_SOON } else { LOOK_INTERVAL }) => {}
                () = self.publication.asked_to_read_again() => {}
            }
            let looked = tokio::time::timeout(CALL_TIMEOUT, self.current()).await;
            let trouble = match looked {
                Ok(Ok(current)) => {
                    held.send_if_modified(|held| held.replace(current));
                    None
                }
                Ok(Err(error)) => Some(error.to_string()),
                Err(_) => Some(LATE.to_owned()),
            };
            reporter.report(self.state(&held.borrow(), trouble.as_deref()));
        }
    }
}

// === impl Own ===

impl Own {
    fn last(&self) -> Option<Held> {
        self.last.lock().clone()
    }

    fn serves(&self, held: Held) {
        *self.last.lock() = Some(held);
    }
}

/// What has happened in between, a line of the log each.
fn changes(before: &Held, after: &Held) -> impl Iterator<Item = &'static str> {
    let signs = match before.next {
        Some(_) if after.ca == before.next => {
            "the next CA signs from now on; the previous one stays in the caBundle for up to a day"
        }
        _ => "created a new CA; kube-apiserver trusts it as soon as it is in the caBundle",
    };
    [
        (after.ca != before.ca, signs),
        (
            after.next.is_some() && after.next != before.next,
            "issued the next CA; it signs when it has been in the caBundle for a minute",
        ),
        (after.serving != before.serving, "issued a serving certificate"),
        (before.previous.is_some() && after.previous.is_none(), "removed the previous CA from the caBundle"),
    ]
    .into_iter()
    .filter_map(|(has_happened, line)| has_happened.then_some(line))
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;
    use crate::health::Health;

    fn day(offset: i64) -> Timestamp {
        "2026-11-22T14:00:00Z".parse::<Timestamp>().unwrap() + SignedDuration::from_hours(24 * offset)
    }

    fn lifetimes() -> Lifetimes {
        Lifetimes::default()
    }

    async fn current(dir: &Path, clock: fn() -> Timestamp) -> Serving {
        let names = vec!["depthgauge.depthgauge.svc".to_owned()];
        Certificates::in_dir(dir, names, lifetimes(), clock).unwrap().current().await.unwrap()
    }

    #[tokio::test]
    async fn a_restart_serves_the_same_certificate_until_a_third_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("made-when-absent");
        let first = current(&dir, || day(0)).await;
        assert_eq!(current(&dir, || day(200)).await.certified.cert, first.certified.cert);
        let renewed = current(&dir, || day(250)).await;
        assert_ne!(renewed.certified.cert, first.certified.cert);
        assert_eq!((renewed.ca, renewed.expires), (first.ca, day(250 + 365)));
    }

    #[test]
    fn what_becomes_of_a_ca_is_told_once_and_in_sentences() {
        let rules = Rules {
            names: vec!["localhost".to_owned()],
            serving_lifetime: lifetimes().serving,
            ca_lifetime: lifetimes().ca,
        };
        let life_in_days = lifetimes().ca.as_hours() / 24;
        let (mut held, mut told) = (Held::default(), Vec::new());
        for at in [0, 1, life_in_days - 1, life_in_days - 1, life_in_days] {
            let after = held.advance(&rules, day(at), |_| true).unwrap();
            told.push(
                changes(&held, &after)
                    .map(|line| line.split([';', ' ']).take(4).collect::<Vec<_>>().join(" "))
                    .collect::<Vec<_>>(),
            );
            if after.ca == held.next {
                // One in its place that no client has trusted yet, after a Secret that was lost.
                let lost = Held { next: None, ..held.clone() };
                assert!(changes(&lost, &after).next().unwrap().starts_with("created a new CA;"));
            }
            held = after;
        }
        assert_eq!(
            told,
            [
                &["created a new CA", "issued a serving certificate"][..],
                &[],
                &["issued the next CA", "issued a serving certificate"],
                &["the next CA signs", "issued a serving certificate"],
                &["removed the previous CA"],
            ]
        );
    }

    #[tokio::test]
    async fn a_broken_file_is_made_anew() {
        let dir = tempfile::tempdir().unwrap();
        let first = current(dir.path(), || day(0)).await;
        std::fs::write(dir.path().join("tls.crt"), b"\xff").unwrap();
        let mended = current(dir.path(), || day(0)).await;
        assert_ne!(mended.certified.cert, first.certified.cert);
        assert_eq!(mended.ca, first.ca);
        std::fs::create_dir(dir.path().join("previous-ca.crt")).unwrap();
        let names = vec!["a".to_owned()];
        let error =
            Certificates::in_dir(dir.path(), names, lifetimes(), || day(0)).unwrap().current().await.err().unwrap();
        assert!(matches!(&error, CertsError::File { path, .. } if path.ends_with("previous-ca.crt")), "{error}");
        assert!(!error.may_pass());
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn keys_are_for_their_owner_only() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        current(dir.path(), || day(0)).await;
        for key in ["ca.key", "tls.key"] {
            let mode = std::fs::metadata(dir.path().join(key)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{key}");
        }
    }

    #[tokio::test]
    async fn own_files_are_read_as_they_are_and_must_belong_together() {
        let dir = tempfile::tempdir().unwrap();
        let made = current(dir.path(), || day(0)).await;
        let file = |name: &str| dir.path().join(name);
        let own = |key: &str| Certificates::in_files(file("tls.crt"), file(key), || day(0));
        let read = own("tls.key").current().await.unwrap();
        assert_eq!((read.certified.cert.clone(), read.ca.clone()), (made.certified.cert.clone(), Ca::Foreign));
        assert_eq!(own("tls.key").state(&read, None), State::Ok);
        let late = Certificates::in_files(file("tls.crt"), file("tls.key"), || day(400));
        let expired = late.current().await.unwrap();
        let said = "the certificate expired at 2027-11-22T14:00:00Z";
        assert_eq!(late.state(&expired, None), State::Failed(said.to_owned()), "read well, and of no use");
        for (key, wrong) in [("ca.key", "cannot serve the certificate"), ("absent", "absent: ")] {
            let error = own(key).current().await.err().unwrap();
            assert!(error.to_string().contains(wrong) && !error.may_pass(), "{error}");
        }
        // A key in one line: no message repeats it.
        std::fs::write(file("one-line.key"), "-----BEGIN PRIVATE KEY-----s3cr3t").unwrap();
        let error = own("one-line.key").current().await.err().unwrap().to_string();
        assert_eq!(error, "cannot serve the certificate: no private key in PEM form found");
    }

    #[tokio::test(start_paused = true)]
    async fn own_files_that_change_are_served_soon_and_a_pair_that_does_not_match_is_not() {
        let [mounted, next] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let (first, second) = (current(mounted.path(), || day(0)).await, current(next.path(), || day(0)).await);
        let file = |name: &str| mounted.path().join(name);
        let put = |name: &str| _ = std::fs::copy(next.path().join(name), file(name)).unwrap();
        let certificates = Certificates::in_files(file("tls.crt"), file("tls.key"), || day(0));
        let health = Health::default();
        let (publish, mut served) = watch::channel(certificates.current().await.unwrap());
        tokio::spawn(certificates.keep(publish, health.reporter("certificate", State::Ok)));

        // A Secret's files change one after the other.
        put("tls.crt");
        tokio::time::sleep(LOOK_SOON * 2).await;
        assert_eq!(served.borrow().certified.cert, first.certified.cert);
        let [(_, State::Degraded(said))] = &health.states()[..] else { panic!("{:?}", health.states()) };
        assert!(said.starts_with("the certificate cannot be renewed: cannot serve the certificate"), "{said}");
        put("tls.key");
        tokio::time::timeout(LOOK_SOON * 2, served.changed()).await.unwrap().unwrap();
        assert_eq!(served.borrow().certified.cert, second.certified.cert);
        tokio::time::sleep(LOOK_SOON).await;
        assert_eq!(health.states(), [("certificate", State::Ok)]);
    }
}
