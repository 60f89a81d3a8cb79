//! Accusations: an agent that was given a false partial shows it, and this node says it to everybody.
//!
//! Nobody is believed: the node judges the evidence on its own view before the core gets to see it, and everybody else
//! judges it again ([`keymesh_mesh::custody::accusation`]).

use std::sync::atomic::Ordering;

use keymesh_mesh::custody::accusation::Doubt;
use keymesh_mesh::replica::Input;
use keymesh_wire::api::{Accuse, Accused};
use keymesh_wire::body::CustodianAccusation;
use keymesh_wire::codec;
use keymesh_wire::error::{Code, WireError};
use keymesh_wire::limits;

use super::{Allowance, Caller, Node, served};

/// The longest encoded accusation: what it carries, and its claim with its envelope.
const MOST: usize = limits::PARTIAL_BYTES + 1024;

impl Node {
    /// Takes an agent's proof that a custodian gave a partial that does not hold. One that is known already is answered with
    /// the statement that showed it.
    ///
    /// # Errors
    /// [`Code::StatementInvalid`] for one that does not hold, [`WireError::refused`] to whoever is no agent of the tenant,
    /// [`Code::Malformed`], [`Code::SessionInvalid`], [`Code::NotServedHere`], [`Code::Throttled`], [`Code::Unavailable`].
    pub async fn accuse(&self, caller: &Caller, asked: &Accuse, allowance: &Allowance) -> Result<Accused, WireError> {
        if caller.tenant != asked.tenant {
            return Err(WireError::new(Code::SessionInvalid, "the session is for another tenant"));
        }
        if !(allowance.accusations.take(1) && self.shared.accusations.take(1)) {
            return Err(self.throttled());
        }
        let view = self.view();
        let tenant = served(&view, &asked.tenant)?;
        if !tenant.agents.contains_key(&caller.principal) {
            return Err(WireError::refused());
        }
        let accusation: CustodianAccusation = codec::decode(&asked.accusation, MOST)
            .map_err(|error| WireError::new(Code::Malformed, format!("the accusation: {error}")))?;
        let judged = || -> Result<_, Doubt> {
            let claim = accusation.claim()?;
            let state = tenant.tenant();
            if state.known_accusation(&claim.binding).is_none() {
                state.judge_accusation(&accusation)?;
            }
            Ok(claim.binding.custodian)
        };
        let custodian = judged().map_err(|doubt| {
            self.metrics.accusations_refused.fetch_add(1, Ordering::Relaxed);
            WireError::from(doubt)
        })?;
        let (tenant, accusation) = (asked.tenant, Box::new(accusation));
        let said = self.ask_core(|reply| Input::Accuse { tenant, accusation, reply }).await?;
        let statement = said.statements.first().copied();
        let statement = statement.ok_or_else(|| WireError::new(Code::Internal, "the accusation was not said"))?;
        self.metrics.accusations.fetch_add(1, Ordering::Relaxed);
        Ok(Accused { custodian, statement })
    }
}
