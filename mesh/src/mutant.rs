//! Mutants: mistakes that a tired engineer would make, seeded into the core, by which the simulator proves that its alarm
//! rings. Each breaks one of the invariants I1 to I9, or liveness, in a way that disks, wires or releases show.
//!
//! Only with the feature `mutants`, which no release has: a node with it does not compile. Which mutant is active is a
//! matter of the thread, because a simulated run is one thread and many runs go on at once. Without the feature [`is`] is
//! a constant and nothing of this is left in the program.

mod shelf;

#[cfg(all(test, feature = "mutants"))]
mod tests;

use std::fmt;
use std::str::FromStr;

pub(crate) use shelf::Shelf;

/// Whether anything of this build's core can be made to go wrong on purpose.
pub const COMPILED_IN: bool =
    cfg!(feature = "mutants") || keymesh_wire::mutant::COMPILED_IN || keymesh_custody::mutant::COMPILED_IN;

macro_rules! mutants {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal,)+) => {
        /// A mistake, with the invariant it breaks.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Mutant {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Mutant {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// By which command lines and reports know it.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }

            /// The mistake, in a sentence.
            pub fn about(self) -> &'static str {
                match self {
                    $(Self::$variant => concat!($($doc),+).trim_ascii(),)+
                }
            }
        }
    };
}

mutants! {
    /// I8: a submission is answered at once and what it wrote goes into the next step's batch, to save a sync.
    AckBeforeFsync = "ack-before-fsync",
    /// I4: a revocation of a role counts only if it saw the grant, so that a concurrent grant wins.
    GrantBeatsRevoke = "grant-beats-revoke",
    /// I4: a key's state is overwritten by whichever change is folded last instead of joined with it.
    DeleteLosesToPut = "delete-loses-to-put",
    /// I5: partials are combined without looking at their proofs, so that one liar's makes the capsule seem unsound.
    PartialUnproven = "partial-unproven",
    /// I6: only the timer ends leases; a release does not look whether the lease is over, as after a suspend.
    LeaseOutlivesSuspend = "lease-outlives-suspend",
    /// I6: a lease's time is counted from the answer that opened it and not from the request.
    LeaseFromAnswer = "lease-from-answer",
    /// I3: a statement goes into the graph whether or not its parents are there.
    ParentsUnchecked = "parents-unchecked",
    /// I2: the check of a statement's signature looks at other bytes than those that are kept, and so at nothing.
    SignatureOverOtherBytes = "signature-over-other-bytes",
    /// I7: the record of a release is made before it is decided and says that it was refused.
    AuditAfterKey = "audit-after-key",
    /// I7: a lease is used while its record waits for the next step's batch.
    LeaseBeforeRecord = "lease-before-record",
    /// I8: the loader passes over revocations, and silently over what then lacks a parent.
    DenialDroppedOnRestart = "denial-dropped-on-restart",
    /// I5: a custodian measures a request's age by the clock of whoever signed it.
    PeerClockTrusted = "peer-clock-trusted",
    /// I2: endorsements are counted and not the persons behind them.
    EndorsementCountedTwice = "endorsement-counted-twice",
    /// I2: whether somebody may endorse is judged at the proposal's place and not at the endorsement's own.
    EndorsementAtTarget = "endorsement-at-target",
    /// I4: what a removed admin did outside the removal's past keeps its authority.
    BackdatedActCounted = "backdated-act-counted",
    /// I10: what a destroyed key's versions name counts as missing, and is fetched from a peer that still has it.
    DestroyedHashReadmitted = "destroyed-hash-readmitted",
    /// I3: a reconciliation that is over forgets what its last round found.
    ReconciliationEndsEarly = "reconciliation-ends-early",
    /// I5: a custodian leaves the check of the evidence's signature to whoever carried the request.
    RelayBelieved = "relay-believed",
    /// I6: a revocation is called effective one witness too early.
    RevocationOneWitnessEarly = "revocation-one-witness-early",
    /// I6: a custodian says that it holds a denial while the denial waits for the next step's batch.
    WitnessBeforeDenial = "witness-before-denial",
    /// I4: a suspended admin goes on as if nothing had happened.
    SuspendedAdminGoesOn = "suspended-admin-goes-on",
    /// I5: a custodian that was removed from the mesh, or displaced by the tenant, still contributes.
    RemovedNodeContributes = "removed-node-contributes",
    /// I1: a tenant's document is shared with every member of the mesh, whether the tenant placed it there or not.
    PlacementNotAsked = "placement-not-asked",
    /// I4: a policy that cannot be evaluated is passed over, as Cedar does by itself, instead of denying.
    PolicyErrorPermits = "policy-error-permits",
    /// I4: of concurrent policies one that permits is enough.
    AnyHeadPermits = "any-head-permits",
    /// I9: a custodian votes for a second key of an instance.
    TwoKeysOneInstance = "two-keys-one-instance",
    /// I6: a custodian gives a lease to a node that does not know the denials it knows.
    DenialsNotCompared = "denials-not-compared",
    /// I4: suspending a key does not stop its release.
    SuspendedKeyReleased = "suspended-key-released",
    /// I8: a member attests a root when a threshold of members have their shares on disk, and not all.
    RootAttestedEarly = "root-attested-early",
    /// I1: an agreement counts one vote too few as a quorum.
    TooFewPrepared = "too-few-prepared",
    /// I1: a custodian that committed to one transcript prepares another one in the next ballot.
    BallotForgetsItsLock = "ballot-forgets-its-lock",
    /// I8: a custodian commits to an epoch before enough recipients can take their shares of it.
    CommittedUnready = "committed-unready",
    /// I8: an epoch counts when it is prepared, before there is a certificate.
    PreparedIsEnough = "prepared-is-enough",
    /// I8: partials of two epochs are combined as if they were of one.
    EpochsMixed = "epochs-mixed",
    /// I10: a custodian says that it erased its share of an epoch that is over, and keeps it.
    OldShareKept = "old-share-kept",
    /// I9: a custodian that starts from an older copy of its disk goes on as if nothing had happened.
    FenceSkipped = "fence-skipped",
    /// I8: a vote in an agreement is sent while it waits for the next step's batch.
    VoteNotDurable = "vote-not-durable",
    /// I8: the digest of a change of sharing covers neither the old sharing nor the recipients' keys.
    TranscriptNotBound = "transcript-not-bound",
    /// I8: a complaint about a deal is judged without looking at its proof.
    ComplaintBelieved = "complaint-believed",
    /// I5: whoever gets its share back by the help of others keeps what they gave without comparing it.
    RepairUnchecked = "repair-unchecked",
    /// I3: state is folded in the order in which statements came.
    FoldedInArrivalOrder = "folded-in-arrival-order",
    /// I4: a generation that an expelled lessee or creator could read counts as good.
    ExpelledNotDue = "expelled-not-due",
    /// I2: whoever accuses a custodian is believed.
    AccusationUnchecked = "accusation-unchecked",
    /// I2: a node takes versions whatever generation they are sealed to.
    SealedToUnattested = "sealed-to-unattested",
}

impl fmt::Display for Mutant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// There is no mutant of this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no mutant `{0}`")]
pub struct NoSuchMutant(String);

impl FromStr for Mutant {
    type Err = NoSuchMutant;

    fn from_str(name: &str) -> Result<Self, NoSuchMutant> {
        let found = Self::ALL.iter().copied().find(|mutant| mutant.name() == name);
        found.ok_or_else(|| NoSuchMutant(name.to_owned()))
    }
}

#[cfg(feature = "mutants")]
mod switch {
    use std::cell::Cell;

    use keymesh_custody::mutant::Mistake;

    use super::Mutant;

    thread_local! {
        static ACTIVE: Cell<Option<Mutant>> = const { Cell::new(None) };
    }

    /// The mutant that is active in this thread.
    pub fn active() -> Option<Mutant> {
        ACTIVE.get()
    }

    /// Whether `mutant` is active in this thread.
    pub fn is(mutant: Mutant) -> bool {
        active() == Some(mutant)
    }

    fn set(mutant: Option<Mutant>) {
        ACTIVE.set(mutant);
        keymesh_wire::mutant::take_forgeries(mutant == Some(Mutant::SignatureOverOtherBytes));
        keymesh_custody::mutant::make(mutant.and_then(mistake));
    }

    /// What the cryptography does wrong under a mutant.
    fn mistake(mutant: Mutant) -> Option<Mistake> {
        match mutant {
            Mutant::PartialUnproven => Some(Mistake::PartialUnproven),
            Mutant::TranscriptNotBound => Some(Mistake::TranscriptNotBound),
            Mutant::ComplaintBelieved => Some(Mistake::ComplaintBelieved),
            Mutant::RepairUnchecked => Some(Mistake::RepairUnchecked),
            _ => None,
        }
    }

    /// Puts back what was active before, also when the run panics.
    struct Before(Option<Mutant>);

    impl Drop for Before {
        fn drop(&mut self) {
            set(self.0);
        }
    }

    /// Runs `run` in this thread with this mutant active, or with none.
    pub fn with<T>(mutant: Option<Mutant>, run: impl FnOnce() -> T) -> T {
        let _before = Before(active());
        set(mutant);
        run()
    }
}

#[cfg(feature = "mutants")]
pub use switch::{active, is, with};

/// The mutant that is active: none in this build.
#[cfg(not(feature = "mutants"))]
pub const fn active() -> Option<Mutant> {
    None
}

/// Whether a mutant is active: never in this build.
#[cfg(not(feature = "mutants"))]
pub const fn is(_mutant: Mutant) -> bool {
    false
}

/// Runs `run`.
///
/// # Panics
/// When a mutant is asked for: this build has none.
#[cfg(not(feature = "mutants"))]
pub fn with<T>(mutant: Option<Mutant>, run: impl FnOnce() -> T) -> T {
    assert!(mutant.is_none(), "this build has no mutants");
    run()
}
