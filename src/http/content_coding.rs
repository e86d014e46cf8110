//! The `Content-Encoding` of webhooks and of responses.

use std::io::{self, Read, Write as _};

use actix_web::{
    HttpRequest,
    http::header::{self, AcceptEncoding, Encoding, Header as _, HeaderValue},
};
use flate2::{
    Compression,
    read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder},
    write::GzEncoder,
};

use super::problem::{Code, Problem};

/// How the body of a request is encoded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ContentCoding {
    Identity,
    Gzip,
    Deflate,
}

impl ContentCoding {
    /// # Errors
    /// `unsupported_media_type` for other codings, and for several.
    pub(super) fn of(request: &HttpRequest) -> Result<Self, Problem> {
        let values = request.headers().get_all(header::CONTENT_ENCODING);
        Self::parse(values.map(HeaderValue::as_bytes))
            .ok_or_else(|| Problem::new(Code::UnsupportedMediaType, "Content-Encoding: gzip or deflate, or none"))
    }

    /// From the values of the `Content-Encoding` headers. `None`: another coding, or several.
    pub(crate) fn parse<'a>(values: impl Iterator<Item = &'a [u8]>) -> Option<Self> {
        let mut coding = Self::Identity;
        for name in values.flat_map(|value| value.split(|byte| *byte == b',')) {
            let found = match name.trim_ascii().to_ascii_lowercase().as_slice() {
                b"" | b"identity" => continue,
                b"gzip" | b"x-gzip" => Self::Gzip,
                b"deflate" => Self::Deflate,
                _ => return None,
            };
            if coding != Self::Identity {
                return None;
            }
            coding = found;
        }
        Some(coding)
    }

    /// A reader of the decoded bytes, or `None` if `body` is not encoded in this way: some proxies decode a body and
    /// leave the header.
    pub(crate) fn reader(self, body: &[u8]) -> Option<Box<dyn Read + '_>> {
        match (self, body) {
            (Self::Gzip, [0x1f, 0x8b, ..]) => Some(Box::new(MultiGzDecoder::new(body))),
            // RFC 1950: the method, and a check sum of the header. Some senders leave out this wrapping.
            (Self::Deflate, [method, flags, ..])
                if method & 0x0f == 8 && u16::from_be_bytes([*method, *flags]).is_multiple_of(31) =>
            {
                Some(Box::new(ZlibDecoder::new(body)))
            }
            (Self::Deflate, body) if decodes(body) => Some(Box::new(DeflateDecoder::new(body))),
            _ => None,
        }
    }
}

/// Whether the client prefers a response in gzip.
pub(super) fn accepts_gzip(request: &HttpRequest) -> bool {
    let offered = [Encoding::gzip(), Encoding::identity()];
    let accepted = AcceptEncoding::parse(request).ok();
    accepted.and_then(|accepted| accepted.negotiate(offered.iter())) == Some(Encoding::gzip())
}

pub(super) fn gzip(body: &str, level: Compression) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), level);
    encoder.write_all(body.as_bytes()).expect("writing to memory does not fail");
    encoder.finish().expect("writing to memory does not fail")
}

/// Whether the first bytes are raw deflate data. Text that is not encoded almost never is: its first byte would have to
/// announce a stored or compressed block.
fn decodes(body: &[u8]) -> bool {
    !matches!(body.trim_ascii_start().first(), None | Some(b'{' | b'['))
        && !matches!(DeflateDecoder::new(body).read(&mut [0; 64]), Err(error) if error.kind() != io::ErrorKind::UnexpectedEof)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::{
        Compression,
        write::{DeflateEncoder, GzEncoder, ZlibEncoder},
    };

    use super::*;

    const BODY: &[u8] = br#"{"text":"hello, hello, hello"}"#;

    fn decoded(coding: ContentCoding, body: &[u8]) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        coding.reader(body)?.read_to_end(&mut bytes).unwrap();
        Some(bytes)
    }

    #[test]
    fn every_form_of_each_coding_is_decoded() {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
        gzip.write_all(BODY).unwrap();
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::default());
        zlib.write_all(BODY).unwrap();
        let mut raw = DeflateEncoder::new(Vec::new(), Compression::default());
        raw.write_all(BODY).unwrap();
        assert_eq!(decoded(ContentCoding::Gzip, &gzip.finish().unwrap()).as_deref(), Some(BODY));
        assert_eq!(decoded(ContentCoding::Deflate, &zlib.finish().unwrap()).as_deref(), Some(BODY));
        assert_eq!(decoded(ContentCoding::Deflate, &raw.finish().unwrap()).as_deref(), Some(BODY));
        for coding in [ContentCoding::Identity, ContentCoding::Gzip, ContentCoding::Deflate] {
            assert!(coding.reader(BODY).is_none() && coding.reader(b"").is_none(), "{coding:?}");
        }
    }

    #[test]
    fn one_known_coding_is_accepted() {
        let of = |values: &[&str]| ContentCoding::parse(values.iter().map(|value| value.as_bytes()));
        assert_eq!(of(&[]), Some(ContentCoding::Identity));
        assert_eq!(of(&["identity"]), Some(ContentCoding::Identity));
        assert_eq!(of(&["GZIP"]), Some(ContentCoding::Gzip));
        assert_eq!(of(&["x-gzip, identity"]), Some(ContentCoding::Gzip));
        assert_eq!(of(&["deflate"]), Some(ContentCoding::Deflate));
        for other in [&["br"][..], &["gzip, gzip"], &["gzip", "deflate"], &["gzip;q=1"], &["zstd"]] {
            assert_eq!(of(other), None, "{other:?}");
        }
    }
}
