//! What a liar does without being asked: statements without authority, floods, replays.
//!
//! Its statements do not pass through its own core, so that it can say different things to different peers.

use keymesh_mesh::spread::{LIST, Summary, Told};
use keymesh_mesh::state::{Document, TenantState};
use keymesh_wire::body::{
    EditOp, EnrolmentVote, GenerationRef, InstanceFacts, NewPolicy, Person, Placement, Revocation, Role, RoleGrant,
    RootAttestation, Scope, Subject,
};
use keymesh_wire::ids::{BlobHash, Nonce, PrincipalId};

use super::*;
use crate::agents::Instance;

impl Liar {
    /// What it sends of its own accord.
    pub(crate) fn act(&mut self, around: &Around<'_>) -> Vec<Frame> {
        let mut frames = Vec::new();
        if around.linked.is_empty() {
            return frames;
        }
        let documents: Vec<DocumentId> = around.replica.documents().iter().map(|held| held.document).collect();
        for lie in self.lies.clone() {
            match lie {
                Lie::Floods => self.flood(around, &documents, &mut frames),
                Lie::Replays => self.replay(around, &mut frames),
                Lie::KeepsLeases => {
                    let held = around.replica.view().leases.iter();
                    self.hoard.extend(held.map(|(place, lease)| (*place, lease.clone())));
                }
                Lie::RivalProposals => documents.iter().for_each(|of| self.rivals(around, *of, &mut frames)),
                // A change of custody is over soon: whoever complains of its deals does so at once.
                Lie::FalseComplaints => documents.iter().for_each(|of| self.say(around, lie, *of, &mut frames)),
                _ => {
                    let document = documents[draw::place(&mut self.rng, documents.len())];
                    self.say(around, lie, document, &mut frames);
                }
            }
        }
        frames
    }

    fn say(&mut self, around: &Around<'_>, lie: Lie, document: DocumentId, frames: &mut Vec<Frame>) {
        let Some(held) = around.replica.document(&document) else { return };
        let tenant = held.tenant();
        let (body, dated) = match (lie, tenant) {
            (Lie::GrantsItself, tenant) => (self.presumptuous(around, tenant, held), Dated::Now),
            (Lie::Backdates, Some(tenant)) => {
                let body = match draw::between(&mut self.rng, 0, 2) {
                    0 => self.presumptuous(around, Some(tenant), held),
                    1 => Some(self.forged_vote(tenant)),
                    _ => Some(Body::Witness(held.graph().ids().take(8).copied().collect())),
                };
                (body, Dated::AfterGenesis)
            }
            (Lie::ForgesVotes, Some(tenant)) => (Some(self.forged_vote(tenant)), Dated::Now),
            (Lie::FalseWitness, Some(_)) => (self.false_witness(held), Dated::Now),
            (Lie::HidesRevocations, Some(_)) => {
                let seen = self.denials.iter().filter(|(_, of)| **of == document).map(|(id, _)| *id).take(16);
                let seen: Vec<StatementId> = seen.collect();
                ((!seen.is_empty()).then_some(Body::Witness(seen)), Dated::AfterGenesis)
            }
            (Lie::FalseAccusations, Some(tenant)) => {
                if draw::chance(&mut self.rng, 400) {
                    return self.solicit(around, tenant, frames);
                }
                (self.false_word(tenant), Dated::Now)
            }
            (Lie::FalseTranscripts, Some(tenant)) => return self.false_outcomes(around, document, tenant, frames),
            (lie, Some(_)) if Lie::IN_EPOCHS.contains(&lie) => {
                for body in self.false_word_on_epoch(around, lie, document) {
                    let Some(statement) = self.sign(around, document, &body, Dated::Now) else { return };
                    let frame = push(document, &[&statement]);
                    frames.extend(around.linked.iter().map(|peer| (*peer, Channel::Spread, frame.clone())));
                }
                return;
            }
            (Lie::Equivocates, tenant) => return self.equivocate(around, document, tenant, frames),
            (Lie::Orphans, _) => return self.orphan(around, document, frames),
            _ => return,
        };
        let Some(statement) = body.and_then(|body| self.sign(around, document, &body, dated)) else { return };
        let frame = push(document, &[&statement]);
        frames.extend(around.linked.iter().map(|peer| (*peer, Channel::Spread, frame.clone())));
    }

    /// Something that only admins or operators may say, and never alone.
    fn presumptuous(&mut self, around: &Around<'_>, tenant: Option<&TenantState>, held: &Document) -> Option<Body> {
        let me = around.identity.principal();
        let person = Person { principal: me, name: "root".to_owned() };
        let sealing = *around.identity.sealing().public().as_bytes();
        let Some(tenant) = tenant else {
            let mesh = held.mesh()?;
            let card = mesh.nodes.get(&me)?.clone();
            let victim = *mesh.nodes.keys().find(|node| **node != me)?;
            return Some(match draw::between(&mut self.rng, 0, 3) {
                0 => Body::AddAdmin(person),
                1 => Body::RemoveNode(victim),
                2 => Body::AdmitNode(keymesh_wire::body::NodeCard { zone: "aws/eu-west-1a".into(), ..card }),
                _ => Body::SuspendAdmin(*mesh.admins.keys().next()?),
            });
        };
        let admin = *tenant.admins.keys().next()?;
        let open = tenant.pending.first().map(|pending| pending.statement);
        let victim = tenant.enrolments.keys().next();
        Some(match draw::between(&mut self.rng, 0, 9) {
            0 => Body::AddAdmin(person),
            1 => Body::Grant(RoleGrant {
                principal: me,
                name: "root".to_owned(),
                role: Role::NamespaceAdmin,
                scope: Scope::Tenant,
            }),
            2 => Body::PlaceNode(Placement {
                node: me,
                sealing,
                zone: "nowhere/z9".to_owned(),
                provider: "nobody".to_owned(),
                lessee: true,
            }),
            3 => Body::SetPolicy(NewPolicy {
                scope: Scope::Tenant,
                text: "permit(principal, action, resource);".to_owned(),
            }),
            4 => Body::RemoveAdmin(admin),
            5 => Body::SuspendAdmin(admin),
            6 => Body::Revoke(Revocation { subject: Subject::Instance(victim?.clone()), reason: "because".to_owned() }),
            7 => Body::DisplaceNode(*tenant.nodes.keys().find(|node| **node != me)?),
            8 => Body::DistrustEvidence(BlobHash::from_bytes(self.random_id())),
            _ => Body::Endorse(open?),
        })
    }

    /// A vote that nobody asked for: another key for an instance that is enrolled, or facts nobody verified.
    fn forged_vote(&mut self, tenant: &TenantState) -> Body {
        let agent = PrincipalId::from_bytes(self.random_id());
        let launcher = tenant.grants.iter().find(|grant| grant.role == Role::Launcher).map(|grant| grant.principal);
        let known = tenant.enrolments.values().filter_map(|enrolment| enrolment.holder()).next();
        let facts = match known.filter(|_| draw::chance(&mut self.rng, 500)) {
            Some(claim) => claim.facts.clone(),
            None => InstanceFacts {
                instance: Instance::ALL[draw::place(&mut self.rng, Instance::ALL.len())].name(),
                provider: "aws".to_owned(),
                account: "111122223333".to_owned(),
                region: "eu-west-1".to_owned(),
                zone: "aws/eu-west-1a".to_owned(),
                image: "ami-0".to_owned(),
                pending: Wall(0),
                launched_by: "deploy".to_owned(),
            },
        };
        let mut nonce = [0; 16];
        rand_core::Rng::fill_bytes(&mut self.rng, &mut nonce);
        Body::VoteEnrolment(EnrolmentVote {
            agent,
            facts,
            evidence: BlobHash::from_bytes(self.random_id()),
            ticket: Nonce::from_bytes(nonce),
            launcher: launcher.unwrap_or(agent),
        })
    }

    fn false_witness(&mut self, held: &Document) -> Option<Body> {
        let ids: Vec<StatementId> = held.graph().ids().copied().collect();
        let mut said: Vec<StatementId> = (0..3).map(|_| StatementId::from_bytes(self.random_id())).collect();
        said.extend((0..3).map(|_| ids[draw::place(&mut self.rng, ids.len())]));
        said.sort_unstable();
        said.dedup();
        Some(Body::Witness(said))
    }

    fn false_word(&mut self, tenant: &TenantState) -> Option<Body> {
        if !self.collected.is_empty() && draw::chance(&mut self.rng, 600) {
            let place = draw::place(&mut self.rng, self.collected.len());
            return Some(Body::AccuseCustodian(self.collected[place].clone()));
        }
        let known = tenant.keyrings.values().flat_map(|keyring| &keyring.generations);
        let known: Vec<GenerationRef> = known.map(|generation| generation.id).collect();
        if known.is_empty() {
            return None;
        }
        let mut word = known[draw::place(&mut self.rng, known.len())];
        word.number += draw::between(&mut self.rng, 0, 1) as u32;
        Some(match draw::chance(&mut self.rng, 500) {
            true => Body::AccuseGeneration(word),
            false => Body::AttestGeneration(word),
        })
    }

    /// Two statements with one past, one for each half of the peers.
    fn equivocate(
        &mut self,
        around: &Around<'_>,
        document: DocumentId,
        tenant: Option<&TenantState>,
        frames: &mut Vec<Frame>,
    ) {
        let note =
            |value: &str| Body::Edit(vec![EditOp::Put { path: vec!["contact".into()], value: value.to_owned() }]);
        let (one, other) = match tenant {
            Some(tenant) if draw::chance(&mut self.rng, 700) => (self.forged_vote(tenant), self.forged_vote(tenant)),
            Some(_) | None => (note("yes"), note("no")),
        };
        self.tell_halves(around, document, [&one, &other], frames);
    }

    fn tell_halves(&mut self, around: &Around<'_>, document: DocumentId, bodies: [&Body; 2], frames: &mut Vec<Frame>) {
        let said = bodies.map(|body| self.sign(around, document, body, Dated::Now));
        let [Some(one), Some(other)] = said else { return };
        for peer in &around.linked {
            let told = if self.half(peer) { &one } else { &other };
            frames.push((*peer, Channel::Spread, push(document, &[told])));
        }
    }

    /// Different outcomes of each key generation under way, for each half of the peers.
    fn false_outcomes(
        &mut self,
        around: &Around<'_>,
        document: DocumentId,
        tenant: &TenantState,
        frames: &mut Vec<Frame>,
    ) {
        let me = around.identity.principal();
        for root in tenant.roots.values() {
            for (committee, held) in (0u8..).zip(&root.committees) {
                if !held.spec.members.contains(&me) {
                    continue;
                }
                let claim = held.claims.first().map(|claim| (claim.attempt, claim.public.clone()));
                let public = held.public.clone().map(|public| (held.attempt.unwrap_or(0), public));
                let Some((attempt, public)) = claim.or(public) else { continue };
                let word = |transcript| {
                    let transcript = BlobHash::from_bytes(transcript);
                    let public = public.clone();
                    Body::AttestRoot(RootAttestation {
                        root: root.id,
                        committee,
                        attempt,
                        epoch: 0,
                        transcript,
                        public,
                    })
                };
                let (one, other) = (word(self.random_id()), word(self.random_id()));
                self.tell_halves(around, document, [&one, &other], frames);
            }
        }
    }

    /// A statement whose parent nobody gets.
    fn orphan(&mut self, around: &Around<'_>, document: DocumentId, frames: &mut Vec<Frame>) {
        let note = |value: &str| Body::Edit(vec![EditOp::Put { path: vec!["note".into()], value: value.to_owned() }]);
        let Some(parent) = self.sign(around, document, &note("parent"), Dated::Now) else { return };
        let wall = around.now.wall;
        let Ok(child) = Checked::sign(&note("child"), Some(document), vec![parent.id()], wall, around.identity) else {
            return;
        };
        // Nobody keeps either.
        self.said -= 1;
        let frame = push(document, &[&child]);
        frames.extend(around.linked.iter().map(|peer| (*peer, Channel::Spread, frame.clone())));
    }

    fn flood(&mut self, around: &Around<'_>, documents: &[DocumentId], frames: &mut Vec<Frame>) {
        for _ in 0..30 {
            let peer = around.linked[draw::place(&mut self.rng, around.linked.len())];
            let document = documents[draw::place(&mut self.rng, documents.len())];
            let ids = |liar: &mut Self, most: u64| -> Vec<[u8; 32]> {
                let many = draw::between(&mut liar.rng, 1, most);
                (0..many).map(|_| liar.random_id()).collect()
            };
            let message = match draw::between(&mut self.rng, 0, 7) {
                0 | 1 => {
                    let len = draw::between(&mut self.rng, 0, 300);
                    let channel = if draw::chance(&mut self.rng, 500) { Channel::Spread } else { Channel::Custody };
                    frames.push((peer, channel, self.random(len)));
                    continue;
                }
                2 => {
                    let ids = ids(self, 200).into_iter().map(StatementId::from_bytes).collect();
                    Message::Announce { document, ids }
                }
                3 => {
                    let ids = ids(self, LIST as u64 / 64).into_iter().map(StatementId::from_bytes).collect();
                    Message::Pull { document, ids }
                }
                4 => {
                    let hashes = ids(self, 50).into_iter().map(BlobHash::from_bytes).collect();
                    Message::PullBlobs { document, hashes }
                }
                5 => {
                    let (ids, state) = (self.random_id(), self.random_id());
                    let document = DocumentId::from_bytes(self.random_id());
                    Message::Digests { told: vec![Told { document, summary: Summary { ids, count: 7, state } }] }
                }
                6 => {
                    let session = draw::between(&mut self.rng, 0, u64::MAX - 1);
                    Message::Open { document, session, salt: [7; 16] }
                }
                _ => {
                    let blobs = vec![ByteVec::from(self.random(100))];
                    Message::Blobs { document, blobs }
                }
            };
            frames.push((peer, Channel::Spread, message.to_frame()));
        }
    }

    fn replay(&mut self, around: &Around<'_>, frames: &mut Vec<Frame>) {
        for _ in 0..self.old.len().min(6) {
            let (channel, frame) = self.old[draw::place(&mut self.rng, self.old.len())].clone();
            frames.push((around.linked[draw::place(&mut self.rng, around.linked.len())], channel, frame));
        }
    }
}
