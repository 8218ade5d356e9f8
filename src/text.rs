//! Texts as people and their tools write them. There is one rule for every variable, flag, setting and file.
//!
//! Editors add byte order marks and line ends; `docker run --env-file` and lists in Compose files keep quotes; shells of
//! Windows write UTF-16. What cannot belong to a value is removed. What could only be a mistake is refused with its name.

use zeroize::Zeroizing;

/// The byte order mark of Unicode, which some editors put before a text.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// Quotes by pairs: what begins with the one and ends with the other was quoted by somebody.
const QUOTES: [(char, char); 5] = [('"', '"'), ('\'', '\''), ('`', '`'), ('“', '”'), ('‘', '’')];

/// How DER begins in certificates and keys: a sequence with a length of two bytes.
const DER_START: [u8; 2] = [0x30, 0x82];

/// Why a text cannot be what its author meant. Each message continues a sentence: "the variable *has quotes*".
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Oddity {
    /// It is in quotes.
    #[error("has quotes around it, which would become part of it; remove them")]
    Quoted,
    /// It is UTF-16.
    #[error("is UTF-16, not UTF-8; save it again as UTF-8 (PowerShell: -Encoding utf8)")]
    Utf16,
    /// It is DER, as certificates and keys can be.
    #[error("is in the binary format DER; convert it to PEM: openssl x509 (or pkey) -inform der -in FILE -out NEWFILE")]
    Der,
    /// It is none of these.
    #[error("is not valid UTF-8")]
    NotUtf8,
}

/// The bytes without a byte order mark of UTF-8.
#[must_use]
pub fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)
}

/// The bytes of a file or of a variable as a text, without a byte order mark.
///
/// # Errors
///
/// [`Oddity::Utf16`], [`Oddity::Der`] or [`Oddity::NotUtf8`]. The bytes are wiped then.
pub fn decode(bytes: Vec<u8>) -> Result<String, Oddity> {
    let mut text = String::from_utf8(bytes).map_err(|error| {
        let bytes = Zeroizing::new(error.into_bytes());
        if is_utf16(&bytes) {
            Oddity::Utf16
        } else if bytes.starts_with(&DER_START) {
            Oddity::Der
        } else {
            Oddity::NotUtf8
        }
    })?;
    // Without a byte order mark, UTF-16 of ASCII is valid UTF-8.
    if text.contains('\0') && is_utf16(text.as_bytes()) {
        let _wiped = Zeroizing::new(text);
        return Err(Oddity::Utf16);
    }
    if text.starts_with(BYTE_ORDER_MARK) {
        // Moves the rest within its memory: a copy could not be wiped.
        text.drain(..BYTE_ORDER_MARK.len_utf8());
    }
    Ok(text)
}

/// A value without byte order marks, line ends and white space around it; `None` if nothing else is left.
///
/// # Errors
///
/// [`Oddity::Quoted`].
pub fn value(text: &str) -> Result<Option<&str>, Oddity> {
    let text = text.trim_matches(|char: char| char.is_whitespace() || char == BYTE_ORDER_MARK);
    if QUOTES
        .iter()
        .any(|&(open, close)| text.strip_prefix(open).is_some_and(|rest| rest.ends_with(close)))
    {
        return Err(Oddity::Quoted);
    }
    Ok((!text.is_empty()).then_some(text))
}

/// Whether `text` begins or ends with a quote, as what remains of a quoted text does.
#[must_use]
pub fn has_stray_quote(text: &str) -> bool {
    QUOTES.iter().any(|&(open, close)| {
        [open, close]
            .iter()
            .any(|&quote| text.starts_with(quote) || text.ends_with(quote))
    })
}

/// Whether `text` begins with the name of a variable and an equals sign, as a line of an environment file does.
///
/// Equals signs at the end alone make no assignment: they are the padding of base64.
#[must_use]
pub fn is_assignment(text: &str) -> bool {
    let text = text.strip_prefix("export ").unwrap_or(text);
    let Some((name, value)) = text.split_once('=') else {
        return false;
    };
    let name = name.trim();
    name.starts_with(|char: char| char.is_ascii_alphabetic() || char == '_')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && !value.trim_matches('=').is_empty()
}

/// Whether the bytes begin with a byte order mark of UTF-16, or every other one of the first is zero.
fn is_utf16(bytes: &[u8]) -> bool {
    let is_zero = |start: usize| bytes.len() > 1 && bytes.iter().skip(start).step_by(2).take(8).all(|byte| *byte == 0);
    bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") || is_zero(0) || is_zero(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_surrounds_a_value_is_removed() {
        for text in [
            "abc123",
            "abc123\n",
            "abc123\r\n",
            "abc123\n\n",
            "\u{feff}abc123\r\n",
            " \t\u{a0}abc123 \n",
        ] {
            assert_eq!(value(text), Ok(Some("abc123")), "{text:?}");
        }
        for text in ["", "\n", "\u{feff}", " \r\n\t"] {
            assert_eq!(value(text), Ok(None), "{text:?}");
        }
        assert_eq!(value("a b\nc"), Ok(Some("a b\nc")));
    }

    #[test]
    fn surrounding_quotes_are_refused_and_others_are_not() {
        for text in [
            "'abc'",
            "\"abc\"",
            " \"abc\"\r\n",
            "\u{feff}'abc'",
            "`abc`",
            "“abc”",
            "‘abc’",
            "\"\"",
        ] {
            assert_eq!(value(text), Err(Oddity::Quoted), "{text:?}");
        }
        for text in ["1=The \"Events\"", "\"", "'abc\"", "a'b"] {
            assert!(value(text).is_ok(), "{text:?}");
        }
        assert!(has_stray_quote("\"abc") && has_stray_quote("abc'") && !has_stray_quote("a'b"));
    }

    #[test]
    fn utf16_is_named() {
        let little: Vec<u8> = "abc123\r\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let big: Vec<u8> = "abc123\r\n".encode_utf16().flat_map(u16::to_be_bytes).collect();
        for bytes in [
            little.clone(),
            big.clone(),
            [b"\xff\xfe", &little[..]].concat(),
            [b"\xfe\xff", &big[..]].concat(),
            b"\xff\xfe".to_vec(),
        ] {
            assert_eq!(decode(bytes.clone()), Err(Oddity::Utf16), "{bytes:?}");
        }
        assert_eq!(decode(b"\xffabc".to_vec()), Err(Oddity::NotUtf8));
        assert_eq!(decode(b"\x30\x82\x01\x0a\xff".to_vec()), Err(Oddity::Der));
        for (bytes, text) in [
            (&b"\xef\xbb\xbfabc"[..], "abc"),
            (b"", ""),
            (b"a", "a"),
            (b"a\0bc", "a\0bc"),
            ("schlüssel".as_bytes(), "schlüssel"),
        ] {
            assert_eq!(decode(bytes.to_vec()), Ok(text.to_owned()));
        }
    }

    #[test]
    fn a_line_of_an_environment_file_is_recognised() {
        for text in [
            "SONORANCAD_API_KEY=abc",
            "export API_KEY=abc",
            "key = abc",
            "A=1\nB=2",
            "API_KEY='abc='",
        ] {
            assert!(is_assignment(text), "{text}");
        }
        for text in ["abc", "YWJjZA==", "YWI=", "=abc", "1a=b", "a-b=c", "a/b=c", ""] {
            assert!(!is_assignment(text), "{text}");
        }
    }
}
