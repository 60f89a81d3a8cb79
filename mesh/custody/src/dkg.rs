//! Distributed key generation, as a state machine without input or output.
//!
//! The protocol is Pedersen's DKG with the proofs of knowledge of Komlo and Goldberg (FROST, 2020, figure 1), computed
//! by `frost_core`, with an echo round between the two: nobody reveals a sub-share before all members have seen the
//! same round-1 messages.
//!
//! ```text
//! start ─ Round1 to all ─▶ n Round1 seen ─ Echo to all ─▶ n equal echoes ─ SubShare to each ─▶ n−1 good ones ─▶ Done
//! ```
//!
//! Guarantees: all members that finish have the same [`RootPublic`] and transcript hash, and shares on one polynomial
//! of degree exactly t−1 (I1: no root is assembled). Messages may arrive in any order and repeatedly. Who sends a
//! second, different message of one kind, the wrong number of coefficients, a false proof or a wrong sub-share is named;
//! members that saw different round-1 messages are named in pairs. Any of these ends the run: a first DKG needs every
//! member. The session binds suite, caller's context, members in order, and t, so messages of other runs are put aside.
//!
//! How to call it: [`Dkg::start`] once, then [`Dkg::handle`] for every message whose signature holds, as they come; send
//! what each call returns. The run is a function of the generator passed to `start` and of the messages: a caller that
//! restarts with the same seed and replays what it received stands where it stood. A caller that lost the seed must
//! raise its attempt number in the context, because a second, different round-1 message is an offence.
//!
//! Left to others: signing and checking broadcasts, sealing sub-shares (confidentiality and integrity of that channel),
//! hashing the sealed sub-shares into the record of the run for complaints, and deciding that all have finished. A
//! rushing member can bias the group key by aborting or by choosing last; for decryption that is harmless
//! (Gennaro, Jarecki, Krawczyk and Rabin, 2007).

use std::collections::BTreeMap;
use std::fmt;
use std::mem;

use frost_core::Identifier;
use frost_core::keys::SigningShare;
use frost_core::keys::dkg::{part1, part2, part3, round1, round2};
use rand_core::CryptoRng;
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::committee::Committee;
use crate::hash::Framed;
use crate::rng::ForFrost;
use crate::secret::SecretScalar;
use crate::share::{KeyShare, RootPublic};
use crate::suite::{self, Suite};
use crate::threshold::MemberIndex;

mod message;

pub use message::{Broadcast, DkgMessage, Echo, Round1, SubShare};

/// The kinds of message, for error texts and for showing what a run waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageKind {
    /// [`Round1`].
    Round1,
    /// [`Echo`].
    Echo,
    /// [`SubShare`].
    SubShare,
}

impl fmt::Display for MessageKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            MessageKind::Round1 => "round-1 message",
            MessageKind::Echo => "echo",
            MessageKind::SubShare => "sub-share",
        })
    }
}

/// Two members that saw different round-1 messages of a third: either that one sent two, or one of them lies. The
/// signed messages of both decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disagreement {
    /// The member whose echo differs from what this member saw.
    pub echoer: MemberIndex,
    /// The member whose round-1 message it is about.
    pub dealer: MemberIndex,
}

/// Why a call was refused. The run is as it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DkgError {
    /// The caller is not of the committee.
    #[error("the committee has no member {index}")]
    NotAMember {
        /// The index in question.
        index: MemberIndex,
    },
    /// The run cannot begin.
    #[error("the run cannot begin: {0}")]
    CannotStart(Abort),
    /// A message of somebody who is not another member.
    #[error("member {from} is not another member of this committee")]
    Stranger {
        /// The alleged sender.
        from: MemberIndex,
    },
    /// A message of another run, committee, threshold or context.
    #[error("member {from} sent a {kind} of another session")]
    OtherSession {
        /// The sender.
        from: MemberIndex,
        /// What it sent.
        kind: MessageKind,
    },
}

/// Why the run is over without a root.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Abort {
    /// Two different messages where one is due.
    #[error("member {culprit} sent a second, different {kind}")]
    SecondMessage {
        /// Who.
        culprit: MemberIndex,
        /// What.
        kind: MessageKind,
    },
    /// A polynomial of another degree than t−1.
    #[error("member {culprit} committed to {got} coefficients where the threshold is {want}")]
    WrongThreshold {
        /// Who.
        culprit: MemberIndex,
        /// How many coefficients.
        got: usize,
        /// The committee's t.
        want: usize,
    },
    /// An echo over another number of members.
    #[error("member {culprit} echoed {got} messages of {want}")]
    EchoSize {
        /// Who.
        culprit: MemberIndex,
        /// How many digests.
        got: usize,
        /// The committee's n.
        want: usize,
    },
    /// Members saw different round-1 messages.
    #[error("round-1 messages differ: {}", DisplayPairs(disagreements))]
    EchoMismatch {
        /// Every difference known so far.
        disagreements: Vec<Disagreement>,
    },
    /// A proof of knowledge that does not hold.
    #[error("the proof of knowledge of member {culprit} does not hold")]
    BadProof {
        /// Who.
        culprit: MemberIndex,
    },
    /// A sub-share that is not on the polynomial its dealer committed to. Only its recipient can see this; the signed
    /// ciphertext shows others who is right.
    #[error("the sub-share of member {culprit} does not fit its commitment")]
    BadSubShare {
        /// Who.
        culprit: MemberIndex,
    },
    /// Contributions that cancel one another.
    #[error("the contributions sum to a polynomial of a lower degree, or to nothing")]
    Degenerate,
    /// The library refused a step for a reason that this driver has excluded.
    #[error("frost refused round {round}: {detail}")]
    Library {
        /// The round, 1 to 3.
        round: u8,
        /// The library's words.
        detail: String,
    },
}

struct DisplayPairs<'a>(&'a [Disagreement]);

impl fmt::Display for DisplayPairs<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, pair) in self.0.iter().enumerate() {
            let separator = if i == 0 { "" } else { "; " };
            write!(f, "{separator}member {} saw another one of member {}", pair.echoer, pair.dealer)?;
        }
        Ok(())
    }
}

/// What the caller has to do after a step.
#[derive(Debug)]
pub enum Output<C: Suite> {
    /// Sign and send to every other member.
    ToAll(Broadcast<C>),
    /// Seal to this member and send.
    ToOne {
        /// The recipient.
        to: MemberIndex,
        /// What only it may read.
        sub_share: SubShare<C>,
    },
    /// The run is complete.
    Done(Box<Outcome<C>>),
    /// The run is over without a root. What precedes it in the list is sent all the same: an echo tells the others.
    Aborted(Abort),
}

/// What a completed run leaves.
#[derive(Debug)]
pub struct Outcome<C: Suite> {
    /// This member's share.
    pub share: KeyShare<C>,
    /// The same for all members.
    pub public: RootPublic<C>,
    /// The same for all members: covers the session (and so the context), all round-1 messages and the public result.
    pub transcript_hash: [u8; 32],
}

/// One member's side of one run.
pub struct Dkg<C: Suite> {
    committee: Committee,
    me: MemberIndex,
    session: [u8; 32],
    round1: BTreeMap<MemberIndex, Round1<C>>,
    echoes: BTreeMap<MemberIndex, Echo>,
    sub_shares: BTreeMap<MemberIndex, SubShare<C>>,
    state: State<C>,
}

enum State<C: Suite> {
    AwaitingRound1(round1::SecretPackage<C>),
    AwaitingEchoes(round1::SecretPackage<C>),
    AwaitingSubShares(round2::SecretPackage<C>),
    Done,
    Ended(Abort),
}

impl<C: Suite> Dkg<C> {
    /// Begins a run of `committee` as its member `me`. `context` (mesh, root id, attempt) separates runs; all members
    /// must give the same bytes.
    ///
    /// # Errors
    /// When `me` is not of the committee.
    pub fn start(
        committee: Committee,
        me: MemberIndex,
        context: &[u8],
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> Result<(Self, Vec<Output<C>>), DkgError> {
        let threshold = committee.threshold();
        if !threshold.contains(me) {
            return Err(DkgError::NotAMember { index: me });
        }
        let session = Framed::<Sha256>::new::<C>("dkg session")
            .part(context)
            .part(&[threshold.t(), threshold.n()])
            .list(committee.members())
            .digest();
        let (secret, package) = part1(me.identifier(), threshold.n().into(), threshold.t().into(), ForFrost(rng))
            .map_err(|error| DkgError::CannotStart(named(&committee, 1, &error)))?;
        let message = Round1::new(session, package).ok_or(DkgError::CannotStart(Abort::Degenerate))?;
        let dkg = Dkg {
            committee,
            me,
            session,
            round1: BTreeMap::from([(me, message.clone())]),
            echoes: BTreeMap::new(),
            sub_shares: BTreeMap::new(),
            state: State::AwaitingRound1(secret),
        };
        Ok((dkg, vec![Output::ToAll(Broadcast::Round1(message))]))
    }

    /// Takes a message of another member, whose signature the caller has checked, and returns what to do. After the run
    /// is over, messages are ignored.
    ///
    /// # Errors
    /// When the message is not one of this run; it is put aside and the run goes on.
    pub fn handle(&mut self, from: MemberIndex, message: DkgMessage<C>) -> Result<Vec<Output<C>>, DkgError> {
        if from == self.me || !self.committee.threshold().contains(from) {
            return Err(DkgError::Stranger { from });
        }
        let (kind, session) = match &message {
            DkgMessage::Broadcast(Broadcast::Round1(message)) => (MessageKind::Round1, message.session),
            DkgMessage::Broadcast(Broadcast::Echo(message)) => (MessageKind::Echo, message.session),
            DkgMessage::SubShare(message) => (MessageKind::SubShare, message.session),
        };
        if session != self.session {
            return Err(DkgError::OtherSession { from, kind });
        }
        match &self.state {
            State::Done | State::Ended(_) => return Ok(Vec::new()),
            State::AwaitingRound1(_) | State::AwaitingEchoes(_) | State::AwaitingSubShares(_) => {}
        }
        let mut outputs = Vec::new();
        if let Err(abort) = self.store(from, kind, message).and_then(|()| self.advance(&mut outputs)) {
            self.end(State::Ended(abort.clone()));
            outputs.push(Output::Aborted(abort));
        }
        Ok(outputs)
    }

    /// Why the run ended without a root, if it did.
    pub fn aborted(&self) -> Option<&Abort> {
        match &self.state {
            State::Ended(abort) => Some(abort),
            State::AwaitingRound1(_) | State::AwaitingEchoes(_) | State::AwaitingSubShares(_) | State::Done => None,
        }
    }

    /// The committee that this run makes a root for.
    pub fn committee(&self) -> &Committee {
        &self.committee
    }

    /// The session's digest, equal for all members of the run.
    pub fn session(&self) -> &[u8; 32] {
        &self.session
    }

    /// What the run waits for, and of whom; `None` when it is over.
    pub fn waiting_for(&self) -> Option<(MessageKind, Vec<MemberIndex>)> {
        let missing = |has: &dyn Fn(&MemberIndex) -> bool| {
            self.others().filter(|member| !has(member)).collect::<Vec<MemberIndex>>()
        };
        match &self.state {
            State::AwaitingRound1(_) => Some((MessageKind::Round1, missing(&|m| self.round1.contains_key(m)))),
            State::AwaitingEchoes(_) => Some((MessageKind::Echo, missing(&|m| self.echoes.contains_key(m)))),
            State::AwaitingSubShares(_) => Some((MessageKind::SubShare, missing(&|m| self.sub_shares.contains_key(m)))),
            State::Done | State::Ended(_) => None,
        }
    }

    fn others(&self) -> impl Iterator<Item = MemberIndex> + use<'_, C> {
        self.committee.threshold().indexes().filter(|member| *member != self.me)
    }

    fn end(&mut self, state: State<C>) {
        self.state = state;
        self.round1.clear();
        self.echoes.clear();
        self.sub_shares.clear();
    }

    /// Checks what can be checked of a message alone, and keeps it until its turn.
    fn store(&mut self, from: MemberIndex, kind: MessageKind, message: DkgMessage<C>) -> Result<(), Abort> {
        let known = match message {
            DkgMessage::Broadcast(Broadcast::Round1(message)) => {
                let (got, want) = (message.coefficients(), self.committee.threshold().t().into());
                if got != want {
                    return Err(Abort::WrongThreshold { culprit: from, got, want });
                }
                *self.round1.entry(from).or_insert_with(|| message.clone()) == message
            }
            DkgMessage::Broadcast(Broadcast::Echo(message)) => {
                let (got, want) = (message.digests.len(), self.committee.threshold().n().into());
                if got != want {
                    return Err(Abort::EchoSize { culprit: from, got, want });
                }
                *self.echoes.entry(from).or_insert_with(|| message.clone()) == message
            }
            DkgMessage::SubShare(message) => match self.sub_shares.get(&from) {
                // The field's equality is in constant time, as frost demands of it.
                Some(known) => known.value.expose() == message.value.expose(),
                None => {
                    self.sub_shares.insert(from, message);
                    true
                }
            },
        };
        if known { Ok(()) } else { Err(Abort::SecondMessage { culprit: from, kind }) }
    }

    /// Goes as far as the stored messages allow.
    fn advance(&mut self, outputs: &mut Vec<Output<C>>) -> Result<(), Abort> {
        let n = usize::from(self.committee.threshold().n());
        loop {
            self.state = match mem::replace(&mut self.state, State::Done) {
                State::AwaitingRound1(secret) if self.round1.len() == n => {
                    outputs.push(Output::ToAll(Broadcast::Echo(self.own_echo())));
                    State::AwaitingEchoes(secret)
                }
                State::AwaitingEchoes(secret) => {
                    self.compare_echoes()?;
                    if self.echoes.len() < n - 1 {
                        self.state = State::AwaitingEchoes(secret);
                        return Ok(());
                    }
                    let (secret, packages) =
                        part2(secret, &self.round1_of_others()).map_err(|error| named(&self.committee, 2, &error))?;
                    for member in self.others() {
                        let package = packages.get(&member.identifier()).ok_or(Abort::Degenerate)?;
                        let bytes = Zeroizing::new(package.signing_share().serialize());
                        let value = SecretScalar::parse(&bytes).ok_or(Abort::Degenerate)?;
                        outputs
                            .push(Output::ToOne { to: member, sub_share: SubShare { session: self.session, value } });
                    }
                    State::AwaitingSubShares(secret)
                }
                State::AwaitingSubShares(secret) if self.sub_shares.len() == n - 1 => {
                    outputs.push(Output::Done(Box::new(self.finish(&secret)?)));
                    self.end(State::Done);
                    return Ok(());
                }
                waiting => {
                    self.state = waiting;
                    return Ok(());
                }
            }
        }
    }

    fn own_echo(&self) -> Echo {
        let digests = self.round1.iter().map(|(dealer, message)| message.digest(*dealer)).collect();
        Echo { session: self.session, digests }
    }

    fn compare_echoes(&self) -> Result<(), Abort> {
        let own = self.own_echo();
        let mut disagreements = Vec::new();
        for (echoer, echo) in &self.echoes {
            let pairs = self.committee.threshold().indexes().zip(own.digests.iter().zip(&echo.digests));
            disagreements.extend(
                pairs
                    .filter(|(_, (own, theirs))| own != theirs)
                    .map(|(dealer, _)| Disagreement { echoer: *echoer, dealer }),
            );
        }
        if disagreements.is_empty() { Ok(()) } else { Err(Abort::EchoMismatch { disagreements }) }
    }

    fn round1_of_others(&self) -> BTreeMap<Identifier<C>, round1::Package<C>> {
        let others = self.round1.iter().filter(|(member, _)| **member != self.me);
        others.map(|(member, message)| (member.identifier(), message.package.clone())).collect()
    }

    fn finish(&self, secret: &round2::SecretPackage<C>) -> Result<Outcome<C>, Abort> {
        let mut packages = BTreeMap::new();
        for (member, sub_share) in &self.sub_shares {
            let share = SigningShare::deserialize(&sub_share.value.expose_bytes())
                .map_err(|error| named(&self.committee, 3, &error))?;
            packages.insert(member.identifier(), round2::Package::new(share));
        }
        let (key, public) =
            part3(secret, &self.round1_of_others(), &packages).map_err(|error| named(&self.committee, 3, &error))?;
        self.check_degree()?;
        let point = |bytes: Result<Vec<u8>, frost_core::Error<C>>| {
            bytes.ok().and_then(|bytes| suite::parse_point::<C>(&bytes)).ok_or(Abort::Degenerate)
        };
        let group = point(public.verifying_key().serialize())?;
        let mut shares = Vec::new();
        for member in self.committee.threshold().indexes() {
            let share = public.verifying_shares().get(&member.identifier()).ok_or(Abort::Degenerate)?;
            shares.push(point(share.serialize())?);
        }
        let public = RootPublic::new(self.committee.threshold(), group, shares).map_err(|_| Abort::Degenerate)?;
        let bytes = Zeroizing::new(key.signing_share().serialize());
        let secret = SecretScalar::parse(&bytes).ok_or(Abort::Degenerate)?;
        let share = KeyShare::new(self.me, secret, group).map_err(|_| Abort::Degenerate)?;
        if !share.matches(&public) {
            return Err(Abort::Degenerate);
        }
        let transcript_hash = Framed::<Sha256>::new::<C>("dkg transcript")
            .part(&self.session)
            .list(&self.own_echo().digests)
            .part(&public.to_bytes())
            .digest();
        Ok(Outcome { share, public, transcript_hash })
    }

    /// Only constant terms come with proofs of knowledge, so the highest coefficients could be chosen to cancel, and
    /// fewer than t members would suffice.
    fn check_degree(&self) -> Result<(), Abort> {
        let mut sum = suite::identity::<C>();
        for message in self.round1.values() {
            let highest = message.commitment.chunks_exact(C::POINT_LEN).next_back();
            sum = sum + highest.and_then(suite::parse_point::<C>).ok_or(Abort::Degenerate)?;
        }
        if sum == suite::identity::<C>() { Err(Abort::Degenerate) } else { Ok(()) }
    }
}

impl<C: Suite> fmt::Debug for Dkg<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waiting = self.waiting_for();
        f.debug_struct("Dkg").field("me", &self.me).field("waiting_for", &waiting).finish_non_exhaustive()
    }
}

/// Translates the library's errors, naming members by index.
fn named<C: Suite>(committee: &Committee, round: u8, error: &frost_core::Error<C>) -> Abort {
    let culprits = error.culprits();
    let member = committee.threshold().indexes().find(|member| culprits.contains(&member.identifier()));
    match (error, member) {
        (frost_core::Error::InvalidProofOfKnowledge { .. }, Some(culprit)) => Abort::BadProof { culprit },
        (frost_core::Error::InvalidSecretShare { .. }, Some(culprit)) => Abort::BadSubShare { culprit },
        _ => Abort::Library { round, detail: error.to_string() },
    }
}
