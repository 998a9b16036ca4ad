//! Pictures and files inside of requests. What a picture is is told by its bytes: the type that clients write is often wrong.

use crate::Untranslatable;
use serde_json::{Value, json};

/// The type and the data of a `data:` URL.
pub(crate) fn data_url(url: &str) -> Option<(&str, &str)> {
    let (head, data) = url.strip_prefix("data:")?.split_once(',')?;
    Some((head.strip_suffix(";base64")?.split(';').next().unwrap_or_default(), data))
}

/// The type of a picture in base64, as its first bytes tell it.
pub(crate) fn kind(base64: &str) -> Option<&'static str> {
    let head = beginning(base64);
    let is = |magic: &[u8]| head.starts_with(magic);
    match () {
        () if is(b"\x89PNG") => Some("image/png"),
        () if is(b"\xff\xd8\xff") => Some("image/jpeg"),
        () if is(b"GIF8") => Some("image/gif"),
        () if is(b"RIFF") && head.get(8..12) == Some(b"WEBP") => Some("image/webp"),
        () => None,
    }
}

/// The first twelve bytes.
fn beginning(base64: &str) -> Vec<u8> {
    let (mut bits, mut held, mut out) = (0_u32, 0, vec![]);
    for c in base64.bytes().filter(|b| !b.is_ascii_whitespace()).take(16) {
        let six = match c {
            b'A'..=b'Z' => c - b'A',
            b'a'..=b'z' => c - b'a' + 26,
            b'0'..=b'9' => c - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => break,
        };
        (bits, held) = ((bits << 6 | u32::from(six)) & 0xffff, held + 6);
        if held >= 8 {
            held -= 8;
            out.push(u8::try_from((bits >> held) & 0xff).unwrap_or_default());
        }
    }
    out
}

/// A picture as a block of Anthropic's.
pub(crate) fn block(url: &str) -> Result<Value, Untranslatable> {
    if let Some((_, data)) = data_url(url) {
        let Some(kind) = kind(data) else {
            return Err(Untranslatable::new("messages", "an image is neither PNG, JPEG, GIF nor WebP"));
        };
        return Ok(json!({"type": "image", "source": {"type": "base64", "media_type": kind, "data": data}}));
    }
    if url.starts_with("https://") || url.starts_with("http://") {
        return Ok(json!({"type": "image", "source": {"type": "url", "url": url}}));
    }
    Err(Untranslatable::new("messages", "an image must be an http(s) URL or a base64 data URL"))
}

/// A file as a block of Anthropic's: only PDF has one.
pub(crate) fn document(name: &str, data: &str) -> Result<Value, Untranslatable> {
    match data_url(data) {
        Some(("application/pdf", data)) => {
            let mut block =
                json!({"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": data}});
            if !name.is_empty() {
                block["title"] = name.into();
            }
            Ok(block)
        }
        _ => Err(Untranslatable::new("messages", "a file must be a PDF in a base64 data URL")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_tell_what_a_picture_is() {
        for (data, expected) in [
            ("iVBORw0KGgoAAAANSUhEUg==", Some("image/png")),
            ("/9j/4AAQSkZJRg==", Some("image/jpeg")),
            ("R0lGODlhAQABAAAAACw=", Some("image/gif")),
            ("UklGRiQAAABXRUJQVlA4", Some("image/webp")),
            ("UklGRiQAAABXQVZF", None),
            ("PHN2Zz4=", None),
            ("", None),
            ("ééé", None),
        ] {
            assert_eq!(kind(data), expected, "{data}");
        }
        let told_wrong = block("data:image/png;base64,/9j/4AAQSkZJRg==");
        assert_eq!(told_wrong.map(|b| b["source"]["media_type"].clone()), Ok("image/jpeg".into()));
        for bad in ["data:image/png,abc", "data:image/png;base64", "file:///etc/passwd", "", "data:;base64,AAAA"] {
            assert!(block(bad).is_err(), "{bad}");
        }
    }
}
