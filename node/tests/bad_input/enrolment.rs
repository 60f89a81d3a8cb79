//! Identity documents and launch tickets that are not what they seem, before three real custodians. Documents are signed
//! as AWS signs them, by the emulated metadata service's own signer. The agent learns a code; the operator finds in the
//! audit log of each custodian what exactly was wrong; the instance can still enrol with what is right.

use data_encoding::BASE64;
use keymesh_agent::enrol::Evidence;
use keymesh_testnet::metadata::{InstanceSpec, Signer, make_signer, sign_document, wall_now};
use keymesh_wire::api::{AuditPage, Enrol, Enrolled};
use keymesh_wire::audit::{AuditKind, Outcome};
use keymesh_wire::body::{Body, EvidenceKind, EvidenceRoot};
use keymesh_wire::envelope::Verified;
use keymesh_wire::error::Code;
use keymesh_wire::ids::{Nonce, RequestId, TenantId};
use keymesh_wire::request::EnrolmentRequest;
use keymesh_wire::sign::Identity;
use keymesh_wire::suite::Suite;
use keymesh_wire::ticket::{Ticket, Voucher};
use keymesh_wire::time::{Millis, Wall};

use crate::door_support::raw::{Raw, Said};
use crate::door_support::{admin, connect, eventually, identity, rng};
use crate::support::{Acme, Mesh};

/// The registered launcher.
fn launcher() -> Identity {
    identity(202)
}

struct Cloud {
    mesh: Mesh,
    acme: Acme,
    aws: Signer,
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    rand_core::Rng::fill_bytes(&mut rng(), &mut bytes);
    bytes
}

fn instance(id: &str) -> InstanceSpec {
    InstanceSpec {
        account: "123456789012".into(),
        region: "eu-west-1".into(),
        zone: "eu-west-1a".into(),
        instance: id.into(),
        image: "ami-0a1b2c3d4e5f60718".into(),
        instance_type: "m7g.large".into(),
        pending: wall_now(),
    }
}

fn ago(seconds: u64) -> Wall {
    Wall(wall_now().0 - seconds * 1000)
}

/// The name of an instance as evidence gives it.
fn named(id: &str) -> String {
    format!("aws:123456789012:{id}")
}

impl Cloud {
    fn begin() -> Self {
        let mesh = Mesh::of(3);
        let mut acme = Acme::begin(&mesh);
        let aws = make_signer(mesh.world.dir.path()).expect("a signer");
        let certificate = aws.certificate().der().to_vec();
        let root = EvidenceRoot { kind: EvidenceKind::AwsInstanceIdentity, certificate };
        acme.tenant.say(&Body::TrustEvidence(root), &admin(), vec![]);
        mesh.until_equal(&[0, 1, 2], 2);
        Self { mesh, acme, aws }
    }

    fn document(&self, spec: &InstanceSpec) -> Vec<u8> {
        sign_document(&self.aws, &spec.document()).expect("signed").into_bytes()
    }

    /// A ticket for one instance and one agent, good for ten minutes.
    fn ticket(&self, id: &str, agent: &Identity) -> Ticket {
        Ticket {
            suite: Suite::V1,
            tenant: self.acme.tenant.id,
            launcher: launcher().principal(),
            nonce: Nonce::from_bytes(random()),
            instance: Some(named(id)),
            agent: Some(agent.principal()),
            issued: ago(1),
            expires: wall_now().plus(Millis::seconds(600)),
        }
    }

    fn request(&self, document: &[u8], ticket: &Ticket, by: &Identity, agent: &Identity) -> Verified<EnrolmentRequest> {
        let request = EnrolmentRequest {
            suite: Suite::V1,
            tenant: self.acme.tenant.id,
            request: RequestId::from_bytes(random()),
            agent: agent.principal(),
            issued: wall_now(),
            evidence: Evidence::AwsIid { pkcs7: document.to_vec() }.bytes(),
            ticket: Verified::sign(ticket.clone(), by).bytes().to_vec(),
            voucher: None,
        };
        Verified::sign(request, agent)
    }

    /// Sends an enrolment to the first node.
    fn post(&self, envelope: &[u8]) -> Said {
        Raw::connect(self.mesh.world.door(0)).post_json("/v1/enrol", &Enrol { request: envelope.to_vec() })
    }

    /// Sends an enrolment that must be refused with `code`; every custodian's audit log must hold `reason` for it, and the
    /// answer nothing of it.
    fn refused(&self, request: &Verified<EnrolmentRequest>, code: Code, reason: &str) {
        let said = self.post(request.bytes());
        assert_eq!((said.status, said.error().code), (code.status(), code), "{reason}: {said:?}");
        assert!(!said.error().message.contains(reason), "the caller learns too much: {}", said.error().message);
        for place in 0..3 {
            let found = eventually("the custodian's record", || {
                let client = connect(self.mesh.world.door(place), &self.mesh.trust(place));
                let mut session = client.open_session(&admin(), self.acme.tenant.id).expect("a session");
                let page: AuditPage = session.get_json("/v1/audit").expect("the admin may read");
                assert!(page.verified);
                page.records.into_iter().map(|entry| entry.record).find(|record| record.request == request.request)
            });
            assert_eq!((found.kind, found.outcome), (AuditKind::Enrolment, Outcome::Refused));
            let recorded = found.reason.unwrap_or_default();
            assert!(recorded.contains(reason), "node {place} recorded `{recorded}`, not `{reason}`");
        }
    }

    /// Sends an enrolment that must succeed.
    fn enrolled(&self, request: &Verified<EnrolmentRequest>) -> Enrolled {
        let said = self.post(request.bytes());
        assert_eq!(said.status, 200, "{said:?}");
        serde_json::from_slice(&said.body).expect("facts")
    }
}

#[test]
fn documents_and_tickets_that_do_not_hold_are_refused_and_the_reason_is_for_operators_alone() {
    let mut cloud = Cloud::begin();
    let (web, agent) = ("i-0aaaaaaaaaaaaaaa1", identity(110));
    let spec = instance(web);
    let (good, ticket) = (cloud.document(&spec), cloud.ticket(web, &agent));
    let by = launcher();

    // Documents.
    let stranger = make_signer(tempfile::tempdir().expect("a folder").path()).expect("another signer");
    let forged = sign_document(&stranger, &spec.document()).expect("signed").into_bytes();
    let request = cloud.request(&forged, &ticket, &by, &agent);
    cloud.refused(&request, Code::EvidenceInvalid, "evidence: ");
    let mut der =
        BASE64.decode(&good.iter().copied().filter(|byte| *byte != b'\n').collect::<Vec<_>>()).expect("base64");
    let at = der.windows(10).position(|window| window == b"eu-west-1a").expect("the zone is in it");
    der[at + 9] = b'b';
    let altered = BASE64.encode(&der).into_bytes();
    cloud.refused(&cloud.request(&altered, &ticket, &by, &agent), Code::EvidenceInvalid, "evidence: ");
    cloud.refused(&cloud.request(&good[..good.len() / 2], &ticket, &by, &agent), Code::EvidenceInvalid, "evidence: ");
    cloud.refused(&cloud.request(b"", &ticket, &by, &agent), Code::EvidenceInvalid, "evidence: ");
    let mut old = instance(web);
    old.pending = ago(3600);
    let old = cloud.document(&old);
    cloud.refused(&cloud.request(&old, &ticket, &by, &agent), Code::EvidenceInvalid, "before its ticket was issued");
    let mut late = instance(web);
    late.pending = wall_now().plus(Millis::seconds(3600));
    let late = cloud.document(&late);
    cloud.refused(&cloud.request(&late, &ticket, &by, &agent), Code::EvidenceInvalid, "after its ticket expired");

    // Tickets.
    let elsewhere = Ticket { tenant: TenantId::from_bytes([9; 32]), ..ticket.clone() };
    cloud.refused(&cloud.request(&good, &elsewhere, &by, &agent), Code::TicketInvalid, "the ticket is for tenant");
    let unknown = identity(111);
    let unregistered = Ticket { launcher: unknown.principal(), ..ticket.clone() };
    let request = cloud.request(&good, &unregistered, &unknown, &agent);
    cloud.refused(&request, Code::TicketInvalid, "is not a registered launcher");
    let expired = Ticket { issued: ago(700), expires: ago(60), ..ticket.clone() };
    let mut earlier = instance(web);
    earlier.pending = ago(650);
    let earlier = cloud.document(&earlier);
    cloud.refused(&cloud.request(&earlier, &expired, &by, &agent), Code::TicketInvalid, "the ticket has expired");
    let other = Ticket { instance: Some(named("i-0bbbbbbbbbbbbbbb2")), ..ticket.clone() };
    cloud.refused(&cloud.request(&good, &other, &by, &agent), Code::TicketInvalid, "the ticket is for instance");
    let open = Ticket { instance: None, agent: None, ..ticket.clone() };
    cloud.refused(&cloud.request(&good, &open, &by, &agent), Code::TicketInvalid, "the ticket names no key");
    // Signed by somebody else than it names.
    let mut request = cloud.request(&good, &ticket, &by, &agent).into_payload();
    request.ticket[40] ^= 1;
    cloud.refused(&Verified::sign(request, &agent), Code::TicketInvalid, "ticket: ");
    // Somebody else's ticket: whoever reads document and ticket on their way has not the agent's key.
    let thief = identity(112);
    cloud.refused(&cloud.request(&good, &ticket, &by, &thief), Code::TicketInvalid, "the ticket is for agent");
    let mut stolen = cloud.request(&good, &ticket, &by, &agent).bytes().to_vec();
    *stolen.last_mut().expect("bytes") ^= 1;
    let said = cloud.post(&stolen);
    assert_eq!((said.status, said.error().code), (400, Code::Malformed), "a request of another's signature: {said:?}");

    // A ticket with a one-time key: what its agent showed is worth nothing with the key of whoever carried it.
    let bearer = identity(113);
    let carried = Ticket { agent: Some(bearer.principal()), ..ticket.clone() };
    let voucher = Voucher {
        suite: Suite::V1,
        bearer: bearer.principal(),
        tenant: carried.tenant,
        ticket: carried.nonce,
        agent: agent.principal(),
    };
    let mut request = cloud.request(&good, &carried, &by, &thief).into_payload();
    request.voucher = Some(Verified::sign(voucher, &bearer).bytes().to_vec());
    cloud.refused(&Verified::sign(request, &thief), Code::TicketInvalid, "the voucher is for another ticket");

    // A request that is too old.
    let mut aged = cloud.request(&good, &ticket, &by, &agent).into_payload();
    aged.issued = ago(600);
    cloud.refused(&Verified::sign(aged, &agent), Code::ClockDifference, "the clocks differ by");

    // Nothing of all this used the ticket up, or bound anybody.
    let state = cloud.acme.tenant.read();
    assert!(state.enrolments.is_empty() && state.tickets.is_empty(), "{:?}", state.enrolments);
    let enrolled = cloud.enrolled(&cloud.request(&good, &ticket, &by, &agent));
    assert_eq!(enrolled.facts.instance, named(web));
    assert_eq!(enrolled.facts.launched_by, "deploy");
    assert!(enrolled.votes >= 2);
}

#[test]
fn what_was_used_once_is_worth_nothing_to_anybody_else() {
    let mut cloud = Cloud::begin();
    let (web, agent, by) = ("i-0aaaaaaaaaaaaaaa1", identity(110), launcher());
    // Not bound to an instance, so that nothing but its use stands in the way.
    let ticket = Ticket { instance: None, ..cloud.ticket(web, &agent) };
    let document = cloud.document(&instance(web));
    let first = cloud.request(&document, &ticket, &by, &agent);
    let facts = cloud.enrolled(&first).facts;

    // The very same request again, and a new one of the same agent, are retries and reboots.
    assert_eq!(cloud.enrolled(&first).facts, facts);
    assert_eq!(cloud.enrolled(&cloud.request(&document, &ticket, &by, &agent)).facts, facts);
    cloud.mesh.until_equal(&[0, 1, 2], 2);

    // The document with another agent's key, even with a fresh ticket of the launcher's own: an alarm, and the first stays.
    let thief = identity(112);
    let fresh = cloud.ticket(web, &thief);
    cloud.refused(
        &cloud.request(&document, &fresh, &by, &thief),
        Code::AlreadyBound,
        "alarm: the instance is bound to",
    );

    // The ticket with another instance.
    let second = cloud.document(&instance("i-0bbbbbbbbbbbbbbb2"));
    let request = cloud.request(&second, &ticket, &by, &agent);
    cloud.refused(&request, Code::AlreadyBound, "alarm: the agent's key");
    let shared = Ticket { instance: None, agent: None, ..ticket.clone() };
    let request = cloud.request(&second, &shared, &by, &thief);
    cloud.refused(&request, Code::TicketInvalid, "the ticket names no key");
    let named_again = Ticket { instance: Some(named("i-0bbbbbbbbbbbbbbb2")), agent: Some(thief.principal()), ..ticket };
    let request = cloud.request(&second, &named_again, &by, &thief);
    cloud.refused(&request, Code::TicketInvalid, "the ticket was used by another instance");

    let state = cloud.acme.tenant.read();
    assert_eq!(state.enrolments.len(), 1);
    let holder = state.enrolments[&named(web)].holder().expect("bound").agent;
    assert_eq!(holder, agent.principal());
    assert!(cloud.acme.release(&cloud.mesh, 1, &thief).is_err());
}

#[test]
fn one_agents_key_on_a_second_instance_is_not_taken_for_the_first() {
    let mut cloud = Cloud::begin();
    let (agent, by) = (identity(110), launcher());
    let (one, two) = ("i-0aaaaaaaaaaaaaaa1", "i-0bbbbbbbbbbbbbbb2");
    let document = cloud.document(&instance(one));
    cloud.enrolled(&cloud.request(&document, &cloud.ticket(one, &agent), &by, &agent));
    cloud.mesh.until_equal(&[0, 1, 2], 2);
    let document = cloud.document(&instance(two));
    let request = cloud.request(&document, &cloud.ticket(two, &agent), &by, &agent);
    cloud.refused(&request, Code::AlreadyBound, "alarm: the agent's key");
    let state = cloud.acme.tenant.read();
    assert_eq!(state.enrolments.keys().collect::<Vec<_>>(), [&named(one)]);
}
