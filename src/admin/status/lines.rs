//! Readable JSON: a line for each field, and a list in one, because an hour of readings is 120
//! numbers. Pure.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::Serializer;
use serde_json::ser::{Formatter, PrettyFormatter};

/// With a newline at its end.
pub(super) fn to_string(value: &impl Serialize) -> serde_json::Result<String> {
    let mut text = Vec::new();
    value.serialize(&mut Serializer::with_formatter(&mut text, Lines::default()))?;
    text.push(b'\n');
    // It writes UTF-8 only.
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// serde_json's own, except for lists.
#[derive(Default)]
struct Lines(PrettyFormatter<'static>);

impl Formatter for Lines {
    fn begin_array_value<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_object(writer)
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_object_key(writer, first)
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_object_value(writer)
    }

    fn end_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_object_value(writer)
    }

    fn end_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_object(writer)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_field_is_a_line_and_a_list_is_none() {
        let value = json!({"a": {"none": {}, "some": [1, null, "x\n"]}, "b": [{"c": 1}, {"c": []}]});
        let text = "\
{
  \"a\": {
    \"none\": {},
    \"some\": [1, null, \"x\\n\"]
  },
  \"b\": [{
    \"c\": 1
  }, {
    \"c\": []
  }]
}
";
        assert_eq!(to_string(&value).unwrap(), text);
    }
}
