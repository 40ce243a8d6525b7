//! One answer, made comparable: the same names for the metric and its label, one timestamp, no
//! difference of white space, protobuf as a tree.

use std::process::Command;

use serde_json::{Value, json};

use super::super::cluster::run_raw;

/// What came back.
pub struct Answer {
    pub code: String,
    pub content_type: String,
    pub etag: Option<String>,
    /// The `reason` of a `Status`.
    pub reason: String,
    /// Comparable.
    pub body: String,
}

/// What one server calls the things that the other one calls otherwise.
pub struct Names {
    pub metric: &'static str,
    pub key: &'static str,
    pub value: &'static str,
}

// === impl Answer ===

impl Answer {
    /// Asks with these arguments of curl.
    pub fn of(arguments: &[String], names: &Names) -> Self {
        // It unpacks what is packed, and shows the headers as they were.
        let output = run_raw(Command::new("curl").args(["-sSki", "--compressed", "--max-time", "10"]).args(arguments));
        let end = output.windows(4).position(|window| window == b"\r\n\r\n");
        let end = end.unwrap_or_else(|| panic!("no answer to {arguments:?}: {}", String::from_utf8_lossy(&output)));
        let (head, body) = (String::from_utf8(output[..end].to_vec()).unwrap(), &output[end + 4..]);
        let header = |wanted: &str| {
            let mut lines = head.lines().filter_map(|line| line.split_once(':'));
            lines.find_map(|(name, value)| name.eq_ignore_ascii_case(wanted).then(|| value.trim().to_owned()))
        };
        let status: Value = serde_json::from_slice(body).unwrap_or_default();
        let is_status = status["kind"] == "Status";
        Self {
            code: head.split_whitespace().nth(1).unwrap().to_owned(),
            content_type: header("content-type").unwrap_or_default(),
            etag: header("etag"),
            reason: if is_status { status["reason"].as_str().unwrap_or_default().to_owned() } else { String::new() },
            body: names.comparable(body),
        }
    }

    /// As a cell of the table.
    pub fn cell(&self) -> String {
        let parts = [self.code.as_str(), &self.reason, &self.content_type];
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
    }

    /// In what the two differ; empty when in nothing.
    pub fn differences(&self, other: &Self) -> Vec<&'static str> {
        let parts = [
            ("status", self.code != other.code),
            ("reason", self.reason != other.reason),
            ("content type", self.content_type != other.content_type),
            ("body", self.body != other.body),
        ];
        parts.into_iter().filter_map(|(part, differs)| differs.then_some(part)).collect()
    }
}

// === impl Names ===

impl Names {
    /// A path, for this server.
    pub fn fill(&self, path: &str) -> String {
        let selector = format!("{}%3D{}", self.key, self.value);
        path.replace("{metric}", self.metric).replace("{selector}", &selector)
    }

    fn comparable(&self, body: &[u8]) -> String {
        if let Some(message) = body.strip_prefix(b"k8s\0") {
            return self.common(&message_tree(message).unwrap_or(Value::Null).to_string());
        }
        let text = String::from_utf8_lossy(body);
        let text = text.trim_end();
        match serde_json::from_str::<Value>(text) {
            Ok(mut value) => {
                at_one_time(&mut value);
                // To a client, details of nothing are no details.
                if let Some(status) =
                    value.as_object_mut().filter(|fields| fields.get("kind") == Some(&json!("Status")))
                {
                    status.retain(|key, value| key != "details" || *value != json!({}));
                }
                let lines = if text.contains('\n') { "in lines: " } else { "" };
                format!("{lines}{}", self.common(&value.to_string()))
            }
            Err(_) => text.lines().map(|line| self.common(&one_line_at_one_time(line))).collect::<Vec<_>>().join("\n"),
        }
    }

    fn common(&self, text: &str) -> String {
        let text = text.replace(self.metric, "METRIC");
        let label = |mark: [&str; 3]| format!("{}{}{}{}{}", mark[0], self.key, mark[1], self.value, mark[2]);
        let text = text.replace(&label(["\"", "\":\"", "\""]), "\"KEY\":\"VALUE\"");
        let text = text.replace(&label(["\"1\":\"", "\",\"2\":\"", "\""]), "\"1\":\"KEY\",\"2\":\"VALUE\"");
        text.replace(&label(["", ": ", ""]), "KEY: VALUE")
    }
}

const TIME: &str = "2026-11-22T14:02:03Z";

fn at_one_time(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                if key == "timestamp" && value.is_string() {
                    *value = TIME.into();
                }
                at_one_time(value);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(at_one_time),
        _ => {}
    }
}

fn one_line_at_one_time(line: &str) -> String {
    match line.split_once("timestamp: ") {
        Some((before, _)) => format!("{before}timestamp: {TIME}"),
        None => line.to_owned(),
    }
}

/// A protobuf message of unknown type: each field's number with its number, text or message.
/// Fields that repeat are told apart by their place.
fn message_tree(mut bytes: &[u8]) -> Option<Value> {
    let mut fields = serde_json::Map::new();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes)?;
        let value = match tag & 7 {
            // Seconds of our time; no other number here is that large.
            0 => varint(&mut bytes).map(|number| if number > 1_700_000_000 { json!("now") } else { json!(number) })?,
            2 => {
                let length = usize::try_from(varint(&mut bytes)?).ok()?;
                let (inside, rest) = (bytes.get(..length)?, &bytes[length..]);
                bytes = rest;
                let text = || json!(String::from_utf8_lossy(inside));
                if inside.is_empty() { json!("") } else { message_tree(inside).unwrap_or_else(text) }
            }
            _ => return None,
        };
        let mut key = (tag >> 3).to_string();
        while fields.contains_key(&key) {
            key.push('+');
        }
        fields.insert(key, value);
    }
    Some(fields.into())
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..63).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}
