//! Custodians that gave false partials: what this node found itself, and what agents found and hand in with the proof.
//!
//! A node says what it has judged itself, and once per custodian and sharing: everybody else judges it again.

use keymesh_wire::api::Submitted;
use keymesh_wire::body::{Body, CustodianAccusation};
use keymesh_wire::error::{Code, WireError};
use keymesh_wire::ids::TenantId;
use keymesh_wire::time::Now;
use rand_core::CryptoRng;

use super::Replica;
use super::step::{Effect, Step};
use crate::custody::accusation::Doubt;
use crate::custody::lease::Culprit;

impl Replica {
    /// Says an accusation that holds, unless the document holds a proof of the same already; answers with the statement
    /// that shows it.
    pub(super) fn accuse(
        &mut self,
        tenant: TenantId,
        accusation: CustodianAccusation,
        now: Now,
        rng: &mut impl CryptoRng,
        step: &mut Step,
    ) -> Result<Submitted, WireError> {
        self.refold_now();
        let state = self
            .tenant_state(&tenant)
            .ok_or_else(|| WireError::new(Code::NotServedHere, "this node does not hold the tenant's document"))?;
        let claim = accusation.claim().map_err(Doubt::from)?;
        if let Some(known) = state.known_accusation(&claim.binding) {
            return Ok(Submitted { statements: vec![known.statement] });
        }
        state.judge_accusation(&accusation)?;
        let custodian = claim.binding.custodian;
        let id = self.author(tenant.into(), &Body::AccuseCustodian(accusation), now, rng, step);
        let id = id.ok_or_else(|| WireError::new(Code::Internal, "the accusation could not be said"))?;
        self.refold_now();
        step.effects.push(Effect::Warn(format!("{custodian} gave a partial that does not hold: accused in {id}")));
        Ok(Submitted { statements: vec![id] })
    }

    /// Tells operators who gave this node false partials, and everybody of whom it has the proof.
    pub(super) fn name_culprits(
        &mut self,
        tenant: TenantId,
        culprits: Vec<Culprit>,
        now: Now,
        rng: &mut impl CryptoRng,
        step: &mut Step,
    ) {
        for Culprit { custodian, proof } in culprits {
            let what = match proof.map(|proof| self.accuse(tenant, *proof, now, rng, step)) {
                None => format!("{custodian} sent nothing usable as a partial, and signed nothing to hold against it"),
                Some(Ok(_)) => format!("{custodian} gave a partial that does not hold"),
                Some(Err(error)) => format!("{custodian} gave a partial that does not hold; {}", error.message),
            };
            self.complain(custodian, what, now.boot, step);
        }
    }
}
