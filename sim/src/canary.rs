//! Canaries: every secret of a run is planted here, and whatever leaves a core in the clear is searched for them (I1, I10).
//!
//! A secret is found as it is, in the other byte order, in hex of either case, in base64 of either alphabet at each of the
//! three alignments, and as `Debug` prints bytes. What is searched: frames, statements, ciphertexts, audit records,
//! warnings, answers to clients, the timeline. Secrets may lie in memory, in what a client is given, and a node's share in
//! the node's own slot; everywhere else a canary that is found is a violation.
//!
//! That no t shares of a committee meet follows: not even one is seen outside its slot. Left to others: secrets that
//! never leave the core's memory (polynomials and sub-shares of a key generation, keys derived inside of HPKE).

use std::collections::BTreeSet;
use std::fmt;

use aho_corasick::{AhoCorasick, AhoCorasickKind};
use data_encoding::{BASE64_NOPAD, BASE64URL_NOPAD, HEXLOWER, HEXUPPER};

/// Shorter secrets would be found where they are not.
const SHORTEST: usize = 16;

/// How a secret was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Form {
    /// As it is.
    Raw,
    /// In the other byte order.
    Reversed,
    /// In lower-case hex.
    HexLower,
    /// In upper-case hex.
    HexUpper,
    /// In base64 with the standard alphabet.
    Base64,
    /// In base64 with the alphabet for URLs.
    Base64Url,
    /// As numbers in a list.
    Decimal,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Which secret.
    pub what: String,
    /// How it was written.
    pub form: Form,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, form } = self;
        write!(f, "{what} ({form:?})")
    }
}

/// Some planted secrets with the automaton that finds them.
struct Batch {
    secrets: usize,
    needles: Vec<(Vec<u8>, usize, Form)>,
    automaton: AhoCorasick,
}

/// All planted secrets.
///
/// Automatons are built when somebody searches, over batches that double in size: planting n secrets between searches
/// costs n·log n and not n².
#[derive(Default)]
pub struct Canaries {
    names: Vec<String>,
    known: BTreeSet<Vec<u8>>,
    fresh: Vec<(usize, Vec<u8>)>,
    batches: Vec<Batch>,
}

impl fmt::Debug for Canaries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Canaries({})", self.names.len())
    }
}

impl Canaries {
    /// Plants a secret. One that is known keeps its first name.
    ///
    /// # Panics
    /// When the secret is too short to be told from other bytes.
    pub fn plant(&mut self, what: impl Into<String>, secret: &[u8]) {
        assert!(secret.len() >= SHORTEST, "{} bytes are found everywhere", secret.len());
        if self.known.insert(secret.to_vec()) {
            self.fresh.push((self.names.len(), secret.to_vec()));
            self.names.push(what.into());
        }
    }

    /// Whether a secret is planted.
    pub fn knows(&self, secret: &[u8]) -> bool {
        self.known.contains(secret)
    }

    /// How many secrets are planted.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// The first planted secret in some bytes.
    pub fn find(&mut self, hay: &[u8]) -> Option<Found> {
        self.take_fresh();
        self.batches.iter().find_map(|batch| {
            let hit = batch.automaton.find(hay)?;
            let (_, secret, form) = &batch.needles[hit.pattern().as_usize()];
            Some(Found { what: self.names[*secret].clone(), form: *form })
        })
    }

    fn take_fresh(&mut self) {
        if self.fresh.is_empty() {
            return;
        }
        let mut secrets = self.fresh.len();
        let fresh = std::mem::take(&mut self.fresh);
        let mut needles: Vec<_> = fresh.iter().flat_map(|(place, secret)| written(*place, secret)).collect();
        while let Some(last) = self.batches.pop_if(|last| last.secrets <= secrets) {
            secrets += last.secrets;
            needles.extend(last.needles);
        }
        let automaton = AhoCorasick::builder()
            .kind(Some(AhoCorasickKind::ContiguousNFA))
            .build(needles.iter().map(|(needle, ..)| needle));
        let automaton = automaton.expect("a run's secrets are far fewer than an automaton has states");
        self.batches.push(Batch { secrets, needles, automaton });
    }
}

/// A secret in all its forms.
fn written(place: usize, secret: &[u8]) -> Vec<(Vec<u8>, usize, Form)> {
    let reversed: Vec<u8> = secret.iter().rev().copied().collect();
    let decimal: Vec<String> = secret.iter().map(u8::to_string).collect();
    let mut forms = vec![
        (secret.to_vec(), Form::Raw),
        (reversed, Form::Reversed),
        (HEXLOWER.encode(secret).into_bytes(), Form::HexLower),
        (HEXUPPER.encode(secret).into_bytes(), Form::HexUpper),
        (decimal.join(", ").into_bytes(), Form::Decimal),
    ];
    for before in 0..3 {
        let padded = [vec![0; before], secret.to_vec()].concat();
        // Characters that hold nothing but bits of the secret, whatever is around it.
        let clean = (before * 8).div_ceil(6)..padded.len() * 8 / 6;
        for (encoding, form) in [(&BASE64_NOPAD, Form::Base64), (&BASE64URL_NOPAD, Form::Base64Url)] {
            forms.push((encoding.encode(&padded).into_bytes()[clean.clone()].to_vec(), form));
        }
    }
    forms.into_iter().map(|(needle, form)| (needle, place, form)).collect()
}

#[cfg(test)]
mod tests {
    use data_encoding::{BASE64, BASE64URL};

    use super::*;

    fn secret(salt: u8) -> Vec<u8> {
        (0..32u8).map(|byte| byte.wrapping_mul(73) ^ salt.wrapping_mul(29) ^ 0xa5).collect()
    }

    fn found(canaries: &mut Canaries, hay: &[u8]) -> Option<(String, Form)> {
        canaries.find(hay).map(|found| (found.what, found.form))
    }

    #[test]
    fn a_planted_secret_is_found_in_every_form_and_at_every_place() {
        let mut canaries = Canaries::default();
        canaries.plant("the key", &secret(1));
        let reversed: Vec<u8> = secret(1).into_iter().rev().collect();
        for before in 0..7 {
            let mut around = vec![0x5a; before];
            around.extend(secret(1));
            around.extend([0xc3; 5]);
            let text = format!("{around:?}");
            let hays: [(Vec<u8>, Form); 7] = [
                (around.clone(), Form::Raw),
                ([vec![7; before], reversed.clone()].concat(), Form::Reversed),
                (HEXLOWER.encode(&around).into_bytes(), Form::HexLower),
                (HEXUPPER.encode(&around).into_bytes(), Form::HexUpper),
                (BASE64.encode(&around).into_bytes(), Form::Base64),
                (BASE64URL.encode(&around).into_bytes(), Form::Base64Url),
                (text.into_bytes(), Form::Decimal),
            ];
            for (hay, form) in hays {
                let got = found(&mut canaries, &hay).map(|(what, got)| (what, form_of(got, form)));
                assert_eq!(got, Some(("the key".to_owned(), form)), "{before} bytes before it");
            }
        }
    }

    /// Both alphabets of base64 may write the same.
    fn form_of(got: Form, wanted: Form) -> Form {
        match (got, wanted) {
            (Form::Base64, Form::Base64Url) | (Form::Base64Url, Form::Base64) => wanted,
            _ => got,
        }
    }

    #[test]
    fn what_was_not_planted_or_is_not_whole_is_not_found() {
        let mut canaries = Canaries::default();
        assert_eq!(canaries.find(&secret(1)), None);
        canaries.plant("the key", &secret(1));
        for hay in [secret(2), secret(1)[1..].to_vec(), HEXLOWER.encode(&secret(2)).into_bytes(), Vec::new()] {
            assert_eq!(canaries.find(&hay), None);
        }
        let mut flipped = secret(1);
        flipped[31] ^= 0x80;
        assert_eq!(canaries.find(&BASE64.encode(&flipped).into_bytes()), None);
    }

    #[test]
    fn secrets_planted_between_searches_are_all_found_under_their_first_names() {
        let mut canaries = Canaries::default();
        for salt in 0..40 {
            canaries.plant(format!("secret {salt}"), &secret(salt));
            canaries.plant("again", &secret(salt));
            for earlier in [0, salt / 2, salt] {
                let what = found(&mut canaries, &secret(earlier));
                assert_eq!(what, Some((format!("secret {earlier}"), Form::Raw)));
            }
        }
        assert_eq!(canaries.len(), 40);
        assert!(canaries.batches.len() <= 6, "{} automatons", canaries.batches.len());
    }
}
