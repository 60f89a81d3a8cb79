//! Secrets that are made here and leave sealed: a leased keyring's generation and versions of keys.
//!
//! Guarantees (I1, I10): the secret exists in locked memory for the length of one call, is bound to the very ids it was
//! made for, and nothing but its ciphertext comes out. Roots are taken from the tenant's own folded document.

use keymesh_custody::{Ristretto, RootPublic, seal};
use keymesh_mesh::state::TenantState;
use keymesh_mesh::state::tenant::Root;
use keymesh_wire::body::{CustodyClass, GenerationRef};
use keymesh_wire::ids::{KeyId, KeyringId, RootId, VersionId};
use keymesh_wire::label::{CapsuleLabel, CapsulePurpose, VersionLabel};
use keymesh_wire::sealing::{SealingPublic, SealingSecret, seal_to};
use keymesh_wire::secret::{Secret32, Secret64};
use keymesh_wire::suite::Suite;
use rand_core::CryptoRng;

use super::error::CliError;
use super::names::keyring_path;

/// A data key's length in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum KeyBytes {
    /// 256 bits.
    #[value(name = "32")]
    Short,
    /// 512 bits, for AES-256 in XTS without a derivation.
    #[value(name = "64")]
    Long,
}

/// The live root of a tenant, or the error that says to make one.
pub fn live_root(tenant: &TenantState) -> Result<&Root, CliError> {
    tenant.live_root().ok_or_else(|| CliError::NoRoot { tenant: tenant.name.clone() })
}

fn publics(tenant: &TenantState, root: &RootId) -> Result<Vec<RootPublic<Ristretto>>, CliError> {
    let none = || CliError::NoRoot { tenant: tenant.name.clone() };
    let root = tenant.roots.get(root).filter(|root| root.live).ok_or_else(none)?;
    let public = |bytes: &Option<Vec<u8>>| {
        let parsed = bytes.as_deref().and_then(|bytes| RootPublic::<Ristretto>::from_bytes(bytes).ok());
        parsed.ok_or_else(none)
    };
    root.committees.iter().map(|committee| public(&committee.public)).collect()
}

fn capsule(
    tenant: &TenantState,
    root: RootId,
    keyring: KeyringId,
    purpose: CapsulePurpose,
    payload: &[u8],
    rng: &mut impl CryptoRng,
) -> Result<Vec<u8>, CliError> {
    let label = CapsuleLabel { suite: Suite::V1, mesh: tenant.mesh, tenant: tenant.tenant, root, keyring, purpose };
    Ok(seal::<Ristretto>(&label.bytes(), &publics(tenant, &root)?, payload, rng)?.to_bytes())
}

/// A new generation: its public half, and the capsule of its secret half.
pub fn generation(
    tenant: &TenantState,
    root: RootId,
    keyring: KeyringId,
    number: u32,
    rng: &mut impl CryptoRng,
) -> Result<([u8; 32], Vec<u8>), CliError> {
    let pair = SealingSecret::random(rng);
    let public = *pair.public().as_bytes();
    let secret = pair.expose_secret().expose_secret();
    let purpose = CapsulePurpose::Generation { number, public };
    Ok((public, capsule(tenant, root, keyring, purpose, secret, rng)?))
}

/// A new version of a key, sealed as its keyring demands: to this generation of a leased one. Returns the ciphertext.
pub fn version(
    tenant: &TenantState,
    (keyring, generation): (KeyringId, Option<GenerationRef>),
    key: KeyId,
    version: VersionId,
    bytes: KeyBytes,
    rng: &mut impl CryptoRng,
) -> Result<Vec<u8>, CliError> {
    let place = (keyring, generation);
    match bytes {
        KeyBytes::Short => {
            let secret = Secret32::random(rng);
            seal_version(tenant, place, key, version, secret.expose_secret(), rng)
        }
        KeyBytes::Long => {
            let secret = Secret64::random(rng);
            seal_version(tenant, place, key, version, secret.expose_secret(), rng)
        }
    }
}

fn seal_version(
    tenant: &TenantState,
    (keyring, generation): (KeyringId, Option<GenerationRef>),
    key: KeyId,
    version: VersionId,
    secret: &[u8],
    rng: &mut impl CryptoRng,
) -> Result<Vec<u8>, CliError> {
    let known = tenant.keyrings.get(&keyring).ok_or_else(|| CliError::NotFound {
        kind: "keyring",
        name: keyring.to_string(),
        place: format!("tenant {}", tenant.name),
        hint: "`keymesh keyring list` shows them".to_owned(),
    })?;
    match &known.class {
        CustodyClass::Leased { .. } => {
            let chosen = generation.and_then(|generation| known.generation(&generation));
            let chosen = chosen.ok_or_else(|| CliError::NoGeneration { keyring: keyring_path(tenant, &keyring) })?;
            let label = VersionLabel {
                suite: Suite::V1,
                mesh: tenant.mesh,
                tenant: tenant.tenant,
                keyring,
                generation: chosen.id.number,
                key,
                version,
            };
            let public = SealingPublic::from_bytes(chosen.generation.public)?;
            Ok(seal_to(&public, &label.bytes(), &[], secret, rng))
        }
        CustodyClass::Quorum => {
            let purpose = CapsulePurpose::Version { key, version };
            capsule(tenant, known.root, keyring, purpose, secret, rng)
        }
    }
}

#[cfg(test)]
mod tests {
    use keymesh_mesh::state::Document;
    use keymesh_wire::body::{
        Body, Generation, NewKeyring, NewNamespace, Person, Placement, TenantGenesis, keyring_id,
    };
    use keymesh_wire::ids::{BlobHash, MeshId, NodeId, Nonce};
    use keymesh_wire::sealing::open_with;
    use keymesh_wire::sign::Identity;
    use keymesh_wire::statement::Checked;
    use keymesh_wire::time::{Millis, Wall};

    use super::*;

    /// A tenant with one keyring of this class and a root that nobody made.
    fn tenant(class: CustodyClass) -> (Document, KeyringId) {
        let ann = Identity::from_seed(Secret32::build(|out| out.fill(1)));
        let node = Placement {
            node: NodeId::from_bytes([2; 32]),
            sealing: [0; 32],
            zone: "aws/a".into(),
            provider: "aws".into(),
            lessee: true,
        };
        let genesis = TenantGenesis {
            mesh: MeshId::from_bytes([3; 32]),
            name: "acme".into(),
            admins: vec![Person { principal: ann.principal(), name: "ann".into() }],
            endorsements: 1,
            nodes: vec![node],
            salt: Nonce::from_bytes([0; 16]),
        };
        let genesis = Checked::sign(&Body::TenantGenesis(genesis), None, vec![], Wall(0), &ann).expect("valid");
        let mut document = Document::begin(genesis).expect("begins");
        let say = |document: &mut Document, body: &Body| {
            let parents = document.graph().parents_for_new();
            let said = Checked::sign(body, Some(document.id()), parents, Wall(1), &ann).expect("valid");
            let id = said.id();
            document.insert(said);
            document.refold();
            id
        };
        let space = Body::CreateNamespace(NewNamespace { parent: None, name: "payments".into() });
        let namespace = say(&mut document, &space).into();
        let (nonce, root) = (Nonce::from_bytes([4; 16]), RootId::from_bytes([5; 32]));
        let ring = NewKeyring { nonce, namespace, name: "volumes".into(), root, class };
        say(&mut document, &Body::CreateKeyring(ring));
        let id = keyring_id(&document.id(), &ann.principal(), &nonce);
        (document, id)
    }

    #[test]
    fn a_leased_version_opens_with_its_generation_for_its_own_key_alone() {
        let rng = &mut keymesh_agent::system::randomness();
        let pair = SealingSecret::random(rng);
        let generation =
            Generation { number: 1, public: *pair.public().as_bytes(), capsule: BlobHash::from_bytes([6; 32]) };
        let (document, keyring) = tenant(CustodyClass::Leased { generation, lease: Millis::seconds(60) });
        let state = document.tenant().expect("a tenant");
        let (key, id) = (KeyId::from_bytes([7; 32]), VersionId::from_bytes([8; 16]));
        for (bytes, len) in [(KeyBytes::Short, 32), (KeyBytes::Long, 64)] {
            let first = GenerationRef { keyring, number: 1, opened: None };
            let sealed = version(state, (keyring, Some(first)), key, id, bytes, rng).expect("sealed");
            let unknown = GenerationRef { number: 2, ..first };
            for none in [None, Some(unknown)] {
                let refused = version(state, (keyring, none), key, id, bytes, rng);
                assert!(matches!(refused, Err(CliError::NoGeneration { keyring }) if keyring == "payments/volumes"));
            }
            let label = |key| VersionLabel {
                suite: Suite::V1,
                mesh: state.mesh,
                tenant: state.tenant,
                keyring,
                generation: 1,
                key,
                version: id,
            };
            assert_eq!(open_with(&pair, &label(key).bytes(), &[], &sealed).expect("opens").len(), len);
            let other = KeyId::from_bytes([9; 32]);
            assert!(open_with(&pair, &label(other).bytes(), &[], &sealed).is_err());
        }
    }

    #[test]
    fn nothing_is_sealed_to_a_root_that_is_not_live() {
        let rng = &mut keymesh_agent::system::randomness();
        let (document, keyring) = tenant(CustodyClass::Quorum);
        let state = document.tenant().expect("a tenant");
        let (key, id) = (KeyId::from_bytes([7; 32]), VersionId::from_bytes([8; 16]));
        let refused = version(state, (keyring, None), key, id, KeyBytes::Short, rng);
        assert!(matches!(refused, Err(CliError::NoRoot { tenant }) if tenant == "acme"));
        assert!(live_root(state).is_err());
    }
}
