//! Canaries: every secret of a run is planted here, and whatever leaves a core in the clear is searched for them (I1, I10).
//!
//! A secret is found as it is, in the other byte order, in hex of either case, in base64 of either alphabet at each of the
//! three alignments, and as `Debug` prints bytes. What is searched: frames, statements, ciphertexts, audit records,
//! warnings, answers to clients, the timeline. Secrets may lie in memory, in what a client is given, and a node's share in
//! the node's own slot; everywhere else a canary that is found is a violation.
//!
//! That no t shares of a committee meet follows: not even one is seen outside its slot. Left to others: secrets that
//! never leave the core's memory (polynomials and sub-shares of a key generation, keys derived inside of HPKE).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

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

/// A secret in one form.
struct Needle {
    bytes: Vec<u8>,
    secret: usize,
    form: Form,
}

/// All planted secrets.
///
/// Every eighth place of what is searched is read as a word of eight bytes. Wherever a needle of fifteen bytes or more lies,
/// one of these words is whole inside of it, at one of its first eight places: those are what is known of each needle. A
/// search costs a word read and a bit looked up for eight bytes, however many secrets are planted, and planting one
/// costs nothing but its own words.
#[derive(Default)]
pub struct Canaries {
    names: Vec<String>,
    known: BTreeSet<Vec<u8>>,
    needles: Vec<Needle>,
    /// Which needles a word is of, and at which of their places.
    words: BTreeMap<u64, Vec<(usize, usize)>>,
    sieve: Sieve,
}

/// A word of a needle: what is compared at once, and how far apart.
const WORD: usize = 8;
const _: () = assert!(SHORTEST >= 2 * WORD - 1, "a word has to lie inside of every needle wherever that begins");

/// The word that some bytes begin with.
fn word(bytes: &[u8]) -> Option<u64> {
    bytes.first_chunk().map(|word| u64::from_le_bytes(*word))
}

/// A bit for each word that is known: tells nearly every other word from them without a look at the words.
struct Sieve {
    bits: Vec<u64>,
}

impl Default for Sieve {
    fn default() -> Self {
        Self { bits: vec![0] }
    }
}

impl Sieve {
    /// Bits for each word: of so many strange words one is looked up in vain.
    const ROOM: usize = 16;

    /// With twice the room that these words need.
    fn of<'a>(words: impl ExactSizeIterator<Item = &'a u64>) -> Self {
        let mut sieve = Self { bits: vec![0; (2 * words.len() * Self::ROOM / 64).next_power_of_two()] };
        words.for_each(|word| sieve.insert(*word));
        sieve
    }

    fn is_narrow(&self, words: usize) -> bool {
        self.bits.len() * 64 < words * Self::ROOM
    }

    fn place(&self, word: u64) -> (usize, u64) {
        let hash = word.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        ((hash >> 6) as usize & (self.bits.len() - 1), 1 << (hash & 63))
    }

    fn insert(&mut self, word: u64) {
        let (place, bit) = self.place(word);
        self.bits[place] |= bit;
    }

    fn may_hold(&self, word: u64) -> bool {
        let (place, bit) = self.place(word);
        self.bits[place] & bit != 0
    }
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
        if !self.known.insert(secret.to_vec()) {
            return;
        }
        for (bytes, form) in written(secret) {
            for place in 0..WORD {
                let word = word(&bytes[place..]).expect("no form is shorter than the secret");
                self.words.entry(word).or_default().push((self.needles.len(), place));
                self.sieve.insert(word);
            }
            self.needles.push(Needle { bytes, secret: self.names.len(), form });
        }
        self.names.push(what.into());
        if self.sieve.is_narrow(self.words.len()) {
            self.sieve = Sieve::of(self.words.keys());
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
    pub fn find(&self, hay: &[u8]) -> Option<Found> {
        let (words, _) = hay.as_chunks::<WORD>();
        words.iter().enumerate().find_map(|(nth, word)| {
            let word = u64::from_le_bytes(*word);
            self.sieve.may_hold(word).then(|| self.find_around(word, nth * WORD, hay)).flatten()
        })
    }

    /// A whole needle around a word of it that stands at this place.
    fn find_around(&self, word: u64, at: usize, hay: &[u8]) -> Option<Found> {
        self.words.get(&word)?.iter().find_map(|(needle, place)| {
            let Needle { bytes, secret, form } = &self.needles[*needle];
            let here = hay[at.checked_sub(*place)?..].starts_with(bytes);
            here.then(|| Found { what: self.names[*secret].clone(), form: *form })
        })
    }
}

/// A secret in all its forms.
fn written(secret: &[u8]) -> Vec<(Vec<u8>, Form)> {
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
    forms
}

#[cfg(test)]
mod tests {
    use data_encoding::{BASE64, BASE64URL};

    use super::*;

    fn secret(salt: u8) -> Vec<u8> {
        (0..32u8).map(|byte| byte.wrapping_mul(73) ^ salt.wrapping_mul(29) ^ 0xa5).collect()
    }

    fn found(canaries: &Canaries, hay: &[u8]) -> Option<(String, Form)> {
        canaries.find(hay).map(|found| (found.what, found.form))
    }

    #[test]
    fn a_planted_secret_is_found_in_every_form_and_at_every_place() {
        let mut canaries = Canaries::default();
        canaries.plant("the key", &secret(1));
        let reversed: Vec<u8> = secret(1).into_iter().rev().collect();
        for before in 0..9 {
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
                let got = found(&canaries, &hay).map(|(what, got)| (what, form_of(got, form)));
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
                let what = found(&canaries, &secret(earlier));
                assert_eq!(what, Some((format!("secret {earlier}"), Form::Raw)));
            }
        }
        assert_eq!(canaries.len(), 40);
    }
}
