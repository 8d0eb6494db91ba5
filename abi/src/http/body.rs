//! The body of a response, as it comes in: decoding, and the ceiling on what it may become.

use std::io::{self, Write};

use flate2::write::MultiGzDecoder;

use crate::host_error::HostError;

use super::client::body_too_large;
use super::error::HttpError;

/// A body that is being received.
pub(super) struct Body {
    decoder: Decoder,
    received: usize,
    allowed: usize,
}

enum Decoder {
    None(Capped),
    Gzip(Box<MultiGzDecoder<Capped>>),
}

/// Bytes up to a ceiling.
struct Capped {
    bytes: Vec<u8>,
    allowed: usize,
    /// Number of bytes there would have been, when they became too many.
    refused: Option<usize>,
}

impl Body {
    /// An empty body which may become `allowed` bytes, and may be sent as no more than that.
    pub(super) fn new(gzip: bool, allowed: usize) -> Self {
        let bytes = Capped { bytes: Vec::new(), allowed, refused: None };
        let decoder =
            if gzip { Decoder::Gzip(Box::new(MultiGzDecoder::new(bytes))) } else { Decoder::None(bytes) };
        Self { decoder, received: 0, allowed }
    }

    /// Takes the next bytes as they were sent.
    pub(super) fn add(&mut self, sent: &[u8]) -> Result<(), HostError> {
        // Also where they decode to nothing.
        self.received = self.received.saturating_add(sent.len());
        if self.received > self.allowed {
            return Err(body_too_large(self.received, self.allowed));
        }
        let written = match &mut self.decoder {
            Decoder::None(bytes) => bytes.write_all(sent),
            Decoder::Gzip(decoder) => decoder.write_all(sent),
        };
        written.map_err(|error| self.failure(error))
    }

    /// The body, decoded, when all of it was sent.
    pub(super) fn finish(mut self) -> Result<Vec<u8>, HostError> {
        let finished = match &mut self.decoder {
            // No body at all, as of an answer to `HEAD`, is none in any encoding.
            Decoder::Gzip(decoder) if self.received > 0 => decoder.try_finish(),
            _ => Ok(()),
        };
        finished.map_err(|error| self.failure(error))?;
        Ok(std::mem::take(match &mut self.decoder {
            Decoder::None(bytes) => &mut bytes.bytes,
            Decoder::Gzip(decoder) => &mut decoder.get_mut().bytes,
        }))
    }

    fn failure(&self, error: io::Error) -> HostError {
        let bytes = match &self.decoder {
            Decoder::None(bytes) => bytes,
            Decoder::Gzip(decoder) => decoder.get_ref(),
        };
        match bytes.refused {
            Some(asked) => body_too_large(asked, self.allowed),
            None => HostError::failed(HttpError::Gzip(error)),
        }
    }
}

impl Write for Capped {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let asked = self.bytes.len().saturating_add(bytes.len());
        if asked > self.allowed {
            self.refused = Some(asked);
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    /// Result of a body that is sent in pieces of `piece` bytes.
    fn body(gzip: bool, allowed: usize, sent: &[u8], piece: usize) -> Result<Vec<u8>, String> {
        let mut body = Body::new(gzip, allowed);
        let added = sent.chunks(piece).try_for_each(|bytes| body.add(bytes));
        added.and_then(|()| body.finish()).map_err(|error| match error {
            HostError::Limit { asked, allowed, .. } => format!("{asked} > {allowed}"),
            HostError::Failed(source) => source.to_string(),
            other => format!("{other:?}"),
        })
    }

    #[test]
    fn bytes_up_to_the_ceiling() {
        for piece in [1, 3, 100] {
            assert_eq!(body(false, 5, b"hello", piece).unwrap(), b"hello");
            assert_eq!(body(false, 4, b"hello", piece).unwrap_err(), "5 > 4");
            assert_eq!(body(false, 0, b"", piece).unwrap(), b"");
        }
    }

    #[test]
    fn gzip_is_decoded_up_to_the_ceiling() {
        let text = b"hello ".repeat(1000);
        let sent = gzip(&text);
        for piece in [1, 7, 100_000] {
            assert_eq!(body(true, 6000, &sent, piece).unwrap(), text);
            let found = body(true, 5999, &sent, piece).unwrap_err();
            assert!(found.ends_with(" > 5999"), "{found}");
            let two = [sent.clone(), sent.clone()].concat();
            assert_eq!(body(true, 12_000, &two, piece).unwrap(), [text.clone(), text.clone()].concat());
        }
        assert_eq!(body(true, 10, b"", 1).unwrap(), b"", "no body is no gzip either");
    }

    #[test]
    fn broken_gzip_is_an_error_and_never_a_body() {
        let sent = gzip(b"some text that is long enough");
        let malformed = "the response is not the gzip it says it is";
        for end in 1..sent.len() {
            assert_eq!(body(true, 1000, &sent[..end], 5).unwrap_err(), malformed, "cut at {end}");
        }
        assert_eq!(body(true, 1000, b"plain text, not gzip", 5).unwrap_err(), malformed);
        let mut wrong_sum = sent;
        let at = wrong_sum.len() - 8;
        wrong_sum[at] ^= 1;
        assert_eq!(body(true, 1000, &wrong_sum, 5).unwrap_err(), malformed);
    }

    #[test]
    fn gzip_without_content_is_not_received_for_ever() {
        let nothing = gzip(b"").repeat(1000);
        let found = body(true, 500, &nothing, 64).unwrap_err();
        assert!(found.ends_with(" > 500"), "{found}");
    }
}
