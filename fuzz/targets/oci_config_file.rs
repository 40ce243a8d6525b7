//! `~/.oci/config`: nothing is read that is not written there.
//!
//! Input: the text of a file.
#![no_main]

use depthgauge::oci::config_file::{ConfigFile, ConfigFileError, DEFAULT_PROFILE};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let file = match ConfigFile::parse(text) {
        Ok(file) => file,
        Err(ConfigFileError::Syntax { line, .. }) => {
            assert!((1..=text.lines().count()).contains(&line), "line {line} of {text:?}");
            return;
        }
        Err(other) => panic!("parsing reads no file and no profile: {other}"),
    };
    let names = text.split(['[', ']', '\n']).chain([DEFAULT_PROFILE]);
    for name in names.take(32) {
        for key in ["user", "tenancy", "fingerprint", "region"] {
            let Some(value) = file.value(name, key) else { continue };
            // The first line of several may be empty, as with the SDK.
            assert!(value.lines().all(|line| line.trim() == line), "{key} of {name:?}: {value:?}");
            assert!(value.lines().all(|line| text.contains(line)), "{key} of {name:?} is not in {text:?}");
        }
        if let Ok(profile) = file.api_key(name) {
            assert_eq!(file.value(name, "tenancy"), Some(profile.tenancy.as_str()));
            assert_eq!(file.value(name, "user"), Some(profile.user.as_str()));
            assert!(!profile.tenancy.is_empty() && !profile.user.is_empty() && profile.key.path != *"");
            let pairs: Vec<&str> = profile.fingerprint.split(':').collect();
            assert!(pairs.len() == 16 && pairs.iter().all(|pair| u8::from_str_radix(pair, 16).is_ok()));
        }
    }
});
