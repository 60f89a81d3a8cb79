//! Secrets that are made here and leave sealed: a leased keyring's generation and versions of keys.
//!
//! Guarantees (I1, I10): the secret exists in locked memory for the length of one call, is bound to the very ids it was
//! made for, and nothing but its ciphertext comes out. Roots are taken from the tenant's own folded document.

use keymesh_custody::{Ristretto, RootPublic, seal};
use keymesh_mesh::state::TenantState;
use keymesh_mesh::state::tenant::Root;
use keymesh_wire::body::{CustodyClass, Generation};
use keymesh_wire::ids::{KeyId, KeyringId, RootId, VersionId};
use keymesh_wire::label::{CapsuleLabel, CapsulePurpose, VersionLabel};
use keymesh_wire::sealing::{SealingPublic, SealingSecret, seal_to};
use keymesh_wire::secret::{Secret32, Secret64};
use keymesh_wire::suite::Suite;
use rand_core::CryptoRng;

use super::error::CliError;

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

/// A new version of a key, sealed as its keyring demands. Returns the generation it is sealed to (0 for a quorum
/// keyring) and the ciphertext.
pub fn version(
    tenant: &TenantState,
    keyring: KeyringId,
    key: KeyId,
    version: VersionId,
    bytes: KeyBytes,
    rng: &mut impl CryptoRng,
) -> Result<(u32, Vec<u8>), CliError> {
    match bytes {
        KeyBytes::Short => {
            let secret = Secret32::random(rng);
            seal_version(tenant, keyring, key, version, secret.expose_secret(), rng)
        }
        KeyBytes::Long => {
            let secret = Secret64::random(rng);
            seal_version(tenant, keyring, key, version, secret.expose_secret(), rng)
        }
    }
}

fn seal_version(
    tenant: &TenantState,
    keyring: KeyringId,
    key: KeyId,
    version: VersionId,
    secret: &[u8],
    rng: &mut impl CryptoRng,
) -> Result<(u32, Vec<u8>), CliError> {
    let known = tenant.keyrings.get(&keyring).ok_or_else(|| CliError::NotFound {
        kind: "keyring",
        name: keyring.to_string(),
        place: format!("tenant {}", tenant.name),
        hint: "`keymesh keyring list` shows them".to_owned(),
    })?;
    match &known.class {
        CustodyClass::Leased { generation: Generation { number, public, .. }, .. } => {
            let label = VersionLabel {
                suite: Suite::V1,
                mesh: tenant.mesh,
                tenant: tenant.tenant,
                keyring,
                generation: *number,
                key,
                version,
            };
            let public = SealingPublic::from_bytes(*public)?;
            Ok((*number, seal_to(&public, &label.bytes(), &[], secret, rng)))
        }
        CustodyClass::Quorum => {
            let purpose = CapsulePurpose::Version { key, version };
            Ok((0, capsule(tenant, known.root, keyring, purpose, secret, rng)?))
        }
    }
}
