//! Keeps secrets out of logs and events: what came from the keyring is replaced wherever it is about to be shown, as it
//! is and in the forms that it takes on its way through other programs. Who learns a secret adds it here.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use aho_corasick::{AhoCorasick, AhoCorasickKind};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use parking_lot::RwLock;

/// Text that is shown instead.
const MASK: &[u8] = b"***";

/// A text shorter than this is no secret: it would be found everywhere.
const SHORTEST: usize = 4;

/// Bytes of all forms of all secrets: finding them takes some thirty times as much memory.
const MOST: usize = 1 << 20;

/// The library would take a DFA for a few texts, and making one takes seconds for a text that repeats itself.
const KIND: Option<AhoCorasickKind> = Some(AhoCorasickKind::ContiguousNFA);

/// A piece of base64 shorter than this says too little.
const SHORTEST_BASE64: usize = 6;

/// The secrets of one start of `hm`.
#[derive(Default)]
pub struct Secrets {
    forms: RwLock<Arc<Forms>>,
}

/// There are too many secrets to keep them all out of what is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there are too many or too long secrets to keep them all out of logs")]
pub(crate) struct TooManySecrets;

#[derive(Default)]
struct Forms {
    texts: BTreeSet<Vec<u8>>,
    /// None as long as there is nothing to find.
    finder: Option<AhoCorasick>,
    longest: usize,
}

/// Masks one stream, whatever pieces it comes in.
#[derive(Debug, Default)]
pub(super) struct Masker {
    /// The end of what came, which may be the beginning of a secret.
    pending: Vec<u8>,
    /// Bytes of that which are the end of a secret for which the mask has been shown.
    hidden: usize,
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secrets")
    }
}

impl Secrets {
    /// From now on, this is not shown. Each line of it counts, since output is shown by lines.
    ///
    /// # Errors
    /// [`TooManySecrets`]; then it is not known here and must not be handed on.
    pub(crate) fn add(&self, secret: &str) -> Result<(), TooManySecrets> {
        let mut forms = self.forms.write();
        let mut texts = forms.texts.clone();
        for line in secret.lines().chain([secret]).filter(|line| line.len() >= SHORTEST) {
            texts.extend(forms_of(line));
        }
        if texts != forms.texts {
            if texts.iter().map(Vec::len).sum::<usize>() > MOST {
                return Err(TooManySecrets);
            }
            let longest = texts.iter().map(Vec::len).max().unwrap_or(0);
            let finder = AhoCorasick::builder().kind(KIND).build(&texts);
            let finder = Some(finder.map_err(|_| TooManySecrets)?);
            *forms = Arc::new(Forms { texts, finder, longest });
        }
        Ok(())
    }

    /// A text without secrets.
    #[must_use]
    pub(crate) fn mask(&self, text: &str) -> String {
        String::from_utf8_lossy(&self.mask_bytes(text.as_bytes().to_vec())).into_owned()
    }

    /// Bytes without secrets.
    #[must_use]
    pub(crate) fn mask_bytes(&self, bytes: Vec<u8>) -> Vec<u8> {
        if self.forms().finder.is_none() {
            return bytes;
        }
        let (mut masker, mut out) = (Masker::default(), Vec::new());
        masker.push(self, &bytes, &mut out);
        masker.finish(self, &mut out);
        out
    }

    fn forms(&self) -> Arc<Forms> {
        Arc::clone(&self.forms.read())
    }
}

impl Masker {
    /// Takes bytes and gives back what can be shown of them. The end of an unfinished line may be kept back.
    pub(super) fn push(&mut self, secrets: &Secrets, bytes: &[u8], out: &mut Vec<u8>) {
        let forms = secrets.forms();
        let Some(finder) = &forms.finder else { return out.extend_from_slice(bytes) };
        self.pending.extend_from_slice(bytes);
        // A form that starts before `certain` is in the buffer whole, if it is there at all.
        let last_line = self.pending.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
        let certain = (self.pending.len() + 1).saturating_sub(forms.longest).max(last_line);
        self.release(finder, certain, out);
    }

    /// The stream has ended.
    pub(super) fn finish(&mut self, secrets: &Secrets, out: &mut Vec<u8>) {
        if let Some(finder) = &secrets.forms().finder {
            self.release(finder, self.pending.len(), out);
        }
    }

    /// Gives back what is before `certain`. Secrets may overlap, and each byte of any of them is hidden.
    fn release(&mut self, finder: &AhoCorasick, certain: usize, out: &mut Vec<u8>) {
        // For each byte, where the longest form ends that begins there.
        let mut ends = vec![0; certain];
        for found in finder.find_overlapping_iter(&self.pending) {
            if let Some(end) = ends.get_mut(found.start()) {
                *end = found.end().max(*end);
            }
        }
        for (at, (byte, end)) in self.pending.drain(..certain).zip(ends).enumerate() {
            if end > 0 && at >= self.hidden {
                out.extend_from_slice(MASK);
            }
            self.hidden = self.hidden.max(end);
            if at >= self.hidden {
                out.push(byte);
            }
        }
        self.hidden = self.hidden.saturating_sub(certain);
    }
}

/// The forms in which a line may turn up: as it is, in JSON, in a URL, in base64 wherever it stands in what was
/// encoded.
fn forms_of(line: &str) -> BTreeSet<Vec<u8>> {
    let mut forms = BTreeSet::from([line.as_bytes().to_vec()]);
    if let Ok(json) = serde_json::to_string(line) {
        forms.insert(json.as_bytes()[1..json.len() - 1].to_vec());
    }
    for kept in [b"-_.~".as_slice(), b"-_.!~*'()", b"-_.*"] {
        for upper in [true, false] {
            for plus in [true, false] {
                forms.insert(percent_encoded(line, kept, upper, plus));
            }
        }
    }
    for before in 0..3_usize {
        let mut bytes = vec![0; before];
        bytes.extend_from_slice(line.as_bytes());
        // Only the characters that no neighbour has a part in.
        let (first, end) = ((before * 8).div_ceil(6), bytes.len() * 8 / 6);
        for text in [STANDARD_NO_PAD.encode(&bytes), URL_SAFE_NO_PAD.encode(&bytes)] {
            let inner = text.as_bytes().get(first..end).unwrap_or_default();
            if inner.len() >= SHORTEST_BASE64 {
                forms.insert(inner.to_vec());
            }
        }
    }
    forms
}

/// A URL's form, in which letters, digits and what is `kept` stand for themselves.
fn percent_encoded(line: &str, kept: &[u8], upper: bool, plus: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(line.len());
    for byte in line.bytes() {
        match byte {
            b' ' if plus => out.push(b'+'),
            _ if byte.is_ascii_alphanumeric() || kept.contains(&byte) => out.push(byte),
            _ if upper => out.extend_from_slice(format!("%{byte:02X}").as_bytes()),
            _ => out.extend_from_slice(format!("%{byte:02x}").as_bytes()),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    const SECRET: &str = "p4ss/wörd+ &x";

    fn secrets() -> Secrets {
        let secrets = Secrets::default();
        secrets.add(SECRET).expect("room");
        secrets
    }

    #[test]
    fn a_secret_is_masked_in_every_form_wherever_a_stream_is_cut() {
        let mut forms = vec![SECRET.to_owned(), serde_json::to_string(SECRET).expect("JSON")];
        forms.extend(
            url::form_urlencoded::byte_serialize(SECRET.as_bytes()).map(str::to_owned).reduce(|a, b| a + &b),
        );
        forms.push("p4ss%2fw%c3%b6rd%2b%20%26x".into());
        for user in ["", "a", "ab", "abc", "user:"] {
            forms.push(STANDARD.encode(format!("{user}{SECRET}")));
            forms.push(STANDARD.encode(format!("{user}{SECRET}@host")));
        }
        let secrets = secrets();
        for form in forms {
            let whole = format!("before {form} after\nnext {form}");
            let expected = secrets.mask(&whole);
            assert_eq!(expected.matches("***").count(), 2, "{whole} → {expected}");
            for readable in ["4ss", "wörd", "%c3", "%C3"] {
                assert!(!expected.contains(readable), "{whole} → {expected}");
            }
            for cut in 0..=whole.len() {
                let (mut masker, mut out) = (Masker::default(), Vec::new());
                masker.push(&secrets, &whole.as_bytes()[..cut], &mut out);
                masker.push(&secrets, &whole.as_bytes()[cut..], &mut out);
                masker.finish(&secrets, &mut out);
                assert_eq!(String::from_utf8(out).expect("text"), expected, "cut at {cut}");
            }
            let (mut masker, mut out) = (Masker::default(), Vec::new());
            for byte in whole.as_bytes() {
                masker.push(&secrets, &[*byte], &mut out);
            }
            masker.finish(&secrets, &mut out);
            assert_eq!(String::from_utf8(out).expect("text"), expected, "byte by byte");
        }
    }

    #[test]
    fn of_two_secrets_the_longer_one_is_masked_whole() {
        let secrets = Secrets::default();
        secrets.add("token").expect("room");
        secrets.add("token-of-the-realm").expect("room");
        for cut in 0..20 {
            let (mut masker, mut out) = (Masker::default(), Vec::new());
            let (left, right) = "a token-of-the-realm".split_at(cut);
            masker.push(&secrets, left.as_bytes(), &mut out);
            masker.push(&secrets, right.as_bytes(), &mut out);
            masker.finish(&secrets, &mut out);
            assert_eq!(out, b"a ***", "cut at {cut}");
        }
    }

    #[test]
    fn what_cannot_be_masked_is_refused() {
        let secrets = Secrets::default();
        let mut kept = 0;
        while secrets.add(&different(kept, 60_000)).is_ok() {
            kept += 1;
        }
        assert!((3..100).contains(&kept), "{kept}");
        assert!(secrets.mask(&different(0, 60_000)).trim_matches('*').is_empty());
        assert_eq!(secrets.mask(&different(kept, 10)), different(kept, 10));
    }

    /// A text that differs from all others and within itself.
    fn different(seed: usize, length: usize) -> String {
        let words = (1..=length).map(|n| format!("{:x}", n * 2_654_435_761 + seed * 40_503));
        words.collect::<String>()[..length].to_owned()
    }

    #[test]
    fn long_secrets_that_repeat_themselves_are_ready_soon() {
        for secret in ["a".repeat(65_536), "hunter2".repeat(9_000), "ab".repeat(30_000) + "c"] {
            let secrets = Secrets::default();
            secrets.add(&secret).expect("room");
            let shown = secrets.mask(&format!("x{secret}y"));
            assert!(shown.starts_with("x***") && shown.ends_with("***y"), "{}", shown.len());
        }
    }

    #[test]
    fn complete_lines_do_not_wait_and_short_words_are_no_secrets() {
        let secrets = secrets();
        secrets.add("of").expect("room");
        let (mut masker, mut out) = (Masker::default(), Vec::new());
        masker.push(&secrets, b"a line of text\n", &mut out);
        assert_eq!(out, b"a line of text\n");
    }

    #[test]
    fn each_line_of_a_key_is_masked() {
        let secrets = Secrets::default();
        secrets.add("-----BEGIN KEY-----\nMIIEvQIBADANBg\nkqhkiG9w0BAQEF\n").expect("room");
        assert_eq!(secrets.mask("> MIIEvQIBADANBg\n> kqhkiG9w0BAQEF"), "> ***\n> ***");
    }
}
