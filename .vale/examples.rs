//! What hack/words reads in Rust. It must find alerts in lines 4, 5, 7, 8 and 9 only.
//! The comment is told.

const TEXT: &str = "The HPA is told.";
const LINES: &str = "The workload is put to \
    sleep.";
const RAW: &str = r#"The "HPA" is told."#;
const QUOTED: &str = "The \"HPA\" is told";
const FILLED: &str = "{hpa} is told {}";
const CODE: &str = "The code is `is told`.";
const WORD: &str = "told";
const BYTES: &[u8] = b"The HPA is told.";
const QUOTE: char = '"'; // It is told '"'.

#[cfg(test)]
mod tests {
    const TEXT: &str = "The HPA is told.";
}
