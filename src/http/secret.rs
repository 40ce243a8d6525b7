//! Files with one secret each.

use std::path::Path;

use crate::watched::Reading;

/// The content of a file.
pub(super) fn content(reading: &mut Reading, file: &Path) -> Result<Vec<u8>, String> {
    reading.read(file).map_err(|error| wrong(file, &error.to_string()))
}

/// The text of a file, without line feeds at its end. No error message contains any of it.
pub(super) fn read(reading: &mut Reading, file: &Path) -> Result<String, String> {
    text(reading, file, |text| text.trim_end_matches(['\r', '\n']))
}

/// The same without blanks at both ends, where the secret has none.
pub fn trimmed(reading: &mut Reading, file: &Path) -> Result<String, String> {
    text(reading, file, str::trim)
}

fn text(reading: &mut Reading, file: &Path, trim: fn(&str) -> &str) -> Result<String, String> {
    let text = String::from_utf8(content(reading, file)?).map_err(|_| wrong(file, "it is not UTF-8"))?;
    let text = trim(&text);
    if text.is_empty() { Err(wrong(file, "it is empty")) } else { Ok(text.to_owned()) }
}

/// What is wrong with a file.
pub fn wrong(file: &Path, what: &str) -> String {
    format!("file {}: {what}", file.display())
}
