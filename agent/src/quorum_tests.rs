use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use keymesh_custody::{Committee, Dkg, DkgMessage, KeyShare, MemberIndex, Outcome, Output, open_partial};
use keymesh_wire::ids::{KeyringId, RootId};
use keymesh_wire::sealing::{self, SealingPublic};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;

use super::*;
use crate::client::Trust;
use crate::fake::{self, FakeNode, Reply, identity, tenant};
use crate::fleet::{Candidate, Fleet, Times};
use crate::keys::{self, Class};

const NOW: Wall = Wall(1_000_000);

fn rng(seed: u64) -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(seed)
}

/// Runs a key generation of `t` of `n` among members who all behave.
fn generate(t: u8, n: u8, seed: u64) -> Vec<Outcome<Ristretto>> {
    let committee = Committee::new((1..=n).map(|i| [i; 32]).collect(), t).expect("a committee");
    let members: Vec<MemberIndex> = committee.threshold().indexes().collect();
    let (mut runs, mut queue, mut done) = (Vec::new(), Vec::new(), Vec::new());
    let mut rng = rng(seed);
    let mut sort = |from: MemberIndex, outputs: Vec<Output<Ristretto>>, queue: &mut Vec<_>| {
        for output in outputs {
            match output {
                Output::ToAll(broadcast) => queue.extend(
                    members
                        .iter()
                        .filter(|to| **to != from)
                        .map(|to| (from, *to, DkgMessage::Broadcast(broadcast.clone()))),
                ),
                Output::ToOne { to, sub_share } => queue.push((from, to, DkgMessage::SubShare(sub_share))),
                Output::Done(outcome) => done.push(*outcome),
                Output::Aborted(abort) => panic!("{abort}"),
            }
        }
    };
    for me in &members {
        let (run, outputs) = Dkg::start(committee.clone(), *me, b"test", &mut rng).expect("a run");
        runs.push(run);
        sort(*me, outputs, &mut queue);
    }
    while !queue.is_empty() {
        let (from, to, message) = queue.remove(0);
        let outputs = runs[usize::from(to.get()) - 1].handle(from, message).expect("taken");
        sort(to, outputs, &mut queue);
    }
    done.sort_by_key(|outcome| outcome.share.index());
    assert_eq!(done.len(), usize::from(n));
    done
}

/// A root of one committee with a key sealed to it, and the custodians that open it.
struct World {
    shares: Vec<KeyShare<Ristretto>>,
    public: RootPublic<Ristretto>,
    label: CapsuleLabel,
    capsule: Vec<u8>,
}

const KEY: KeyId = KeyId::from_bytes([3; 32]);
const VERSION: VersionId = VersionId::from_bytes([4; 16]);

impl World {
    fn new(mesh: MeshId) -> Self {
        let outcomes = generate(3, 5, 1);
        let public = outcomes[0].public.clone();
        let label = CapsuleLabel {
            suite: Suite::V1,
            mesh,
            tenant: tenant(),
            root: RootId::from_bytes([6; 32]),
            keyring: KeyringId::from_bytes([7; 32]),
            purpose: CapsulePurpose::Version { key: KEY, version: VERSION },
        };
        let data = DataKey::new(&SecretBytes::from_vec(vec![42; 64])).expect("a key");
        let (capsule, _) = seal_version(&label, std::slice::from_ref(&public), &data, &mut rng(2)).expect("sealed");
        Self { shares: outcomes.into_iter().map(|outcome| outcome.share).collect(), public, label, capsule }
    }

    fn partial(&self, share: usize, request: &QuorumRequest) -> SealedPartial {
        self.partial_with(share, request, |_| ())
    }

    fn partial_with(
        &self,
        share: usize,
        request: &QuorumRequest,
        alter: impl Fn(&mut PartialBinding),
    ) -> SealedPartial {
        let publics = std::slice::from_ref(&self.public);
        let capsule = Capsule::from_bytes(&self.capsule).expect("a capsule");
        let capsule = capsule.verify(&self.label.bytes(), publics).expect("verified");
        let signer = identity(100 + share as u8);
        let custodian = signer.principal();
        let mut binding = PartialBinding {
            suite: Suite::V1,
            purpose: PartialPurpose::Release,
            tenant: request.tenant,
            request: request.request,
            capsule: blob_hash(&self.capsule),
            recipient: request.recipient,
            root: self.label.root,
            committee: 0,
            epoch: 0,
            custodian,
            expires: request.issued.plus(keymesh_wire::time::Millis::seconds(60)),
        };
        let honest = binding.clone();
        alter(&mut binding);
        let partial = open_partial(&self.shares[share], &capsule, &binding.bytes(), &mut rng(9)).expect("a partial");
        let recipient = SealingPublic::from_bytes(request.recipient).expect("a key");
        // The box is honest in any case, so that what is altered is found by the proof.
        let (head, bytes) = (capsule.head().to_bytes(), partial.to_bytes());
        let sealed = Contribution::seal(&recipient, &honest, &head, &bytes, &signer, &mut rng(10 + share as u64));
        SealedPartial {
            custodian,
            committee: 0,
            epoch: 0,
            expires: honest.expires,
            sealed,
            audit: AuditRef { node: custodian, sequence: 1 },
        }
    }

    fn answer(&self, partials: Vec<SealedPartial>) -> QuorumReleased {
        QuorumReleased {
            key: KEY,
            version: VERSION,
            keyring: self.label.keyring,
            root: self.label.root,
            capsule: self.capsule.clone(),
            committees: vec![self.public.to_bytes()],
            partials,
        }
    }
}

fn mesh() -> MeshId {
    MeshId::from_bytes([1; 32])
}

fn wanted(mesh: MeshId) -> Wanted {
    Wanted { mesh, tenant: tenant(), key: KEY, version: None, root: None, receipt: Receipt::default() }
}

fn question() -> Question {
    Question::new(&wanted(mesh()), &identity(5), NOW, &mut rng(3))
}

#[test]
fn any_three_of_five_partials_give_the_key() {
    let (world, question) = (World::new(mesh()), question());
    for chosen in [[0, 1, 2], [4, 2, 0], [1, 3, 4]] {
        let partials = chosen.map(|share| world.partial(share, question.request())).to_vec();
        let got = question.open(&world.answer(partials), None, NOW).expect("a key");
        assert_eq!(got.key.expose_secret(), [42; 64]);
        assert_eq!((got.version, got.audits.len(), got.warnings.len()), (VERSION, 3, 0));
        assert_eq!(got.root, RootPin::of(std::slice::from_ref(&world.public)));
    }
}

#[test]
fn two_partials_are_not_enough() {
    let (world, question) = (World::new(mesh()), question());
    let partials = vec![world.partial(0, question.request()), world.partial(1, question.request())];
    let error = question.open(&world.answer(partials), None, NOW).expect_err("a refusal");
    assert!(matches!(error, QuorumError::Combine { source: CombineError::NotEnough { have: 2, need: 3, .. }, .. }));
}

#[test]
fn a_custodian_with_a_bad_partial_is_named_while_the_others_open() {
    let (world, question) = (World::new(mesh()), question());
    // Made for another request and put into this one's box: the combination cannot tell, the proof can.
    let bad = world.partial_with(0, question.request(), |binding| binding.epoch = 9);
    let mut foreign = world.partial(1, question.request());
    foreign.custodian = identity(77).principal();
    let mut late = world.partial(4, question.request());
    late.expires = Wall(NOW.0 - 1);
    // Its value is right although its proof is not, so it is harmless until something else goes wrong.
    let mut partials =
        vec![bad, foreign, late, world.partial(2, question.request()), world.partial(3, question.request())];
    let got = question.open(&world.answer(partials.clone()), None, NOW).expect("a key");
    let faults: Vec<_> = got.warnings.iter().map(|warning| (warning.custodian, warning.fault.clone())).collect();
    assert_eq!(
        faults,
        [(identity(77).principal(), Fault::NotForUs), (identity(104).principal(), Fault::Expired)],
        "relabelled and expired partials are of no use"
    );

    // Another custodian's value under this one's index does spoil the combination.
    let stolen = {
        let world = World {
            shares: generate(3, 5, 8).into_iter().map(|outcome| outcome.share).collect(),
            ..World::new(mesh())
        };
        // A share of another root cannot even be used for this capsule.
        let capsule = Capsule::<Ristretto>::from_bytes(&world.capsule).expect("a capsule");
        let capsule = capsule.verify(&world.label.bytes(), std::slice::from_ref(&world.public)).expect("verified");
        open_partial(&world.shares[0], &capsule, b"", &mut rng(1)).is_err()
    };
    assert!(stolen);
    for signs in [true, false] {
        partials = [1, 2, 3].map(|share| world.partial(share, question.request())).to_vec();
        partials.insert(0, swap_value(&world, &question, 0, signs));
        let got = question.open(&world.answer(partials), None, NOW).expect("a key");
        assert_eq!(got.key.expose_secret(), [42; 64]);
        let [warning] = got.warnings.as_slice() else { panic!("{:?}", got.warnings) };
        assert_eq!(warning.custodian, identity(100).principal());
        assert!(matches!(warning.fault, Fault::Proof(_)), "{warning}");
        let shown = warning.proof.as_ref().map(|proof| proof.claim().expect("its word").binding.custodian);
        assert_eq!(shown, signs.then_some(warning.custodian), "what it did not sign convinces nobody");
    }
}

/// A partial of custodian `share` whose value is another point: the encoded value is exchanged for R of the capsule.
fn swap_value(world: &World, question: &Question, share: usize, signs: bool) -> SealedPartial {
    let mut sealed = world.partial(share, question.request());
    let binding = PartialBinding {
        suite: Suite::V1,
        purpose: PartialPurpose::Release,
        tenant: tenant(),
        request: question.request().request,
        capsule: blob_hash(&world.capsule),
        recipient: question.request().recipient,
        root: world.label.root,
        committee: 0,
        epoch: 0,
        custodian: sealed.custodian,
        expires: sealed.expires,
    };
    let given = Contribution::open(&question.recipient, &binding, &sealed.sealed).expect("opens");
    let point_head = [0x58, 0x20];
    let place = |bytes: &[u8]| bytes.windows(2).position(|pair| pair == point_head).expect("a point") + 2;
    let (from, to) = (place(&world.capsule), place(given.partial()));
    let mut altered = given.partial().to_vec();
    altered[to..to + 32].copy_from_slice(&world.capsule[from..from + 32]);
    let recipient = SealingPublic::from_bytes(question.request().recipient).expect("a key");
    sealed.sealed = match signs {
        true => {
            let capsule = Capsule::<Ristretto>::from_bytes(&world.capsule).expect("a capsule");
            let capsule = capsule.verify(&world.label.bytes(), std::slice::from_ref(&world.public)).expect("verified");
            let (head, signer) = (capsule.head().to_bytes(), identity(100 + share as u8));
            Contribution::seal(&recipient, &binding, &head, &altered, &signer, &mut rng(5))
        }
        false => {
            let unsigned = [&[0; 64][..], &altered].concat();
            sealing::seal_to(&recipient, &binding.bytes(), b"", &unsigned, &mut rng(5))
        }
    };
    sealed
}

#[test]
fn the_answer_to_another_request_does_not_open() {
    let world = World::new(mesh());
    let (asked, other) = (question(), Question::new(&wanted(mesh()), &identity(5), NOW, &mut rng(4)));
    let partials = [0, 1, 2].map(|share| world.partial(share, other.request())).to_vec();
    let error = asked.open(&world.answer(partials), None, NOW).expect_err("a refusal");
    let QuorumError::Combine { warnings, .. } = error else { panic!("{error}") };
    assert!(warnings.len() == 3 && warnings.iter().all(|warning| warning.fault == Fault::NotForUs));
}

#[test]
fn a_capsule_for_another_key_mesh_or_root_is_refused() {
    let (world, question) = (World::new(mesh()), question());
    let partials: Vec<_> = [0, 1, 2].map(|share| world.partial(share, question.request())).to_vec();
    let mut answer = world.answer(partials.clone());
    answer.keyring = KeyringId::from_bytes([8; 32]);
    assert!(matches!(question.open(&answer, None, NOW), Err(QuorumError::Capsule(CapsuleError::ProofRefused))));
    let mut answer = world.answer(partials.clone());
    answer.key = KeyId::from_bytes([8; 32]);
    assert!(matches!(question.open(&answer, None, NOW), Err(QuorumError::Other { .. })));
    let mut answer = world.answer(partials.clone());
    answer.committees = vec![generate(3, 5, 20)[0].public.to_bytes()];
    assert!(matches!(question.open(&answer, None, NOW), Err(QuorumError::Capsule(_))));
    let pin = RootPin::of(std::slice::from_ref(&world.public));
    assert!(
        matches!(question.open(&answer, Some(pin), NOW), Err(QuorumError::RootChanged { expected, .. }) if expected == pin)
    );
    for committees in [vec![], vec![vec![1, 2, 3]], vec![world.public.to_bytes(); 9]] {
        let mut answer = world.answer(partials.clone());
        answer.committees = committees;
        assert!(matches!(question.open(&answer, None, NOW), Err(QuorumError::Malformed { part: "committees", .. })));
    }
    let elsewhere = Question::new(&wanted(MeshId::from_bytes([2; 32])), &identity(5), NOW, &mut rng(3));
    assert!(matches!(elsewhere.open(&world.answer(partials), None, NOW), Err(QuorumError::Capsule(_))));
}

#[test]
fn a_pin_reads_back_from_its_text() {
    let pin = RootPin([0xab; 32]);
    assert_eq!(pin.to_string().parse(), Ok(pin));
    assert_eq!("AB".repeat(32).parse::<RootPin>(), Err(RootPinError));
    assert_eq!(serde_json::to_string(&pin).expect("JSON"), format!("\"{pin}\""));
}

#[test]
fn the_node_is_shown_what_a_lying_custodian_signed_and_the_key_comes_all_the_same() {
    let (mesh, statements) = fake::mesh(&[(&identity(1), "aws/a")]);
    let world = Arc::new(World::new(mesh));
    let shown = Arc::new(std::sync::Mutex::new(Vec::new()));
    let (served, seen) = (world.clone(), shown.clone());
    let question = Arc::new(Question::new(&wanted(mesh), &identity(5), NOW, &mut rng(3)));
    let asked = question.clone();
    let node = FakeNode::start(&identity(1), move |talk, call, body| match call {
        "POST /v1/accusations" => {
            let accuse: Accuse = serde_json::from_slice(body).expect("an accusation");
            let accusation: CustodianAccusation = codec::decode(&accuse.accusation, 8192).expect("one");
            let custodian = accusation.claim().expect("signed").binding.custodian;
            seen.lock().expect("no panic").push(custodian);
            Reply::ok(&Accused { custodian, statement: keymesh_wire::ids::StatementId::from_bytes([9; 32]) })
        }
        _ => talk.honest(call, body, &statements),
    });
    let mut partials = [1, 2, 3].map(|share| served.partial(share, asked.request())).to_vec();
    partials.insert(0, swap_value(&served, &asked, 0, true));
    let got = question.open(&served.answer(partials), None, NOW).expect("a key");
    let client = Client::connect(node.address, &Trust::Mesh(mesh), Duration::from_secs(5)).expect("connected");
    let told = keys::tell_on(client, &identity(5), tenant(), &got.warnings);
    assert_eq!(*shown.lock().expect("no panic"), [identity(100).principal()]);
    assert!(told.len() == 1 && told[0].contains("is accused before everybody"), "{told:?}");
}

#[test]
fn the_nearest_node_collects_and_the_agent_opens() {
    let (mesh, statements) = fake::mesh(&[(&identity(1), "aws/a")]);
    let world = Arc::new(World::new(mesh));
    let served = world.clone();
    let node = FakeNode::start(&identity(1), move |talk, call, body| match call {
        "POST /v1/quorum-release" => {
            let asked: QuorumRelease = serde_json::from_slice(body).expect("a request");
            let request = Verified::<QuorumRequest>::from_bytes(&asked.request).expect("signed");
            let partials = [0, 2, 4].map(|share| served.partial(share, &request)).to_vec();
            Reply::ok(&served.answer(partials))
        }
        _ => talk.honest(call, body, &statements),
    });
    let fleet = Fleet {
        candidates: vec![Candidate { address: node.address, zone: None }],
        trust: Trust::Mesh(mesh),
        zone: None,
        times: Times { total: Duration::from_secs(10), ..Times::default() },
    };
    let agent = Arc::new(identity(5));
    let got = keys::get(&fleet, &agent, &wanted(mesh), Class::Quorum).expect("a key");
    assert_eq!(got.key.expose_secret(), [42; 64]);
    let pin = got.root.expect("a root");
    let pinned = Wanted { root: Some(pin), ..wanted(mesh) };
    assert!(keys::get(&fleet, &agent, &pinned, Class::Quorum).is_ok());
    let wrong = Wanted { root: Some(RootPin([0; 32])), ..wanted(mesh) };
    let error = keys::get(&fleet, &agent, &wrong, Class::Quorum).expect_err("a refusal").to_string();
    assert!(error.contains("pinned is 000000"), "{error}");
}

/// An agent whose node answers with partials of `shares` and, under the name of `liar`, one that does not hold, as long as
/// it may ask that one. Returns what came of it, and how often the node was asked.
fn ask_beside_a_liar(liar: usize, obeys: bool, shares: &'static [usize]) -> (Result<QuorumKey, QuorumError>, usize) {
    let (mesh, _) = fake::mesh(&[(&identity(1), "aws/a")]);
    let world = Arc::new(World::new(mesh));
    let (served, asked) = (world.clone(), Arc::new(AtomicUsize::new(0)));
    let count = asked.clone();
    let question = Question::new(&wanted(mesh), &identity(5), NOW, &mut rng(3));
    let bad = swap_value(&world, &question, liar, true);
    let node = FakeNode::start(&identity(1), move |_, _, body| {
        count.fetch_add(1, Ordering::Relaxed);
        let asked: QuorumRelease = serde_json::from_slice(body).expect("a request");
        let request = Verified::<QuorumRequest>::from_bytes(&asked.request).expect("signed");
        let mut partials: Vec<_> = shares.iter().map(|share| served.partial(*share, &request)).collect();
        if !obeys || !asked.without.contains(&bad.custodian) {
            partials.truncate(2);
            partials.push(bad.clone());
        }
        Reply::ok(&served.answer(partials))
    });
    let trust = Trust::Pinned(identity(1).principal());
    let mut client = Client::connect(node.address, &trust, Duration::from_secs(5)).expect("a connection");
    (question.ask(&mut client, None, || NOW), asked.load(Ordering::Relaxed))
}

#[test]
fn a_node_is_asked_again_without_the_custodian_whose_partial_does_not_hold() {
    let (got, asked) = ask_beside_a_liar(0, true, &[1, 2, 3]);
    let got = got.expect("a key");
    assert_eq!((got.key.expose_secret(), asked), (&[42; 64][..], 2));
    let named: Vec<_> = got.warnings.iter().map(|warning| warning.custodian).collect();
    assert_eq!(named, [identity(100).principal()]);
}

#[test]
fn a_node_that_goes_on_sending_what_does_not_hold_is_not_asked_without_end() {
    let (got, asked) = ask_beside_a_liar(0, false, &[1, 2, 3]);
    let error = got.expect_err("no key");
    assert!(matches!(&error, QuorumError::Combine { warnings, .. } if warnings.len() == 2), "{error}");
    assert_eq!(asked, 2);
}
