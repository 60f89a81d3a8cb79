//! Releases from leased keyrings.

use std::sync::atomic::Ordering;
use std::time::Instant;

use keymesh_mesh::release::{Decision, GrantError, Recorded, ReleaseRequest, decide};
use keymesh_mesh::replica::Input;
use keymesh_wire::error::{Code, WireError};
use keymesh_wire::ids::{KeyringId, NodeId, VersionId};
use keymesh_wire::secret::SecretBytes;

use super::gather::short_of;
use super::{Allowance, Node, PATIENCE, served};
use crate::runtime::clock;
use crate::runtime::core::Command;

/// A key on its way to whoever may have it; the door seals it to the session.
#[derive(Debug)]
pub struct Released {
    /// The data key.
    pub key: SecretBytes,
    /// The version.
    pub version: VersionId,
    /// The record that is on disk.
    pub recorded: Recorded,
}

impl Node {
    /// Releases a key: decides on the current view, waits for a lease if one is needed, and opens the key once the record
    /// is durable.
    ///
    /// # Errors
    /// [`WireError::refused`] for whoever has no right, whatever the reason, always after its record is durable;
    /// [`Code::QuorumUnavailable`] if no lease can be had; [`Code::Unavailable`], [`Code::Throttled`],
    /// [`Code::NotServedHere`].
    pub async fn release(&self, request: &ReleaseRequest, allowance: &Allowance) -> Result<Released, WireError> {
        let started = Instant::now();
        loop {
            self.must_be_well()?;
            let mut published = self.published.subscribe();
            let view = self.view();
            served(&view, &request.tenant)?;
            let (decision, record) = decide(&view, request, clock::now());
            match decision {
                Decision::Release(grant) => {
                    let version = grant.version();
                    let recorded = self.audit.record(&record).await?;
                    let key = match grant.open(&recorded, &self.view(), clock::now()) {
                        // What is so now is decided and recorded anew.
                        Err(GrantError::NoLongerPermitted) => continue,
                        opened => opened.map_err(|error| self.fruitless(request, error))?,
                    };
                    self.metrics.releases.fetch_add(1, Ordering::Relaxed);
                    self.metrics.release_time.observe(started.elapsed());
                    return Ok(Released { key, version, recorded });
                }
                Decision::Refuse => {
                    self.may_refuse(allowance)?;
                    self.audit.record(&record).await?;
                    self.metrics.refusals.fetch_add(1, Ordering::Relaxed);
                    return Err(WireError::refused());
                }
                Decision::Elsewhere { why } => return Err(WireError::new(Code::NotServedHere, why)),
                Decision::NeedLease { generation } => {
                    let wish = Command::Input(Input::WantLease { tenant: request.tenant, generation });
                    let wait = PATIENCE.saturating_sub(started.elapsed());
                    let lease = async {
                        self.commands.send(wish).await.ok()?;
                        loop {
                            published.changed().await.ok()?;
                            if self.view().leases.contains_key(&(request.tenant, generation)) {
                                return Some(());
                            }
                        }
                    };
                    if !matches!(tokio::time::timeout(wait, lease).await, Ok(Some(()))) {
                        return Err(self.no_lease(request, &generation.keyring));
                    }
                }
            }
        }
    }

    /// Why no lease came: where it is for lack of connections, which committee is out of reach.
    fn no_lease(&self, request: &ReleaseRequest, keyring: &KeyringId) -> WireError {
        let view = self.view();
        let state = view.tenant(&request.tenant).map(|tenant| tenant.tenant());
        let root = state.and_then(|state| state.roots.get(&state.keyrings.get(keyring)?.root));
        let up = self.peers.up();
        let reached = |member: &&NodeId| **member == self.me || up.contains(member);
        let committees: Vec<(usize, usize)> = root
            .iter()
            .flat_map(|root| &root.committees)
            .map(|committee| {
                (committee.spec.members.iter().filter(reached).count(), usize::from(committee.spec.threshold))
            })
            .collect();
        let mut what = "this node has no lease and could not get one in time; try again or ask another".to_owned();
        let short = short_of("custodians needed", &committees);
        if !short.is_empty() {
            what = format!("this node has no lease and cannot get one, as it reaches {short}");
        }
        WireError::new(Code::QuorumUnavailable, what)
    }

    fn fruitless(&self, request: &ReleaseRequest, error: GrantError) -> WireError {
        match error {
            GrantError::LeaseEnded | GrantError::NoLongerPermitted => {
                WireError::new(Code::QuorumUnavailable, "the lease ended before the key left; try again")
            }
            GrantError::Ciphertext(_) => {
                self.warn(format!("{} cannot be opened: {error}", request.key));
                WireError::new(Code::Internal, "the stored key cannot be opened; an operator has to look at it")
            }
        }
    }
}
