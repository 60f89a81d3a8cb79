//! Handing a key over to another program: by an open descriptor, or by the kernel's keyring.
//!
//! Guarantees: the key goes where it was told to and nowhere else; never to a terminal.
//!
//! Leaves to others: what the receiver does with it.

use std::io;

use crate::data_key::DataKey;

/// Why a key was not handed over.
#[derive(Debug, thiserror::Error)]
pub enum HandoverError {
    /// A terminal shows and remembers what it is sent.
    #[error("descriptor {fd} is a terminal, which shows what it is sent. Send it to a pipe, or say --reveal")]
    Terminal {
        /// The descriptor.
        fd: i32,
    },
    /// The descriptor takes no more.
    #[error("cannot write the key to descriptor {fd}: {source}")]
    Write {
        /// The descriptor.
        fd: i32,
        /// What the system said.
        source: io::Error,
    },
    /// The keyring refused.
    #[error("the kernel does not take `{name}` into the user's keyring: {source}")]
    Keyring {
        /// The description asked for.
        name: String,
        /// What the system said.
        source: io::Error,
    },
}

/// Writes the key's bytes to the open descriptor `fd`.
///
/// # Errors
/// [`HandoverError`].
pub fn to_descriptor(key: &DataKey, fd: i32) -> Result<(), HandoverError> {
    if calls::is_terminal(fd) {
        return Err(HandoverError::Terminal { fd });
    }
    let mut rest = key.expose_secret();
    while !rest.is_empty() {
        match calls::write(fd, rest) {
            Ok(0) => return Err(HandoverError::Write { fd, source: io::ErrorKind::WriteZero.into() }),
            Ok(count) => rest = &rest[count..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(source) => return Err(HandoverError::Write { fd, source }),
        }
    }
    Ok(())
}

/// Puts the key into the user's keyring (keyrings(7)) as a `user` key of this description, as `cryptsetup` and others
/// can use it. Returns the key's serial number.
///
/// # Errors
/// [`HandoverError::Keyring`].
pub fn to_keyring(key: &DataKey, name: &str) -> Result<i64, HandoverError> {
    let fail = |source| HandoverError::Keyring { name: name.to_owned(), source };
    let description = std::ffi::CString::new(name).map_err(|error| fail(error.into()))?;
    calls::add_key(&description, key.expose_secret()).map_err(fail)
}

#[allow(unsafe_code)] // Descriptors by number and keyrings are reached by system calls only.
mod calls {
    use std::ffi::CStr;
    use std::io;

    pub(super) fn is_terminal(fd: i32) -> bool {
        // SAFETY: takes a number, touches no memory of ours.
        unsafe { libc::isatty(fd) == 1 }
    }

    pub(super) fn write(fd: i32, bytes: &[u8]) -> io::Result<usize> {
        // SAFETY: `bytes` is valid for its length and only read.
        let written = unsafe { libc::write(fd, bytes.as_ptr().cast(), bytes.len()) };
        usize::try_from(written).map_err(|_| io::Error::last_os_error())
    }

    pub(super) fn add_key(description: &CStr, payload: &[u8]) -> io::Result<i64> {
        const USER_KEYRING: libc::c_int = -4; // KEY_SPEC_USER_KEYRING of linux/keyctl.h
        // SAFETY: both texts end in zero, `payload` is valid for its length; the kernel copies all three.
        let serial = unsafe {
            libc::syscall(
                libc::SYS_add_key,
                c"user".as_ptr(),
                description.as_ptr(),
                payload.as_ptr(),
                payload.len(),
                USER_KEYRING,
            )
        };
        if serial < 0 { Err(io::Error::last_os_error()) } else { Ok(serial) }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::os::fd::AsRawFd as _;

    use keymesh_wire::secret::SecretBytes;

    use super::*;

    fn key() -> DataKey {
        DataKey::new(&SecretBytes::from_vec((0..32).collect())).expect("a key")
    }

    #[test]
    fn a_key_goes_to_the_descriptor_as_it_is() {
        let (mut reader, writer) = io::pipe().expect("a pipe");
        to_descriptor(&key(), writer.as_raw_fd()).expect("handed over");
        drop(writer);
        let mut got = Vec::new();
        reader.read_to_end(&mut got).expect("read");
        assert_eq!(got, (0..32).collect::<Vec<u8>>());
    }

    #[test]
    fn a_descriptor_that_is_not_open_is_named() {
        let error = to_descriptor(&key(), 987).expect_err("a refusal").to_string();
        assert!(error.contains("descriptor 987"), "{error}");
    }
}
