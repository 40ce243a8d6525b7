//! What hack/words reads in Rust. It must find alerts in lines 4, 5, 7, 8, 9, 13, 15, 17, 28 and 33 only.

const QUOTE: char = '"';
const TEXT: &str = "The HPA is told.";
const LINES: &str = "The workload is put to \
    sleep.";
const RAW: &str = r#"The "HPA" is told."#;
const QUOTED: &str = "The \"HPA\" is told";
const FILLED: &str = "{hpa} is told {}";
const CODE: &str = "The code is `is told`.";
const WORD: &str = "told";
const BYTES: &[u8] = b"The HPA is told.";
const CHARACTER: char = '"'; // It is told '"'.

/// The workload is put
/// to sleep.
/// - It is told.
/// - The code is `is
///   told`.
///
/// ```text
/// The HPA is told.
/// ```
fn read() {}

// === impl Told ===

// The HPA is told.

#[cfg(test)]
mod tests {
    const TEXT: &str = "The HPA is told.";
    // The HPA is told.
}
