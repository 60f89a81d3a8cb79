//! Giving one member its share of the current sharing: the enrolment protocol of Stinson and Wei, as in Laing and Stinson
//! (2018), computed by `frost_core`.
//!
//! ```text
//! helper i   help: ζᵢ·sᵢ = Σⱼ δᵢⱼ ── Commitment (δᵢⱼ·G for all j) ─▶ all helpers and the member
//!                                 ── Delta δᵢⱼ ─▶ helper j, sealed
//! helper j   gather: σⱼ = Σᵢ δᵢⱼ  ── Sigma ─▶ the member, sealed
//! member r   finish: sᵣ = Σⱼ σⱼ
//! ```
//!
//! ζᵢ is the Lagrange coefficient of helper i at place r among the helpers.
//!
//! Guarantees: what [`Repair::finish`] returns is the share behind the member's verifying share in the [`RootPublic`]
//! that the repair was made with, which the library does not compare. A helper that gave anything else is named: each
//! commitment is checked against the helper's verifying share (Σⱼ δᵢⱼ·G = ζᵢ·Yᵢ), each delta against its commitment,
//! and, when the result is wrong, each sigma against the commitments' sum. Fewer than all helpers learn nothing of the
//! others' shares or of the member's; the member learns its share alone. Deltas are drawn from hedged randomness.
//!
//! Left to others: signatures, sealing each secret message to its recipient, that all have the same commitments (two
//! different signed ones of one helper show it up), and that the member asking is the one whose share it is.

mod message;

use std::collections::BTreeMap;
use std::fmt;

use frost_core::VerifyingKey;
use frost_core::keys::repairable::{repair_share_part1, repair_share_part2};
use frost_core::keys::{KeyPackage, SigningShare, VerifyingShare};
use rand_core::CryptoRng;
use sha2::{Sha256, Sha512};
use zeroize::Zeroizing;

pub use message::{Commitment, Delta, Sigma};

use crate::hash::Framed;
use crate::mutant::{self, Mistake};
use crate::rng::{self, Hedged};
use crate::secret::SecretScalar;
use crate::share::{KeyShare, RootPublic};
use crate::suite::{self, Element, Suite};
use crate::threshold::MemberIndex;

/// The kinds of message, for error texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// [`Commitment`].
    Commitment,
    /// [`Delta`].
    Delta,
    /// [`Sigma`].
    Sigma,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Commitment => "commitment",
            Kind::Delta => "delta",
            Kind::Sigma => "sigma",
        })
    }
}

/// Why a repair cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RepairError {
    /// Fewer helpers than must act.
    #[error("{have} helpers where the sharing needs {need}")]
    TooFewHelpers {
        /// How many there are.
        have: usize,
        /// The sharing's t.
        need: usize,
    },
    /// One helper listed twice.
    #[error("member {index} is listed twice")]
    DuplicateHelper {
        /// Who.
        index: MemberIndex,
    },
    /// The member to repair cannot help itself.
    #[error("member {index} cannot help itself")]
    HelpsItself {
        /// Who.
        index: MemberIndex,
    },
    /// An index that the sharing does not have.
    #[error("the sharing has no member {index}")]
    NoSuchMember {
        /// The index.
        index: MemberIndex,
    },
    /// The share is not one of this sharing.
    #[error("the share is not one of this sharing")]
    ForeignShare,
    /// Somebody who was not asked.
    #[error("member {index} is not a helper")]
    NotAHelper {
        /// Who.
        index: MemberIndex,
    },
    /// A message of another repair, or to another helper.
    #[error("the {kind} of member {from} is not for this")]
    Foreign {
        /// Of whom.
        from: MemberIndex,
        /// What.
        kind: Kind,
    },
    /// A message that is there twice.
    #[error("there are two messages ({kind}) of member {from}")]
    Twice {
        /// Of whom.
        from: MemberIndex,
        /// What.
        kind: Kind,
    },
    /// A message that is not there.
    #[error("there is no {kind} of member {from}")]
    Missing {
        /// Of whom.
        from: MemberIndex,
        /// What.
        kind: Kind,
    },
    /// A helper gave something else than it should have.
    #[error("the {kind} of member {culprit} is wrong")]
    Wrong {
        /// Who.
        culprit: MemberIndex,
        /// What.
        kind: Kind,
    },
    /// The result is not the member's share, or a computed point is the identity. With messages of which none is wrong
    /// this does not happen.
    #[error("what the helpers gave is not the member's share")]
    NotTheShare,
}

/// One repair: whose share, by whom, in which sharing.
#[derive(Clone)]
pub struct Repair<C: Suite> {
    public: RootPublic<C>,
    member: MemberIndex,
    helpers: Vec<MemberIndex>,
    session: [u8; 32],
}

/// What one helper gives.
#[derive(Debug)]
pub struct Help<C: Suite> {
    /// To all helpers and the member, signed.
    pub commitment: Commitment<C>,
    /// One for every helper, also the maker, each to be sealed to it.
    pub deltas: Vec<Delta<C>>,
}

impl<C: Suite> Repair<C> {
    /// Checks who takes part. `context` (mesh, root, epoch, attempt) separates repairs.
    ///
    /// # Errors
    /// When an index is not of the sharing, a helper is listed twice or is the member itself, or there are fewer than t.
    pub fn new(
        public: &RootPublic<C>,
        member: MemberIndex,
        helpers: &[MemberIndex],
        context: &[u8],
    ) -> Result<Self, RepairError> {
        let threshold = public.threshold();
        let stranger = std::iter::once(&member).chain(helpers).find(|index| !threshold.contains(**index));
        if let Some(&index) = stranger {
            return Err(RepairError::NoSuchMember { index });
        }
        if helpers.contains(&member) {
            return Err(RepairError::HelpsItself { index: member });
        }
        let mut helpers = helpers.to_vec();
        helpers.sort_unstable();
        if let Some(pair) = helpers.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(RepairError::DuplicateHelper { index: pair[0] });
        }
        let (have, need) = (helpers.len(), threshold.t().into());
        if have < need {
            return Err(RepairError::TooFewHelpers { have, need });
        }
        let places: Vec<u8> = helpers.iter().map(|index| index.get()).collect();
        let session = Framed::<Sha256>::new::<C>("repair session")
            .part(context)
            .part(&public.hash())
            .part(&[member.get()])
            .part(&places)
            .digest();
        Ok(Repair { public: public.clone(), member, helpers, session })
    }

    /// The member whose share it is about.
    pub fn member(&self) -> MemberIndex {
        self.member
    }

    /// The helpers, in order.
    pub fn helpers(&self) -> &[MemberIndex] {
        &self.helpers
    }

    /// The digest of everything that defines the repair.
    pub fn session(&self) -> &[u8; 32] {
        &self.session
    }

    /// A helper's first step.
    ///
    /// # Errors
    /// When the share is not one of the sharing or its holder was not asked.
    pub fn help(&self, share: &KeyShare<C>, rng: &mut (impl CryptoRng + ?Sized)) -> Result<Help<C>, RepairError> {
        if !share.matches(&self.public) {
            return Err(RepairError::ForeignShare);
        }
        let from = share.index();
        self.position(from)?;
        let own = share.secret().expose_bytes();
        let hash = Framed::<Sha512>::new::<C>("repair deltas").part(&*rng::seed(rng)).part(&own).part(&self.session);
        let helpers: Vec<_> = self.helpers.iter().map(|helper| helper.identifier()).collect();
        let dealt = package(share, &self.public)
            .and_then(|package| {
                repair_share_part1(&helpers, &package, &mut Hedged::<C>::new(hash), self.member.identifier())
            })
            .map_err(|_| RepairError::NotTheShare)?;
        let (mut points, mut deltas) = (Vec::new(), Vec::new());
        for (to, helper) in self.helpers.iter().zip(&helpers) {
            let bytes = Zeroizing::new(dealt.get(helper).ok_or(RepairError::NotTheShare)?.serialize());
            let value = SecretScalar::parse(&bytes).ok_or(RepairError::NotTheShare)?;
            points.push(C::generator_times(value.expose()));
            deltas.push(Delta { session: self.session, from, to: *to, value });
        }
        let commitment = Commitment::new(self.session, from, points).ok_or(RepairError::NotTheShare)?;
        Ok(Help { commitment, deltas })
    }

    /// A helper's second step, with one commitment and one delta of every helper, also itself.
    ///
    /// # Errors
    /// When one is missing, of another repair or wrong.
    pub fn gather(
        &self,
        me: MemberIndex,
        commitments: &[Commitment<C>],
        deltas: &[Delta<C>],
    ) -> Result<Sigma<C>, RepairError> {
        let place = self.position(me)?;
        let commitments = self.commitments(commitments)?;
        let deltas =
            self.of_each(Kind::Delta, deltas, |delta| (delta.from, delta.session == self.session && delta.to == me))?;
        let mut summands = Vec::with_capacity(deltas.len());
        for (commitment, delta) in commitments.iter().zip(&deltas) {
            if C::generator_times(delta.value.expose()) != commitment.points()[place] {
                return Err(RepairError::Wrong { culprit: delta.from, kind: Kind::Delta });
            }
            let bytes = delta.value.expose_bytes();
            let summand = frost_core::keys::repairable::Delta::<C>::deserialize(&bytes);
            summands.push(summand.map_err(|_| RepairError::NotTheShare)?);
        }
        let sum = Zeroizing::new(repair_share_part2(&summands).serialize());
        let value = SecretScalar::parse(&sum).ok_or(RepairError::NotTheShare)?;
        Ok(Sigma { session: self.session, from: me, value })
    }

    /// The member's step, with one commitment and one sigma of every helper.
    ///
    /// # Errors
    /// When one is missing or of another repair, and with the culprit's name when the sum is not the member's share.
    pub fn finish(&self, commitments: &[Commitment<C>], sigmas: &[Sigma<C>]) -> Result<KeyShare<C>, RepairError> {
        let sigmas = self.of_each(Kind::Sigma, sigmas, |sigma| (sigma.from, sigma.session == self.session))?;
        // The library's third part does no more, and wants a package that this crate does not have.
        let sum = sigmas.iter().fold(suite::zero::<C>(), |sum, sigma| sum + *sigma.value.expose());
        let share = KeyShare::new(self.member, SecretScalar::new(sum), self.public.group()).ok();
        let right = share.filter(|share| share.matches(&self.public) || mutant::is(Mistake::RepairUnchecked));
        match right {
            Some(share) => Ok(share),
            None => Err(self.culprit(commitments, &sigmas)),
        }
    }

    /// Who made the result wrong.
    fn culprit(&self, commitments: &[Commitment<C>], sigmas: &[&Sigma<C>]) -> RepairError {
        let commitments = match self.commitments(commitments) {
            Ok(commitments) => commitments,
            Err(error) => return error,
        };
        let wrong = sigmas.iter().enumerate().find(|(place, sigma)| {
            let sum = commitments.iter().fold(suite::identity::<C>(), |sum, from| sum + from.points()[*place]);
            C::generator_times(sigma.value.expose()) != sum
        });
        match wrong {
            Some((_, sigma)) => RepairError::Wrong { culprit: sigma.from, kind: Kind::Sigma },
            None => RepairError::NotTheShare,
        }
    }

    /// Whether one helper's commitment is to its weighted share, before there are those of the others.
    ///
    /// # Errors
    /// When it is of another repair or somebody who was not asked, or wrong.
    pub fn check(&self, commitment: &Commitment<C>) -> Result<(), RepairError> {
        let (culprit, kind) = (commitment.from(), Kind::Commitment);
        self.position(culprit)?;
        if commitment.session() != &self.session {
            return Err(RepairError::Foreign { from: culprit, kind });
        }
        let places: Vec<u8> = self.helpers.iter().map(|index| index.get()).collect();
        let sum: Element<C> = commitment.points().iter().fold(suite::identity::<C>(), |sum, point| sum + *point);
        let weight = suite::lagrange_at::<C>(self.member.get(), culprit.get(), &places);
        let want = self.public.share(culprit).zip(weight).map(|(share, weight)| share * weight);
        match commitment.points().len() == self.helpers.len() && want == Some(sum) {
            true => Ok(()),
            false => Err(RepairError::Wrong { culprit, kind }),
        }
    }

    fn position(&self, index: MemberIndex) -> Result<usize, RepairError> {
        self.helpers.iter().position(|helper| *helper == index).ok_or(RepairError::NotAHelper { index })
    }

    /// One commitment per helper, in order, each to ζᵢ·sᵢ.
    fn commitments<'a>(&self, commitments: &'a [Commitment<C>]) -> Result<Vec<&'a Commitment<C>>, RepairError> {
        let about = |commitment: &Commitment<C>| (commitment.from(), commitment.session() == &self.session);
        let commitments = self.of_each(Kind::Commitment, commitments, about)?;
        commitments.iter().try_for_each(|commitment| self.check(commitment))?;
        Ok(commitments)
    }

    /// One message of every helper, in order. `about` says of a message who made it and whether it is of this repair.
    fn of_each<'a, T>(
        &self,
        kind: Kind,
        messages: &'a [T],
        about: impl Fn(&T) -> (MemberIndex, bool),
    ) -> Result<Vec<&'a T>, RepairError> {
        let mut by_helper = BTreeMap::new();
        for message in messages {
            let (from, ours) = about(message);
            self.position(from)?;
            if !ours {
                return Err(RepairError::Foreign { from, kind });
            }
            if by_helper.insert(from, message).is_some() {
                return Err(RepairError::Twice { from, kind });
            }
        }
        let of = |from: &MemberIndex| by_helper.get(from).copied().ok_or(RepairError::Missing { from: *from, kind });
        self.helpers.iter().map(of).collect()
    }
}

impl<C: Suite> fmt::Debug for Repair<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Repair(member {} by {} helpers)", self.member, self.helpers.len())
    }
}

/// The share as frost wants it.
fn package<C: Suite>(share: &KeyShare<C>, public: &RootPublic<C>) -> Result<KeyPackage<C>, frost_core::Error<C>> {
    Ok(KeyPackage::new(
        share.index().identifier(),
        SigningShare::deserialize(&share.secret().expose_bytes())?,
        VerifyingShare::deserialize(share.verifying_bytes())?,
        VerifyingKey::deserialize(public.group_key())?,
        public.threshold().t().into(),
    ))
}
