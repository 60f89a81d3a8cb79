//! From BER to DER, for the few forms CMS signers really emit.
//!
//! AWS streams its signatures: the outer structure has indefinite lengths and the content is a constructed octet string
//! (X.690 sections 8.1.3.6 and 8.7.3), which a DER parser rightly refuses. This module rewrites exactly those two forms
//! and refuses every other liberty BER takes (padded lengths, nested string pieces, high tag numbers), so that one
//! document keeps as few spellings as possible. Nothing is interpreted here; the DER parser and the signature judge the
//! result. The output is never longer than a small constant factor of the input, and the work is bounded by
//! `input × MAX_DEPTH`.

/// Deeper than any signed document nests (AWS reaches ten), shallow enough for any stack.
const MAX_DEPTH: u8 = 24;

const EOC: u8 = 0x00;
const OCTET_STRING: u8 = 0x04;
const CONSTRUCTED: u8 = 0x20;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;

/// Why bytes are not the BER this module takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BerError {
    /// The input ended inside an element.
    #[error("the input ends inside an element")]
    Truncated,
    /// A length is padded, too large or not allowed where it stands.
    #[error("a length is not in its shortest form or not allowed here")]
    Length,
    /// A tag that signed documents do not use.
    #[error("tag {tag:#04x} is not used in signed documents")]
    Tag {
        /// The identifier octet.
        tag: u8,
    },
    /// Elements nest deeper than any honest document.
    #[error("elements nest too deeply")]
    Depth,
}

/// What one element became.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transcoded<'a> {
    /// The element in DER framing.
    pub der: Vec<u8>,
    /// What follows the element in the input.
    pub rest: &'a [u8],
}

/// Rewrites the first element of `input` into DER framing.
///
/// Sorting of sets is left alone: the caller compares with a re-encoding where order matters.
pub fn to_der(input: &[u8]) -> Result<Transcoded<'_>, BerError> {
    let mut der = Vec::with_capacity(input.len());
    let rest = element(input, MAX_DEPTH, &mut der)?;
    Ok(Transcoded { der, rest })
}

enum Length {
    Definite(usize),
    Indefinite,
}

fn header(input: &[u8]) -> Result<(u8, Length, &[u8]), BerError> {
    let [tag, first, rest @ ..] = input else {
        return Err(BerError::Truncated);
    };
    if tag & 0x1f == 0x1f {
        return Err(BerError::Tag { tag: *tag });
    }
    match *first {
        0x80 => Ok((*tag, Length::Indefinite, rest)),
        short @ ..0x80 => Ok((*tag, Length::Definite(short.into()), rest)),
        long => {
            // Two length octets reach 64 KiB, well past what any caller accepts.
            let count = usize::from(long & 0x7f);
            if count > 2 {
                return Err(BerError::Length);
            }
            let (octets, rest) = rest.split_at_checked(count).ok_or(BerError::Truncated)?;
            let length = octets.iter().fold(0, |sum, octet| sum << 8 | usize::from(*octet));
            let shortest = if count == 1 { length >= 0x80 } else { length >= 0x100 };
            if shortest { Ok((*tag, Length::Definite(length), rest)) } else { Err(BerError::Length) }
        }
    }
}

fn element<'a>(input: &'a [u8], depth: u8, out: &mut Vec<u8>) -> Result<&'a [u8], BerError> {
    let (tag, length, body) = header(input)?;
    if tag & CONSTRUCTED == 0 {
        let Length::Definite(length) = length else {
            return Err(BerError::Length);
        };
        if tag == EOC {
            return Err(BerError::Tag { tag });
        }
        let (value, rest) = body.split_at_checked(length).ok_or(BerError::Truncated)?;
        write(tag, value, out)?;
        return Ok(rest);
    }
    let depth = depth.checked_sub(1).ok_or(BerError::Depth)?;
    let string = tag == OCTET_STRING | CONSTRUCTED;
    // Of the universal types only these are ever constructed in a signed document.
    if tag < 0x40 && !(string || tag == SEQUENCE || tag == SET) {
        return Err(BerError::Tag { tag });
    }

    let (mut inside, after) = match length {
        Length::Definite(length) => {
            let (inside, after) = body.split_at_checked(length).ok_or(BerError::Truncated)?;
            (inside, Some(after))
        }
        Length::Indefinite => (body, None),
    };
    let mut value = Vec::new();
    let rest = loop {
        match (after, inside) {
            (Some(after), []) => break after,
            (None, [EOC, 0, rest @ ..]) => break rest,
            _ if string => inside = piece(inside, &mut value)?,
            _ => inside = element(inside, depth, &mut value)?,
        }
    };
    write(if string { OCTET_STRING } else { tag }, &value, out)?;
    Ok(rest)
}

/// One primitive piece of a constructed octet string.
fn piece<'a>(input: &'a [u8], value: &mut Vec<u8>) -> Result<&'a [u8], BerError> {
    match header(input)? {
        (OCTET_STRING, Length::Definite(length), body) => {
            let (bytes, rest) = body.split_at_checked(length).ok_or(BerError::Truncated)?;
            value.extend_from_slice(bytes);
            Ok(rest)
        }
        (tag, ..) => Err(BerError::Tag { tag }),
    }
}

fn write(tag: u8, value: &[u8], out: &mut Vec<u8>) -> Result<(), BerError> {
    out.push(tag);
    let [.., high, low] = value.len().to_be_bytes();
    match value.len() {
        0..0x80 => out.push(low),
        0x80..0x100 => out.extend([0x81, low]),
        0x100..0x1_0000 => out.extend([0x82, high, low]),
        _ => return Err(BerError::Length),
    }
    out.extend_from_slice(value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn der(input: &[u8]) -> Result<Vec<u8>, BerError> {
        to_der(input).map(|done| done.der)
    }

    #[test]
    fn definite_lengths_pass_through_unchanged() {
        let plain = [0x30, 0x06, 0x02, 0x01, 0x05, 0xa0, 0x01, 0x00];
        assert_eq!(der(&plain[..]).unwrap_err(), BerError::Truncated);
        let plain = [0x30, 0x07, 0x02, 0x01, 0x05, 0xa0, 0x02, 0x05, 0x00];
        assert_eq!(der(&plain).unwrap(), plain);
    }

    #[test]
    fn streamed_strings_are_joined_and_what_follows_is_handed_back() {
        let streamed = [0x30, 0x80, 0x24, 0x80, 4, 1, b'a', 4, 2, b'b', b'c', 0, 0, 0, 0, 9, 9];
        let done = to_der(&streamed).unwrap();
        assert_eq!(done.der, [0x30, 5, 4, 3, b'a', b'b', b'c']);
        assert_eq!(done.rest, [9, 9]);
    }

    #[test]
    fn other_liberties_of_ber_are_refused() {
        for (input, error) in [
            (&[0x30, 0x81, 0x02, 0x05, 0x00][..], BerError::Length),
            (&[0x04, 0x80, 0x00, 0x00], BerError::Length),
            (&[0x30, 0x84, 0, 0, 0, 0], BerError::Length),
            (&[0x2c, 0x80, 0x0c, 0x01, b'a', 0, 0], BerError::Tag { tag: 0x2c }),
            (&[0x3f, 0x81, 0x01, 0x00], BerError::Tag { tag: 0x3f }),
            (&[0x24, 0x80, 0x24, 0x80, 0, 0, 0, 0], BerError::Tag { tag: 0x24 }),
            (&[0x30, 0x02, 0x00, 0x00], BerError::Tag { tag: 0 }),
            (&[0x30, 0x80, 0x05, 0x00], BerError::Truncated),
            (&[0x30], BerError::Truncated),
            (&[], BerError::Truncated),
        ] {
            assert_eq!(der(input).unwrap_err(), error, "{input:02x?}");
        }
    }

    #[test]
    fn deep_nesting_is_refused_before_the_stack_feels_it() {
        let deep = [0x30, 0x80].repeat(8000);
        assert_eq!(der(&deep).unwrap_err(), BerError::Depth);
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_bytes_never_panic_and_results_are_stable(input in proptest::collection::vec(0u8.., 0..512)) {
            if let Ok(done) = to_der(&input) {
                let again = to_der(&done.der).unwrap();
                proptest::prop_assert_eq!(&again.der, &done.der);
                proptest::prop_assert!(again.rest.is_empty());
            }
        }
    }
}
