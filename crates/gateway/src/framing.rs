//! Answers of HTTP/1.1 as a backend sends them: the head, and where the body ends. What can be read in two ways is an error; what
//! a backend sends is never trusted to be short.

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use std::mem::MaybeUninit;

/// A head is no longer than this.
const HEAD_MAX: usize = 64 * 1024;
/// Headers that a head may have.
const HEADERS_MAX: usize = 100;
/// The line that tells a chunk's size, with whatever else stands in it.
const SIZE_LINE_MAX: usize = 256;
/// What may follow a body in chunks.
const TRAILER_MAX: usize = 16 * 1024;

/// Why an answer cannot be followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Strange(pub(crate) &'static str);

/// The head of an answer.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) framing: Framing,
    /// The connection can carry another request afterwards.
    pub(crate) reusable: bool,
}

/// Where a body ends, and how far it has been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// So many bytes are to come.
    Length(u64),
    /// The size of the next chunk is to come.
    Size,
    /// So many bytes of a chunk are to come.
    Chunk(u64),
    /// The end of a chunk's line is to come.
    Behind,
    /// What follows the last chunk, of which so many bytes have come.
    Trailer(usize),
    /// It ends with the connection.
    UntilEnd,
    Over,
}

/// What is found at the beginning of what has come.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Data(Bytes),
    /// More must come first.
    More,
    Over,
}

/// Takes a head off the front, if it is there whole. Words on the way to it (status 100 to 199) are passed over.
pub(crate) fn head(buffer: &mut BytesMut) -> Result<Option<Head>, Strange> {
    loop {
        // Room for as many is not made empty first: most answers have few.
        let mut slots = [const { MaybeUninit::uninit() }; HEADERS_MAX];
        let mut answer = httparse::Response::new(&mut []);
        let parsed = httparse::ParserConfig::default().parse_response_with_uninit_headers(&mut answer, buffer, &mut slots);
        let length = match parsed {
            Ok(httparse::Status::Complete(length)) if length <= HEAD_MAX => length,
            Ok(httparse::Status::Partial) if buffer.len() <= HEAD_MAX => return Ok(None),
            Ok(_) => return Err(Strange("its head is too long")),
            Err(_) => return Err(Strange("its head is no HTTP")),
        };
        let (status, old) = (answer.code.unwrap_or(0), answer.version == Some(0));
        if (100..200).contains(&status) && status != 101 {
            buffer.advance(length);
            continue;
        }
        let start = buffer.as_ptr().addr();
        // A value borrows from the buffer, so its place is the difference of the two addresses.
        let place = |value: &[u8]| value.as_ptr().addr() - start..value.as_ptr().addr() - start + value.len();
        let mut found = Vec::with_capacity(answer.headers.len());
        for one in answer.headers.iter() {
            let name = HeaderName::from_bytes(one.name.as_bytes()).map_err(|_| Strange("a header's name cannot be"))?;
            found.push((name, if one.value.is_empty() { 0..0 } else { place(one.value) }));
        }
        let text = buffer.split_to(length).freeze();
        let mut headers = HeaderMap::with_capacity(found.len());
        for (name, at) in found {
            let value = HeaderValue::from_maybe_shared(text.slice(at)).map_err(|_| Strange("a header's value cannot be"))?;
            headers.append(name, value);
        }
        return framed(status, old, headers).map(Some);
    }
}

/// May a head end in what has come since so many bytes were looked through?
pub(crate) fn may_end(buffer: &[u8], looked: usize) -> bool {
    let new = &buffer[looked.min(buffer.len()).saturating_sub(3)..];
    // The reader takes bare line feeds too; and what is too long is its to refuse.
    buffer.len() > HEAD_MAX || (!new.is_empty() && memchr::memchr_iter(b'\n', new).any(|at| ends_line(&new[at + 1..])))
}

fn ends_line(rest: &[u8]) -> bool {
    rest.starts_with(b"\n") || rest.starts_with(b"\r\n")
}

/// What the headers say of the body.
fn framed(status: u16, old: bool, mut headers: HeaderMap) -> Result<Head, Strange> {
    let mut reusable = !old && !says(&headers, "close") && status != 101;
    let framing = if matches!(status, 101 | 204 | 304) {
        Framing::Over
    } else if headers.contains_key(header::TRANSFER_ENCODING) {
        let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
        let chunked = codings.next().is_some_and(|v| v.as_bytes().eq_ignore_ascii_case(b"chunked"));
        if !chunked || codings.next().is_some() {
            return Err(Strange("its body is coded in a way that nobody asked for"));
        }
        // With both lengths the chunks count, and nothing behind them is believed.
        reusable &= headers.remove(header::CONTENT_LENGTH).is_none();
        Framing::Size
    } else {
        let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
        match lengths.next() {
            Some(length) if lengths.all(|other| other == length) => {
                of_length(decimal(length.as_bytes()).ok_or(Strange("its length is no number"))?)
            }
            Some(_) => return Err(Strange("it tells two lengths")),
            None => {
                reusable = false;
                Framing::UntilEnd
            }
        }
    };
    Ok(Head { status, headers, framing, reusable })
}

const fn of_length(bytes: u64) -> Framing {
    if bytes == 0 { Framing::Over } else { Framing::Length(bytes) }
}

fn says(headers: &HeaderMap, word: &str) -> bool {
    let values = headers.get_all(header::CONNECTION).iter();
    values.flat_map(|v| v.as_bytes().split(|b| *b == b',')).any(|w| w.trim_ascii().eq_ignore_ascii_case(word.as_bytes()))
}

fn decimal(digits: &[u8]) -> Option<u64> {
    let plain = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(digits).ok().filter(|_| plain)?.parse().ok()
}

impl Framing {
    /// Takes the next part of the body off the front of what has come.
    pub(crate) fn next(&mut self, buffer: &mut BytesMut) -> Result<Step, Strange> {
        loop {
            match *self {
                Self::Over => return Ok(Step::Over),
                Self::UntilEnd if buffer.is_empty() => return Ok(Step::More),
                Self::UntilEnd => return Ok(Step::Data(buffer.split().freeze())),
                Self::Length(_) | Self::Chunk(_) if buffer.is_empty() => return Ok(Step::More),
                Self::Length(left) => {
                    let (data, left) = part(buffer, left);
                    *self = of_length(left);
                    return Ok(Step::Data(data));
                }
                Self::Chunk(left) => {
                    let (data, left) = part(buffer, left);
                    *self = if left == 0 { Self::Behind } else { Self::Chunk(left) };
                    return Ok(Step::Data(data));
                }
                Self::Size | Self::Behind | Self::Trailer(_) => {
                    if !self.between(buffer)? {
                        return Ok(Step::More);
                    }
                }
            }
        }
    }

    /// Reads what stands between the parts of a body. Has it come whole?
    fn between(&mut self, buffer: &mut BytesMut) -> Result<bool, Strange> {
        match *self {
            Self::Behind => {
                let Some(end) = buffer.get(..2) else { return Ok(false) };
                if end != b"\r\n" {
                    return Err(Strange("a chunk is longer than it said"));
                }
                buffer.advance(2);
                *self = Self::Size;
            }
            Self::Size => {
                let Some(line) = line(buffer, SIZE_LINE_MAX)? else { return Ok(false) };
                let size = size(&buffer[..line]).ok_or(Strange("a chunk's size is no number"))?;
                buffer.advance(line + 2);
                *self = if size == 0 { Self::Trailer(0) } else { Self::Chunk(size) };
            }
            Self::Trailer(came) => {
                let Some(line) = line(buffer, TRAILER_MAX)? else { return Ok(false) };
                let came = came + line + 2;
                if came > TRAILER_MAX {
                    return Err(Strange("too much follows its last chunk"));
                }
                buffer.advance(line + 2);
                *self = if line == 0 { Self::Over } else { Self::Trailer(came) };
            }
            Self::Length(_) | Self::Chunk(_) | Self::UntilEnd | Self::Over => {}
        }
        Ok(true)
    }

    /// Is it over, as far as what has come tells? What is left of it to read carries no data.
    pub(crate) fn is_over(&mut self, buffer: &mut BytesMut) -> bool {
        while matches!(self, Self::Size | Self::Behind | Self::Trailer(_)) {
            // Whatever is wrong is told by the next step.
            if !matches!(self.between(buffer), Ok(true)) {
                return false;
            }
        }
        *self == Self::Over
    }

    /// How much is to come, where that is known.
    pub(crate) const fn left(&self) -> Option<u64> {
        match self {
            Self::Length(left) => Some(*left),
            Self::Over => Some(0),
            Self::Size | Self::Chunk(_) | Self::Behind | Self::Trailer(_) | Self::UntilEnd => None,
        }
    }
}

/// So much of it as has come, and how much is left.
fn part(buffer: &mut BytesMut, left: u64) -> (Bytes, u64) {
    let taken = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
    (buffer.split_to(taken).freeze(), left - taken as u64)
}

/// The length of the line at the front, without its end.
fn line(buffer: &[u8], most: usize) -> Result<Option<usize>, Strange> {
    let Some(at) = memchr::memchr(b'\n', &buffer[..buffer.len().min(most + 2)]) else {
        return if buffer.len() > most { Err(Strange("a line between its chunks is too long")) } else { Ok(None) };
    };
    match at.checked_sub(1).filter(|before| buffer[*before] == b'\r') {
        Some(end) => Ok(Some(end)),
        None => Err(Strange("a line between its chunks ends in two ways")),
    }
}

/// The size that a line tells; what may follow it is passed over.
fn size(line: &[u8]) -> Option<u64> {
    let digits = line.iter().take_while(|b| b.is_ascii_hexdigit()).count();
    let follows = line.get(digits).is_none_or(|b| matches!(b, b';' | b' ' | b'\t'));
    if digits == 0 || digits > 15 || !follows {
        return None;
    }
    std::str::from_utf8(&line[..digits]).ok().and_then(|text| u64::from_str_radix(text, 16).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    const OK: &str = "HTTP/1.1 200 OK\r\n";

    /// Reads an answer that comes in pieces: its status, its body, and whether the connection can be used again.
    fn read(text: &str, piece: usize) -> Result<(u16, String, bool), Strange> {
        let (mut buffer, mut found, mut body) = (BytesMut::new(), None, vec![]);
        for part in text.as_bytes().chunks(piece) {
            buffer.extend_from_slice(part);
            if found.is_none() {
                found = head(&mut buffer)?;
            }
            let Some(head) = &mut found else { continue };
            while let Step::Data(data) = head.framing.next(&mut buffer)? {
                body.extend_from_slice(&data);
            }
        }
        let mut head = found.ok_or(Strange("no head"))?;
        let ended = head.framing.is_over(&mut buffer) || head.framing == Framing::UntilEnd;
        if !ended {
            return Err(Strange("it does not end"));
        }
        Ok((head.status, String::from_utf8_lossy(&body).into_owned(), head.reusable && buffer.is_empty()))
    }

    #[test]
    fn bodies_end_where_they_say_however_they_come() {
        let cases = [
            (format!("{OK}content-length: 5\r\n\r\nhello"), 200, "hello", true),
            (format!("{OK}content-length: 0\r\n\r\n"), 200, "", true),
            (format!("{OK}transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n3;x=y\r\nabc\r\n0\r\n\r\n"), 200, "helloabc", true),
            (format!("{OK}Transfer-Encoding: Chunked\r\n\r\n1\r\n\n\r\n0\r\na: b\r\nc: d\r\n\r\n"), 200, "\n", true),
            (format!("{OK}content-length: 9\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"), 200, "x", false),
            (format!("{OK}\r\nto the end"), 200, "to the end", false),
            (format!("{OK}content-length: 1\r\nconnection: x, Close\r\n\r\ny"), 200, "y", false),
            ("HTTP/1.0 200 OK\r\ncontent-length: 1\r\n\r\ny".to_owned(), 200, "y", false),
            ("HTTP/1.1 204 No Content\r\n\r\n".to_owned(), 204, "", true),
            (
                format!("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\na: b\r\n\r\n{OK}content-length: 1\r\n\r\nz"),
                200,
                "z",
                true,
            ),
            ("HTTP/1.1 101 Switching\r\nupgrade: x\r\n\r\n".to_owned(), 101, "", false),
            (format!("{OK}content-length: 1\r\n\r\nz and more"), 200, "z", false),
        ];
        for (text, status, body, again) in cases {
            for piece in 1..=text.len() {
                assert_eq!(read(&text, piece), Ok((status, body.to_owned(), again)), "{text:?} in pieces of {piece}");
            }
        }
    }

    #[test]
    fn what_can_be_read_in_two_ways_or_never_ends_is_refused() {
        let long = "x".repeat(HEAD_MAX);
        let cases = [
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab".to_owned(),
            format!("{OK}content-length: +1\r\n\r\na"),
            format!("{OK}content-length: 99999999999999999999999\r\n\r\na"),
            format!("{OK}transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
            format!("{OK}transfer-encoding: chunked\r\n\r\n-1\r\n"),
            format!("{OK}transfer-encoding: chunked\r\n\r\n\r\n"),
            format!("{OK}transfer-encoding: chunked\r\n\r\nffffffffffffffff\r\nx"),
            format!("{OK}transfer-encoding: chunked\r\n\r\n1\nx\r\n0\r\n\r\n"),
            format!("{OK}transfer-encoding: chunked\r\n\r\n1\r\nxy\r\n0\r\n\r\n"),
            format!("{OK}transfer-encoding: chunked\r\n\r\n1;{long}"),
            format!("{OK}transfer-encoding: chunked\r\n\r\n0\r\n{}\r\n", "a: b\r\n".repeat(TRAILER_MAX / 6 + 1)),
            format!("{OK}a: {long}"),
            format!("{OK}{}\r\n", "a: b\r\n".repeat(HEADERS_MAX + 1)),
            "SSH-2.0-x\r\n\r\n".to_owned(),
        ];
        for text in cases {
            for piece in [1, 7, text.len()] {
                assert!(read(&text, piece).is_err(), "{text:.200?} in pieces of {piece}");
            }
        }
    }
}
