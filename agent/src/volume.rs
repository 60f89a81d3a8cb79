//! Volumes that the mesh opens: a LUKS2 volume with a token that says which key it needs and who to ask.
//!
//! Guarantees: the token holds ids and addresses and no secret; it names the key's version, so rotating the key does
//! not lock the volume out; a volume is in the file whole, with its token, or the file is not there; nothing that is a
//! file or volume already is overwritten unasked.
//!
//! The token lies unprotected in the header. Whoever can write to the disk can send an agent elsewhere, where it gives
//! away nothing: a session proof is worth nothing at another node or mesh, and a key from elsewhere does not open the
//! volume. An agent that has a mesh and tenant configured refuses a token that names others.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _};
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use keymesh_wire::ids::{KeyId, MeshId, TenantId, VersionId};
use serde::{Deserialize, Serialize};

use crate::data_key::DataKey;
use crate::fleet::MOST_ADDRESSES;
use crate::keys::Class;
use crate::luks::{Cryptsetup, LuksError};
use crate::quorum::RootPin;

/// The smallest volume: the header takes 16 MiB of it.
pub const LEAST_BYTES: u64 = 17 * 1024 * 1024;

const TYPE: &str = "keymesh";
const VERSION: u16 = 1;

/// What a volume's header says about its key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Token {
    /// Always `keymesh`.
    #[serde(rename = "type")]
    kind: String,
    /// The key slot that the key opens.
    keyslots: Vec<String>,
    /// Version of this form.
    version: u16,
    /// The mesh.
    pub mesh: MeshId,
    /// The tenant.
    pub tenant: TenantId,
    /// The key.
    pub key: KeyId,
    /// The version of the key.
    pub key_version: VersionId,
    /// How its keyring is kept.
    pub class: Class,
    /// The doors of nodes to ask.
    pub addresses: Vec<SocketAddr>,
    /// The root, for a key of a quorum keyring.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root_public: Option<RootPin>,
}

/// Why a volume was not formatted or opened.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    /// `cryptsetup` failed or is missing.
    #[error(transparent)]
    Luks(#[from] LuksError),
    /// The operating system refused.
    #[error("cannot {doing} {volume}: {source}")]
    Io {
        /// The volume.
        volume: PathBuf,
        /// What was being done.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// There is something already.
    #[error("{volume} {what} and is left as it is. To overwrite it: --overwrite")]
    Exists {
        /// The volume.
        volume: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// Neither a file nor a block device, or no room in it.
    #[error("{volume} {what}")]
    Unfit {
        /// The volume.
        volume: PathBuf,
        /// Why.
        what: &'static str,
    },
    /// No token of ours.
    #[error("{volume} has no keymesh token: it was not made by `keymesh-agent volume format`")]
    NoToken {
        /// The volume.
        volume: PathBuf,
    },
    /// A token of ours that cannot be used.
    #[error("{volume}: token {number} cannot be used: {what}")]
    Token {
        /// The volume.
        volume: PathBuf,
        /// Its number.
        number: String,
        /// What is wrong with it.
        what: String,
    },
}

/// The fields of a new token.
#[derive(Debug, Clone)]
pub struct TokenFields {
    /// The mesh.
    pub mesh: MeshId,
    /// The tenant.
    pub tenant: TenantId,
    /// The key.
    pub key: KeyId,
    /// The version of the key.
    pub key_version: VersionId,
    /// How its keyring is kept.
    pub class: Class,
    /// The doors of nodes to ask.
    pub addresses: Vec<SocketAddr>,
    /// The root, for a key of a quorum keyring.
    pub root_public: Option<RootPin>,
}

impl Token {
    /// A token for key slot 0.
    pub fn new(fields: TokenFields) -> Self {
        let TokenFields { mesh, tenant, key, key_version, class, mut addresses, root_public } = fields;
        addresses.truncate(MOST_ADDRESSES);
        let (kind, keyslots, version) = (TYPE.to_owned(), vec!["0".to_owned()], VERSION);
        Self { kind, keyslots, version, mesh, tenant, key, key_version, class, addresses, root_public }
    }

    fn check(&self) -> Result<(), String> {
        if self.version != VERSION {
            return Err(format!("it is of version {}, this program reads version {VERSION}", self.version));
        }
        if self.addresses.is_empty() || self.addresses.len() > MOST_ADDRESSES {
            return Err(format!("{} addresses, where 1 to {MOST_ADDRESSES} are allowed", self.addresses.len()));
        }
        if self.class == Class::Quorum && self.root_public.is_none() {
            return Err("it names no root, which the key of a quorum keyring needs".to_owned());
        }
        Ok(())
    }
}

/// What is to become a volume, before a key is asked for: so that a mistake in it costs no release.
#[derive(Debug)]
pub struct Place {
    path: PathBuf,
    made: bool,
}

impl Place {
    /// A new file of `size` bytes (sparse, its owner's alone), or an existing file or block device. With `overwrite`,
    /// what is there may be lost.
    ///
    /// # Errors
    /// [`VolumeError`].
    pub fn prepare(path: &Path, size: u64, overwrite: bool) -> Result<Self, VolumeError> {
        let io = |doing| move |source| VolumeError::Io { volume: path.to_owned(), doing, source };
        let exists = |what| VolumeError::Exists { volume: path.to_owned(), what };
        let unfit = |what| VolumeError::Unfit { volume: path.to_owned(), what };
        match fs::metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if size < LEAST_BYTES {
                    return Err(unfit("would be too small: a volume takes at least 17 MiB"));
                }
                let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
                let file = made.map_err(io("create"))?;
                let place = Self { path: path.to_owned(), made: true };
                match file.set_len(size).map_err(io("make room in")) {
                    Ok(()) => Ok(place),
                    Err(error) => Err(place.abandon(error)),
                }
            }
            Err(error) => Err(io("examine")(error)),
            Ok(facts) if facts.is_file() || facts.file_type().is_block_device() => {
                if !overwrite && is_luks(path).map_err(io("read"))? {
                    return Err(exists("is a LUKS volume already"));
                }
                if !overwrite && facts.is_file() {
                    return Err(exists("exists"));
                }
                if facts.is_file() && facts.len() < LEAST_BYTES {
                    return Err(unfit("is too small: a volume takes at least 17 MiB"));
                }
                Ok(Self { path: path.to_owned(), made: false })
            }
            Ok(_) => Err(unfit("is neither a file nor a block device")),
        }
    }

    /// Makes the volume: formats it for `key` and writes the token.
    ///
    /// # Errors
    /// [`VolumeError`]; a file that [`Place::prepare`] made is removed again.
    pub fn format(self, cryptsetup: &Cryptsetup, key: &DataKey, token: &Token) -> Result<(), VolumeError> {
        match self.try_format(cryptsetup, key, token) {
            Ok(()) => Ok(()),
            Err(error) => Err(self.abandon(error)),
        }
    }

    fn try_format(&self, cryptsetup: &Cryptsetup, key: &DataKey, token: &Token) -> Result<(), VolumeError> {
        let io = |source| VolumeError::Io { volume: self.path.clone(), doing: "make durable", source };
        let token = serde_json::to_value(token).map_err(|error| io(error.into()))?;
        cryptsetup.format(&self.path, key)?;
        cryptsetup.import_token(&self.path, &token)?;
        File::open(&self.path).and_then(|file| file.sync_all()).map_err(io)
    }

    /// Gives up for the reason `error`, and takes away a file that was made for this.
    pub fn abandon<E>(self, error: E) -> E {
        if self.made {
            // The reason for giving up says more than a file that cannot be removed.
            let _ = fs::remove_file(&self.path);
        }
        error
    }
}

fn is_luks(path: &Path) -> io::Result<bool> {
    let mut magic = [0; 6];
    match File::open(path)?.read_exact(&mut magic) {
        Ok(()) => Ok(magic == *b"LUKS\xba\xbe"),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// The first keymesh token in the header of `volume`.
///
/// # Errors
/// [`VolumeError`].
pub fn read_token(cryptsetup: &Cryptsetup, volume: &Path) -> Result<Token, VolumeError> {
    let mut tokens = cryptsetup.tokens(volume)?;
    tokens.sort_by(|a, b| a.0.cmp(&b.0));
    let ours = tokens.into_iter().find(|(_, token)| token.get("type").is_some_and(|kind| kind == TYPE));
    let (number, token) = ours.ok_or_else(|| VolumeError::NoToken { volume: volume.to_owned() })?;
    parse_token(token).map_err(|what| VolumeError::Token { volume: volume.to_owned(), number, what })
}

fn parse_token(token: serde_json::Value) -> Result<Token, String> {
    let token: Token = serde_json::from_value(token).map_err(|error| error.to_string())?;
    token.check()?;
    Ok(token)
}

#[cfg(test)]
#[path = "volume_tests.rs"]
mod tests;
