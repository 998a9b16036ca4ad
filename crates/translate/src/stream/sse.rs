//! Server-sent events, cut out of bytes in any pieces.

/// An event longer than this, in bytes, is passed over.
pub(crate) const EVENT_MAX: usize = 8 * 1024 * 1024;
/// What some put before a text to tell its encoding.
const MARK: &[u8] = b"\xef\xbb\xbf";

/// What stands in a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// The data of one event.
    Data(Vec<u8>),
    /// A comment, which only keeps the connection open.
    Comment,
}

/// Cuts a stream. Lines may end in any of the three ways, and data may stand in several lines.
#[derive(Debug, Default)]
pub(crate) struct Cutter {
    line: Vec<u8>,
    data: Option<Vec<u8>>,
    /// The present event is too long.
    is_over: bool,
    /// Something stands in the present line, though it is not kept.
    is_passing: bool,
    /// The last byte was a carriage return: a line feed after it belongs to it.
    after_return: bool,
    /// The first line has been read.
    has_begun: bool,
}

impl Cutter {
    /// What is complete with these bytes.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Vec<Piece> {
        let (mut pieces, mut rest) = (vec![], bytes);
        while let Some(first) = rest.first() {
            if std::mem::take(&mut self.after_return) && *first == b'\n' {
                rest = rest.get(1..).unwrap_or_default();
                continue;
            }
            let Some(end) = rest.iter().position(|b| matches!(b, b'\n' | b'\r')) else {
                self.add(rest);
                break;
            };
            self.add(rest.get(..end).unwrap_or_default());
            self.after_return = rest.get(end) == Some(&b'\r');
            rest = rest.get(end + 1..).unwrap_or_default();
            pieces.extend(self.close_line());
        }
        pieces
    }

    /// The stream has ended: an event that lacks nothing but its blank line counts.
    pub(crate) fn rest(&mut self) -> Vec<Piece> {
        let last = self.close_line();
        let event = self.close_line();
        last.into_iter().chain(event).collect()
    }

    /// Nothing stands between the last event and the next one.
    pub(crate) fn is_between(&self) -> bool {
        self.line.is_empty() && self.data.is_none() && !self.is_over && !self.is_passing
    }

    fn add(&mut self, part: &[u8]) {
        let held = self.line.len() + self.data.as_ref().map_or(0, Vec::len);
        if !self.is_over && held + part.len() > EVENT_MAX {
            self.is_over = true;
            self.is_passing = !self.line.is_empty();
            (self.line, self.data) = (vec![], None);
        }
        if self.is_over {
            self.is_passing |= !part.is_empty();
        } else {
            self.line.extend_from_slice(part);
        }
    }

    /// Reads the line that has ended.
    fn close_line(&mut self) -> Option<Piece> {
        let mut line = std::mem::take(&mut self.line);
        if !std::mem::replace(&mut self.has_begun, true) && line.starts_with(MARK) {
            line.drain(..MARK.len());
        }
        if self.is_over {
            // It goes on until a blank line.
            self.is_over = std::mem::take(&mut self.is_passing);
            return None;
        }
        if line.is_empty() {
            return self.data.take().map(Piece::Data);
        }
        if line.starts_with(b":") {
            return Some(Piece::Comment);
        }
        let told = line.strip_prefix(b"data:").or_else(|| (line == b"data").then_some(&[][..]))?;
        let told = told.strip_prefix(b" ").unwrap_or(told);
        match &mut self.data {
            Some(data) => {
                data.push(b'\n');
                data.extend_from_slice(told);
            }
            None => self.data = Some(told.to_vec()),
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(parts: &[&[u8]]) -> Vec<Piece> {
        let mut cutter = Cutter::default();
        let mut pieces: Vec<Piece> = parts.iter().flat_map(|part| cutter.feed(part)).collect();
        pieces.extend(cutter.rest());
        pieces
    }

    #[test]
    fn events_are_the_same_however_the_bytes_come() {
        let stream = b"\xef\xbb\xbfdata: a\n\n: c\r\n\r\nevent: x\r\ndata:b\r\ndata: b\r\n\r\ndata\r\rid: 1\n\ndata:  d";
        let data = |text: &str| Piece::Data(text.as_bytes().to_vec());
        let expected = [data("a"), Piece::Comment, data("b\nb"), data(""), data(" d")];
        for at in 0..stream.len() {
            let (head, tail) = stream.split_at(at);
            assert_eq!(all(&[head, tail]), expected, "{at}");
        }
        let single: Vec<&[u8]> = stream.chunks(1).collect();
        assert_eq!(all(&single), expected);
    }

    #[test]
    fn an_endless_event_is_passed_over_and_the_next_one_is_read() {
        let long = vec![b'x'; EVENT_MAX + 1];
        for before in [&b""[..], b"data: begun\n", b"data: "] {
            let mut cutter = Cutter::default();
            let mut pieces = cutter.feed(before);
            for piece in long.chunks(1000) {
                pieces.extend(cutter.feed(piece));
            }
            assert!(cutter.line.capacity() < 2 * EVENT_MAX && cutter.data.is_none());
            pieces.extend(cutter.feed(b"\ndata: more\n\ndata: next\n\n"));
            assert_eq!(pieces, [Piece::Data(b"next".to_vec())]);
        }
    }
}
