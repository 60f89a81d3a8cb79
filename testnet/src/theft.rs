//! A thief of whole nodes: their disks and the node keys that lie beside them, read with keymesh's own code.
//!
//! Past the programs on purpose: what a thief can do is not bound to what the programs offer. Everything is copied first, as a
//! thief would, so nodes must not run meanwhile; each copy is opened as the node itself would open it, its core restored,
//! and the shares of all of them put together. That the same code opens a capsule once enough disks are stolen is for the
//! caller to show, or an attempt that fails says nothing.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use keymesh::config::Config;
use keymesh::runtime::open;
use keymesh_agent::system;
use keymesh_custody::{Offer, Partial, Ristretto, combine, open_partial};
use keymesh_mesh::custody::partial::{generation_purpose, verified_capsule};
use keymesh_mesh::replica::{Replica, ReplicaConfig};
use keymesh_mesh::view::TenantView;
use keymesh_wire::body::CustodyClass;
use keymesh_wire::ids::{BlobHash, KeyId, KeyringId, RootId, TenantId};
use keymesh_wire::label::CapsulePurpose;
use keymesh_wire::time::{Boot, Now};

use crate::error::TestnetError;
use crate::testnet::Testnet;

/// What a thief binds partials to: whatever it likes, as it is their recipient, too.
const BINDING: &[u8] = b"a thief's own";

/// Stolen nodes, each as a core restored from its disk under its own key.
#[derive(Debug)]
pub struct Loot {
    cores: Vec<Replica>,
}

/// What a thief wants to read.
#[derive(Debug, Clone, Copy)]
pub enum Target {
    /// The newest version of a key of a quorum keyring.
    Key(KeyId),
    /// The secret of a leased keyring's generation, which opens all its keys.
    Generation(KeyringId),
}

/// What came of it.
#[derive(Debug)]
pub struct Attempt {
    /// Of each committee: how many shares were stolen, how many it takes.
    pub shares: Vec<(usize, usize)>,
    /// What the capsule held, or why it does not open.
    pub opened: Result<Vec<u8>, String>,
}

impl Loot {
    /// Copies the folders of these nodes to `to` and opens the copies. The nodes must not run.
    ///
    /// # Errors
    /// [`TestnetError`] if a copy cannot be made or is not what a node left.
    pub fn steal(net: &Testnet, nodes: &[usize], to: &Path) -> Result<Self, TestnetError> {
        let mut cores = Vec::new();
        for index in nodes {
            let node = &net.nodes[*index];
            let copy = to.join(node.place.name);
            copy_folder(&node.dir, &copy)?;
            cores.push(restored(&copy).map_err(|what| {
                TestnetError::Unexpected(format!("the stolen disk of {} does not open: {what}", node.place.name))
            })?);
        }
        Ok(Self { cores })
    }

    /// Tries to open something with every share there is.
    ///
    /// # Errors
    /// [`TestnetError::Unexpected`] if no stolen disk has what is to be opened: then nothing was tried.
    pub fn open(&self, tenant: TenantId, target: Target) -> Result<Attempt, TestnetError> {
        let unknown = || TestnetError::Unexpected(format!("no stolen disk holds {target:?}"));
        let views = || self.cores.iter().map(Replica::view);
        let found = views().find_map(|view| {
            let held = view.tenant(&tenant)?;
            Some((view, held, Wanted::of(held, target)?))
        });
        let (view, held, wanted) = found.ok_or_else(unknown)?;
        let Wanted { keyring, root, hash, purpose } = wanted;
        let capsule = verified_capsule(view, held, keyring, root, &hash, purpose)
            .map_err(|refusal| TestnetError::Unexpected(format!("the capsule: {}", refusal.reason)))?;
        let publics = held.roots.get(&root).ok_or_else(unknown)?;
        let mut partials: Vec<Partial<Ristretto>> = Vec::new();
        for view in views() {
            let shares = view.shares.values().flat_map(|shares| shares.iter()).filter(|((of, _), _)| *of == root);
            for share in shares.flat_map(|(_, held)| held) {
                let partial = open_partial(&share.share, &capsule, BINDING, &mut system::randomness());
                partials.push(partial.map_err(|error| TestnetError::Unexpected(format!("a partial: {error}")))?);
            }
        }
        let shares = publics.iter().enumerate().map(|(place, public)| {
            let mine = partials.iter().filter(|partial| partial.committee() == place);
            let members: BTreeSet<_> = mine.map(|partial| partial.index().get()).collect();
            (members.len(), usize::from(public.threshold().t()))
        });
        let shares: Vec<(usize, usize)> = shares.collect();
        // What a committee lacks, a thief passes others' off as.
        for (place, _) in shares.iter().enumerate().filter(|(_, (have, needed))| have < needed) {
            let others: Vec<_> = partials.iter().filter(|partial| partial.committee() != place).collect();
            let passed_off = others.into_iter().filter_map(|partial| passed_off(partial, place)).collect::<Vec<_>>();
            partials.extend(passed_off);
        }
        let offers: Vec<_> = partials.iter().map(|partial| Offer { partial, binding: BINDING }).collect();
        let opened = combine(&capsule, publics, &offers);
        Ok(Attempt { shares, opened: opened.map(|opened| opened.payload.to_vec()).map_err(|error| error.to_string()) })
    }
}

/// A partial said to be one of another committee. The proof in it says otherwise, but combining tries before it looks.
fn passed_off(partial: &Partial<Ristretto>, committee: usize) -> Option<Partial<Ristretto>> {
    // An array of its suite, its committee and more, the first two in a byte each.
    let mut bytes = partial.to_bytes().to_vec();
    *bytes.get_mut(2)? = u8::try_from(committee).ok()?;
    Partial::from_bytes(&bytes).ok()
}

/// A capsule: where it hangs, and what it is for.
struct Wanted {
    keyring: KeyringId,
    root: RootId,
    hash: BlobHash,
    purpose: CapsulePurpose,
}

impl Wanted {
    fn of(held: &TenantView, target: Target) -> Option<Self> {
        let state = held.tenant();
        match target {
            Target::Key(id) => {
                let key = state.keys.get(&id)?;
                let version = &key.versions.last()?.wrapped;
                let root = state.keyrings.get(&key.keyring)?.root;
                let purpose = CapsulePurpose::Version { key: id, version: version.version };
                Some(Self { keyring: key.keyring, root, hash: version.ciphertext, purpose })
            }
            Target::Generation(id) => {
                let keyring = state.keyrings.get(&id)?;
                let CustodyClass::Leased { generation, .. } = &keyring.class else { return None };
                let purpose = generation_purpose(generation);
                Some(Self { keyring: id, root: keyring.root, hash: generation.capsule, purpose })
            }
        }
    }
}

/// The core of a node, from a copy of its folder.
fn restored(folder: &Path) -> Result<Replica, String> {
    let mut config = Config::load(&folder.join("node.toml")).map_err(|error| error.to_string())?;
    // The file names the places it was copied from.
    for path in [&mut config.data_dir, &mut config.key_file] {
        let name = path.file_name().ok_or("a path without a name")?;
        *path = folder.join(name);
    }
    let clock_tolerance = config.clock_max_difference;
    let opened = open::open(config).map_err(|error| error.to_string())?;
    let core =
        ReplicaConfig { identity: opened.identity, mesh: opened.config.mesh, clock_tolerance, refresh_after: None };
    let now = Now { wall: system::wall(), boot: Boot(0) };
    let (replica, _) =
        Replica::restore(core, opened.stored, now, &mut system::randomness()).map_err(|error| error.to_string())?;
    Ok(replica)
}

/// Copies a folder with all that is in it.
///
/// # Errors
/// [`TestnetError::Io`].
pub(crate) fn copy_folder(from: &Path, to: &Path) -> Result<(), TestnetError> {
    fs::create_dir_all(to).map_err(TestnetError::io("make", to))?;
    for entry in fs::read_dir(from).map_err(TestnetError::io("list", from))? {
        let entry = entry.map_err(TestnetError::io("list", from))?;
        let (path, copy) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy_folder(&path, &copy)?;
        } else {
            fs::copy(&path, &copy).map_err(TestnetError::io("copy", &path))?;
        }
    }
    Ok(())
}
