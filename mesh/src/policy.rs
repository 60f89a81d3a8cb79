//! Policy: whether an instance may have a key, decided by Cedar policies that people signed.
//!
//! This module is a pure function of policies and facts. It upholds the policy side of I4 (deny wins) and is what a
//! lessee or a custodian calls for I5 (independent judgement): nothing here knows who asks or what others decided.
//!
//! A scope (tenant, namespace, keyring) has the policy statements that stand there as its *heads*: one normally, several
//! after both sides of a partition changed it. With every scope that encloses the key:
//!
//! - nothing is permitted by default;
//! - one satisfied `forbid` in any head of any scope denies;
//! - an error while evaluating any policy denies (Cedar alone would skip that policy, which would lose a forbid);
//! - a scope permits only if each of its heads permits, and one permitting scope is enough.
//!
//! Permits see only what somebody with authority signed. What can be changed by a single person, such as the name of a
//! key, is under `context.claimed`, which does not exist for permits: they are validated against a schema without it and
//! evaluated in a context without it.
//!
//! Which statements are heads, and whether a policy took effect, is the fold's business; parsing happens once per
//! statement and the caller keeps the result. A text that this software cannot read must stay a head, by
//! [`Policy::unreadable`], or nodes with different software would permit different things.

mod request;
mod scan;
mod text;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;

use cedar_policy::{Authorizer, Decision, Request, Response};
use keymesh_wire::body::Scope;
use keymesh_wire::ids::StatementId;

use crate::mutant::{self, Mutant};

pub use request::{Action, PolicyRequest, Subject, Target};
pub use text::{POLICIES, Policy, PolicyError, forbids, weakens};

/// Stack for evaluating, in bytes: more than the deepest policy needs, because an evaluation that runs low on stack is an
/// error, which denies. Without optimisation Cedar's evaluator takes tens of kilobytes for each level.
const EVALUATION_STACK: usize = (if cfg!(debug_assertions) { 8 } else { 1 }) << 20;

/// The policies that stand at one scope.
#[derive(Debug, Clone, Copy)]
pub struct ScopeHeads<'a> {
    /// The scope, for the reason given to operators.
    pub scope: Scope,
    /// Its heads, in any order. A scope without heads neither permits nor denies.
    pub heads: &'a [(StatementId, Arc<Policy>)],
}

/// What the policies say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Whether the request may be granted.
    pub allowed: bool,
    /// The statements that made it so, sorted: those that permitted; or forbade or failed; or, when nothing permitted, the
    /// heads that withheld their permit.
    pub decided_by: Vec<StatementId>,
    /// Why, for operators and audit. Never for the one who asked: it tells what the policies look at.
    pub reason: String,
}

/// Judges a request that is made up on the spot. Where the same agents and keys come again, keep [`Subject`] and
/// [`Target`] and call [`evaluate_prepared`].
pub fn evaluate(scopes: &[ScopeHeads<'_>], request: &PolicyRequest<'_>) -> Verdict {
    evaluate_prepared(scopes, request.action, &request.subject(), &request.target())
}

/// Judges whether `subject` may do `action` to `target`, given the heads of every scope that encloses the target.
///
/// The result depends on the arguments alone, and not on the order of scopes or heads.
pub fn evaluate_prepared(scopes: &[ScopeHeads<'_>], action: Action, subject: &Subject, target: &Target) -> Verdict {
    let attested = request::attested(action, subject, target);
    let mut with_claims: Option<Request> = None;
    let mut denials = Denials::default();
    let mut permitting: Vec<(StatementId, &str)> = Vec::new();
    let mut withholding: Vec<StatementId> = Vec::new();

    for scope in scopes {
        let mut in_this_scope = Vec::with_capacity(scope.heads.len());
        for (statement, policy) in scope.heads {
            let mut outcome = Outcome::of(policy, &policy.plain, &attested, target);
            if let Some(claim_readers) = &policy.claim_readers {
                let request = with_claims.get_or_insert_with(|| request::with_claims(action, subject, target));
                outcome.add(Outcome::of(policy, claim_readers, request, target));
            }
            match (outcome, policy.unreadable_because()) {
                (_, Some(error)) => denials.unreadable(*statement, error),
                (Outcome { failed: Some(failure), .. }, None) => denials.failure(*statement, failure),
                (Outcome { forbidden: Some(rule), .. }, None) => denials.forbid(*statement, rule),
                (Outcome { permitted: Some(rule), .. }, None) => in_this_scope.push((*statement, rule)),
                (Outcome { failed: None, forbidden: None, permitted: None }, None) => withholding.push(*statement),
            }
        }
        let every_head = in_this_scope.len() == scope.heads.len() || mutant::is(Mutant::AnyHeadPermits);
        if !scope.heads.is_empty() && every_head {
            permitting.append(&mut in_this_scope);
        }
    }

    if let Some(verdict) = denials.verdict() {
        return verdict;
    }
    if permitting.is_empty() {
        return withheld(withholding);
    }
    permitting.sort_unstable();
    let (statement, rule) = permitting[0];
    let reason = format!("permitted by {rule} of {}", statement.short());
    Verdict { allowed: true, decided_by: sorted(permitting.into_iter().map(|(statement, _)| statement)), reason }
}

/// What one head says, each with the rule that says so.
#[derive(Default)]
struct Outcome<'a> {
    failed: Option<String>,
    forbidden: Option<&'a str>,
    permitted: Option<&'a str>,
}

impl<'a> Outcome<'a> {
    fn of(policy: &'a Policy, set: &cedar_policy::PolicySet, request: &Request, target: &Target) -> Self {
        let response = stacker::maybe_grow(EVALUATION_STACK, 2 * EVALUATION_STACK, || {
            Authorizer::new().is_authorized(request, set, target.entities())
        });
        let failure = response.diagnostics().errors().map(ToString::to_string).min();
        if let Some(failure) = failure.filter(|_| !mutant::is(Mutant::PolicyErrorPermits)) {
            return Self { failed: Some(failure), ..Self::default() };
        }
        let rule = first_rule(policy, &response);
        match response.decision() {
            Decision::Allow => Self { permitted: rule, ..Self::default() },
            Decision::Deny => Self { forbidden: rule, ..Self::default() },
        }
    }

    fn add(&mut self, other: Self) {
        self.failed = self.failed.take().or(other.failed);
        self.forbidden = self.forbidden.or(other.forbidden);
        self.permitted = self.permitted.or(other.permitted);
    }
}

/// The first rule in the text's order among those that decided.
fn first_rule<'a>(policy: &'a Policy, response: &Response) -> Option<&'a str> {
    response.diagnostics().reason().filter_map(|id| policy.rule(id)).min().map(|(_, label)| label)
}

/// Everything that speaks against a request, by weight: what cannot be read, what failed, what forbids.
#[derive(Default)]
struct Denials {
    statements: BTreeSet<StatementId>,
    reasons: BTreeSet<(u8, StatementId, String)>,
}

impl Denials {
    fn unreadable(&mut self, statement: StatementId, error: &PolicyError) {
        let reason = format!("denied: {} cannot be read here: {error}", statement.short());
        self.add(0, statement, reason);
    }

    fn failure(&mut self, statement: StatementId, failure: String) {
        self.add(1, statement, format!("denied: evaluating {} failed: {failure}", statement.short()));
    }

    fn forbid(&mut self, statement: StatementId, rule: &str) {
        self.add(2, statement, format!("forbidden by {rule} of {}", statement.short()));
    }

    fn add(&mut self, weight: u8, statement: StatementId, reason: String) {
        self.statements.insert(statement);
        self.reasons.insert((weight, statement, reason));
    }

    fn verdict(self) -> Option<Verdict> {
        let (_, _, reason) = self.reasons.into_iter().next()?;
        Some(Verdict { allowed: false, decided_by: self.statements.into_iter().collect(), reason })
    }
}

fn withheld(withholding: Vec<StatementId>) -> Verdict {
    let decided_by = sorted(withholding);
    let reason = match decided_by.as_slice() {
        [] => "nothing permits: no policy is set at any scope of this key".to_owned(),
        [one] => format!("nothing permits: no permit of {} applies", one.short()),
        several => format!("nothing permits: no permit applies in each of {}", short_list(several)),
    };
    Verdict { allowed: false, decided_by, reason }
}

fn short_list(statements: &[StatementId]) -> String {
    statements.iter().map(StatementId::short).collect::<Vec<_>>().join(", ")
}

fn sorted(statements: impl IntoIterator<Item = StatementId>) -> Vec<StatementId> {
    statements.into_iter().collect::<BTreeSet<_>>().into_iter().collect()
}
