//! `emulate`: the OCI Queue emulator alone.

use std::iter;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context as _, Result};
use depthgauge_emulator::keys::VerifyingKey;
use depthgauge_emulator::profile::Profile;
use depthgauge_emulator::queue_id::QueueId;
use depthgauge_emulator::{Emulator, Options};

use self::wave::Wave;
use super::failure::Failure;
use super::{clock, listen, output, stop_signal};
use crate::metric::is_label_value;

mod wave;

/// The default, for a first try.
const DEFAULT_QUEUE: &str = "orders=ocid1.queue.oc1.eu-frankfurt-1.emulated";
/// Of the made-up profile; no request goes to the region itself.
const REGION: &str = "eu-frankfurt-1";

const EXAMPLES: &str = "\
Examples:
  depthgauge emulate
  depthgauge emulate --address 127.0.0.1:0 --wave 20/2m";

/// Run an emulator of OCI Queue on a local port
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Args {
    /// Address to listen on; port 0 chooses a free one
    #[arg(long, env = "DEPTHGAUGE_ADDRESS", default_value = "127.0.0.1:0", value_name = "IP:PORT", value_parser = super::socket_address)]
    address: SocketAddr,
    /// Display name and OCID of a queue; may repeat
    #[arg(long = "queue", env = "DEPTHGAUGE_QUEUE", default_value = DEFAULT_QUEUE, value_name = "NAME=OCID", value_delimiter = ',')]
    queues: Vec<QueueArg>,
    /// Accepted API key: TENANCY/USER/FINGERPRINT and a PEM file; may repeat [default: a new key, in an
    /// OCI config whose path is printed]
    #[arg(long = "key", env = "DEPTHGAUGE_KEY", value_name = "KEYID=PEMFILE", value_delimiter = ',')]
    keys: Vec<KeyArg>,
    /// How long a delivered message stays hidden
    #[arg(long, env = "DEPTHGAUGE_VISIBILITY", default_value = "30s", value_name = "DURATION", value_parser = super::duration)]
    visibility: Duration,
    /// Deliveries before a message is a dead letter; 0 is unlimited
    #[arg(long, env = "DEPTHGAUGE_DEAD_LETTER_AFTER", default_value = "0", value_name = "N", value_parser = deliveries)]
    dead_letter_after: u32,
    /// Directory for the new key and its OCI config, which are kept [default: a temporary directory]
    #[arg(long, env = "DEPTHGAUGE_PROFILE_DIR", value_name = "DIR", conflicts_with = "keys")]
    profile_dir: Option<PathBuf>,
    /// Sample load: N messages in each queue during the second half of each DURATION
    #[arg(long, env = "DEPTHGAUGE_WAVE", value_name = "N/DURATION")]
    wave: Option<Wave>,
}

#[derive(Clone, Debug)]
struct QueueArg {
    name: String,
    id: QueueId,
}

#[derive(Clone, Debug)]
struct KeyArg {
    key_id: String,
    file: PathBuf,
}

// === impl Args ===

impl Args {
    pub(super) async fn run(self) -> Result<()> {
        let Self { address, queues, keys, visibility, dead_letter_after, profile_dir, wave } = self;
        // Before there are files to delete.
        let stop = stop_signal()?;
        let queues = distinct(queues)?;
        let mut known = Vec::new();
        for KeyArg { key_id, file } in keys {
            let pem = std::fs::read_to_string(&file).with_context(|| format!("key file {}", file.display()))?;
            let key = VerifyingKey::from_pem(&pem).with_context(|| format!("key file {}", file.display()))?;
            known.push((key_id, key));
        }
        // Kept until the end: its file is what callers sign with.
        let temporary = match &profile_dir {
            None if known.is_empty() => Some(tempfile::Builder::new().prefix("depthgauge-oci-").tempdir()?),
            _ => None,
        };
        // Before it listens: a client that waits for the port finds the profile.
        let dir = profile_dir.as_deref().or(temporary.as_ref().map(tempfile::TempDir::path));
        let profile = dir.map(make_profile).transpose()?;
        let listener = listen(address, "--address").await?;
        let mut head = format!("OCI Queue emulator on http://{}\n", listener.local_addr()?);
        if let Some(profile) = profile {
            let line = tried_by(&profile, listener.local_addr()?, &queues)?;
            let lines = iter::once(format!("OCI config {}", profile.config_file.display())).chain(line);
            head.extend(lines.map(|line| line + "\n"));
            known.push((profile.key_id, profile.key));
        }
        head.extend(queues.iter().map(|(name, id)| format!("queue {name} {id}\n")));
        output::print(&head);
        let emulator = Emulator::new(Options { visibility, dead_letter_after, queues, keys: known }, clock);
        let load = async {
            match wave {
                Some(wave) => wave.roll(&emulator).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            served = emulator.serve(listener, stop) => served.context("the emulator failed"),
            never = load => match never {},
        }
    }
}

/// From this machine: over plain HTTP depthgauge reads only there.
fn reached_at(listening: SocketAddr) -> Option<SocketAddr> {
    let ip = match listening.ip() {
        ip if ip.is_loopback() => ip,
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        _ => return None,
    };
    Some(SocketAddr::new(ip, listening.port()))
}

/// Writes a config of depthgauge beside the profile: these queues, in every namespace. Returns the
/// command that reads with it; `None` if there is none.
fn tried_by(profile: &Profile, listening: SocketAddr, queues: &[(String, QueueId)]) -> Result<Option<String>> {
    // The emulator takes any name, and a config those that can be label values.
    let named = queues.iter().filter(|(name, _)| is_label_value(name));
    let queues: Vec<_> = named.map(|(name, id)| (name.as_str(), id.as_str())).collect();
    let (Some(address), Some((name, _))) = (reached_at(listening), queues.first()) else { return Ok(None) };
    let config = profile.config(address, &queues, "*");
    let file = profile.config_file.with_file_name("depthgauge.yaml");
    std::fs::write(&file, format!("{config:#}\n")).with_context(|| format!("cannot write {}", file.display()))?;
    Ok(Some(format!("depthgauge get oci_queue_length -l queue={name} --config '{}'", file.display())))
}

fn make_profile(dir: &Path) -> Result<Profile> {
    let made = std::fs::create_dir_all(dir).and_then(|()| Profile::make(dir, REGION));
    made.with_context(|| format!("cannot put an OCI profile into {}", dir.display()))
}

fn distinct(queues: Vec<QueueArg>) -> Result<Vec<(String, QueueId)>> {
    let mut distinct: Vec<(String, QueueId)> = Vec::new();
    for QueueArg { name, id } in queues {
        if distinct.iter().any(|(other, other_id)| *other == name || *other_id == id) {
            return Err(Failure::usage(format!("--queue {name}={id}: duplicate name or OCID")).into());
        }
        distinct.push((name, id));
    }
    Ok(distinct)
}

fn deliveries(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| format!("write a whole number from 0 to {}", u32::MAX))
}

impl FromStr for QueueArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, id) = text.split_once('=').ok_or("write NAME=OCID")?;
        let id = id.parse().map_err(|error| format!("{error}"))?;
        Ok(Self { name: name.to_owned(), id })
    }
}

impl FromStr for KeyArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (key_id, file) = text.split_once('=').ok_or("write KEYID=PEMFILE")?;
        Ok(Self { key_id: key_id.to_owned(), file: file.into() })
    }
}
