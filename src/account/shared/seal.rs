//! What of an account and its feeds reaches the store: names that do not tell the key, and states that only replicas read.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};

use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hmac::{self, HMAC_SHA256};
use ring::rand::{SecureRandom as _, SystemRandom};

/// What all names begin with.
const PREFIX: &str = "sonorancad";

/// What is derived from an address of the API and a key, from which neither can be computed.
#[derive(Debug)]
pub struct Secrets {
    name: String,
    sealing: LessSafeKey,
}

impl Secrets {
    /// Those of an account: the address of the API and the key.
    ///
    /// # Panics
    ///
    /// Never.
    #[must_use]
    pub fn new((address, key): (&str, &str)) -> Self {
        let derive = |label: &str| {
            let mut context = hmac::Context::with_key(&hmac::Key::new(HMAC_SHA256, label.as_bytes()));
            for part in [address.as_bytes(), b"\0", key.as_bytes()] {
                context.update(part);
            }
            context.sign()
        };
        let name = derive("sonorancad-exporter: name of an account");
        let sealing = derive("sonorancad-exporter: states of an account");
        let sealing = UnboundKey::new(&CHACHA20_POLY1305, sealing.as_ref());
        Self {
            name: hex(&name.as_ref()[..16]),
            sealing: LessSafeKey::new(sealing.expect("both have 256 bits")),
        }
    }

    /// The name of something of the account. The braces keep all of them on one node of a cluster.
    pub(super) fn name(&self, rest: &str) -> String {
        format!("{PREFIX}:{{{}}}{rest}", self.name)
    }

    /// Compresses and encrypts a state, which can be read under this name only. `None` if the system has no random numbers.
    #[must_use]
    pub fn seal(&self, name: &str, state: &[u8]) -> Option<Vec<u8>> {
        let mut compressed = DeflateEncoder::new(Vec::new(), Compression::fast());
        compressed.write_all(state).ok()?;
        let mut state = compressed.finish().ok()?;
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).ok()?;
        let unique = Nonce::assume_unique_for_key(nonce);
        self.sealing
            .seal_in_place_append_tag(unique, Aad::from(name.as_bytes()), &mut state)
            .ok()?;
        let mut sealed = nonce.to_vec();
        sealed.append(&mut state);
        Some(sealed)
    }

    /// The state of this name; `None` if no replica with the same key has written it.
    #[must_use]
    pub fn open(&self, name: &str, sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, state) = sealed.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut state = state.to_vec();
        let length = self
            .sealing
            .open_in_place(nonce, Aad::from(name.as_bytes()), &mut state)
            .ok()?
            .len();
        let mut read = Vec::new();
        // Replicas write no bombs.
        DeflateDecoder::new(&state[..length]).read_to_end(&mut read).ok()?;
        Some(read)
    }
}

/// A short name for these texts. Not secret.
pub(super) fn digest<'a>(texts: impl Iterator<Item = &'a str>) -> String {
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    for text in texts {
        context.update(text.as_bytes());
        context.update(b"\0");
    }
    hex(&context.finish().as_ref()[..4])
}

/// A text that no other replica has.
pub(super) fn token() -> String {
    let mut bytes = [0; 16];
    SystemRandom::new()
        .fill(&mut bytes)
        .expect("the system has random numbers");
    hex(&bytes)
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: &str = "https://api.example.org/";

    #[test]
    fn a_state_can_be_read_with_the_same_key_and_name_only() {
        let secrets = Secrets::new((ADDRESS, "the-key"));
        let sealed = secrets.seal("a", b"state").unwrap();
        assert_eq!(secrets.open("a", &sealed).as_deref(), Some(&b"state"[..]));
        assert_eq!(secrets.open("b", &sealed), None);
        assert_eq!(Secrets::new((ADDRESS, "other-key")).open("a", &sealed), None);
        for broken in [&sealed[1..], &sealed[..sealed.len() - 1], b"", b"short", &[0; 100]] {
            assert_eq!(secrets.open("a", broken), None);
        }
        assert_ne!(secrets.seal("a", b"state").unwrap(), sealed, "no nonce is used twice");
    }

    #[test]
    fn accounts_have_names_of_their_own_which_do_not_change() {
        let name = |address, key| Secrets::new((address, key)).name(":x");
        assert_eq!(name(ADDRESS, "the-key"), name(ADDRESS, "the-key"));
        assert_ne!(name(ADDRESS, "the-key"), name(ADDRESS, "the-keys"));
        assert_ne!(name("https://b.example.org/", "the-key"), name(ADDRESS, "the-key"));
        assert_eq!(name(ADDRESS, "the-key").len(), "sonorancad:{}:x".len() + 32);
    }

    #[test]
    fn texts_are_told_apart() {
        let digest = |texts: &[&'static str]| digest(texts.iter().copied());
        assert_ne!(digest(&["a", "b"]), digest(&["ab"]));
        assert_ne!(digest(&[]), digest(&[""]));
    }
}
