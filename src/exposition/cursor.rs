//! What exposition formats and series selectors are written with: names, quoted strings, blanks. Pure.

use std::borrow::Cow;

/// A position in a text.
#[derive(Clone, Debug)]
pub(super) struct Cursor<'t> {
    text: &'t str,
    at: usize,
}

/// What a quoted string can contain besides its escapes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Newlines {
    /// Any character.
    Allowed,
    /// Any character but a newline.
    Escaped,
}

// === impl Cursor ===

impl<'t> Cursor<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self { text, at: 0 }
    }

    /// What follows.
    pub(super) fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    /// The number of the line, from 1.
    pub(super) fn line(&self) -> usize {
        self.text[..self.at].matches('\n').count() + 1
    }

    /// Passes this text if it is next.
    pub(super) fn eat(&mut self, next: &str) -> bool {
        let is_next = self.rest().starts_with(next);
        if is_next {
            self.at += next.len();
        }
        is_next
    }

    /// Passes all of these characters. Whether there was one.
    pub(super) fn skip(&mut self, is_one: impl Fn(char) -> bool) -> bool {
        !self.take(is_one).is_empty()
    }

    /// Passes all of these characters, and returns them.
    pub(super) fn take(&mut self, is_one: impl Fn(char) -> bool) -> &'t str {
        let rest = self.rest();
        let (taken, _) = rest.split_at(rest.find(|c: char| !is_one(c)).unwrap_or(rest.len()));
        self.at += taken.len();
        taken
    }

    /// Passes spaces and tabs. Whether there was one.
    pub(super) fn blanks(&mut self) -> bool {
        self.skip(|c| matches!(c, ' ' | '\t'))
    }

    /// Passes the rest of a line with its end if nothing is left of the line. Whether that is so.
    pub(super) fn end_of_line(&mut self) -> bool {
        self.eat("\n") || self.eat("\r\n") || self.rest().is_empty()
    }

    /// Passes the rest of a line and its end, and returns the rest.
    pub(super) fn take_line(&mut self) -> &'t str {
        let line = self.take(|c| c != '\n');
        self.eat("\n");
        line.strip_suffix('\r').unwrap_or(line)
    }

    /// The name of a label: `[a-zA-Z_][a-zA-Z0-9_]*`. `None` if there is none here.
    pub(super) fn label_name(&mut self) -> Option<&'t str> {
        self.name(|c| c.is_ascii_alphabetic() || c == '_')
    }

    /// The name of a metric: `[a-zA-Z_:][a-zA-Z0-9_:]*`. `None` if there is none here.
    pub(super) fn metric_name(&mut self) -> Option<&'t str> {
        self.name(|c| c.is_ascii_alphabetic() || matches!(c, '_' | ':'))
    }

    fn name(&mut self, is_first: impl Fn(char) -> bool) -> Option<&'t str> {
        self.rest().starts_with(&is_first).then(|| self.take(|c| is_first(c) || c.is_ascii_digit()))
    }

    /// A string between quotation marks, whose escapes are `\\`, `\"` and `\n`. Other backslashes are
    /// characters. `None` if there is none here, or if it does not end.
    pub(super) fn quoted(&mut self, newlines: Newlines) -> Option<Cow<'t, str>> {
        let inner = self.rest().strip_prefix('"')?;
        let mut escaped = false;
        let end = inner.char_indices().find_map(|(at, c)| match c {
            _ if std::mem::take(&mut escaped) => None,
            '"' => Some(Some(at)),
            '\n' if newlines == Newlines::Escaped => Some(None),
            _ => {
                escaped = c == '\\';
                None
            }
        })??;
        self.at += end + 2;
        let written = &inner[..end];
        Some(if written.contains('\\') { Cow::Owned(unescape(written)) } else { Cow::Borrowed(written) })
    }
}

fn unescape(written: &str) -> String {
    let mut text = String::with_capacity(written.len());
    let mut rest = written;
    while let Some((before, after)) = rest.split_once('\\') {
        text.push_str(before);
        let (c, length) = match after.as_bytes().first() {
            Some(b'\\') => ('\\', 1),
            Some(b'"') => ('"', 1),
            Some(b'n') => ('\n', 1),
            _ => ('\\', 0),
        };
        text.push(c);
        rest = &after[length..];
    }
    text.push_str(rest);
    text
}
