//! To a caller without a right, a key that does not exist and one that is forbidden look the same: same status, same
//! bytes, same times. For both custody classes, for a stranger and for a bound instance in the wrong zone.

use std::time::{Duration, Instant};

use keymesh_wire::api::{QuorumRelease, Release};
use keymesh_wire::envelope::Verified;
use keymesh_wire::error::Code;
use keymesh_wire::ids::{KeyId, RequestId};
use keymesh_wire::request::{QuorumRequest, Receipt};
use keymesh_wire::sign::Identity;
use keymesh_wire::suite::Suite;

use crate::door_support::raw::{Raw, Said};
use crate::door_support::{identity, rng, wall};
use crate::support::{Acme, Mesh, session};

/// Requests of each kind in one measurement; a connection may be refused 256 times in a row.
const EACH: usize = 120;
/// How far medians of the two kinds may be apart. What is compared is dominated by a write to the disk, whose times
/// scatter; one measurement that is too far off is repeated.
const RATIO: f64 = 1.25;

fn ask(raw: &mut Raw, acme: &Acme, who: &Identity, key: KeyId, quorum: bool) -> Said {
    let mut id = [0; 16];
    rand_core::Rng::fill_bytes(&mut rng(), &mut id);
    let request = RequestId::from_bytes(id);
    if quorum {
        let request = QuorumRequest {
            suite: Suite::V1,
            tenant: acme.tenant.id,
            request,
            agent: who.principal(),
            issued: wall(),
            key,
            version: None,
            recipient: [9; 32],
            receipt: Receipt::default(),
        };
        let request = Verified::sign(request, who).bytes().to_vec();
        raw.post_json("/v1/quorum-release", &QuorumRelease { request, without: Vec::new() })
    } else {
        let (tenant, receipt) = (acme.tenant.id, Receipt::default());
        raw.post_json("/v1/release", &Release { tenant, key, version: None, request, receipt, trace: None })
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// Medians for an unknown and a forbidden key, asked in turns on one connection.
fn measure(mesh: &Mesh, acme: &Acme, who: &Identity, forbidden: KeyId, quorum: bool) -> (Duration, Duration) {
    let mut raw = session(mesh, 0, acme, who);
    let (mut unknown_times, mut forbidden_times) = (Vec::new(), Vec::new());
    let mut answer = None;
    for round in 0..2 * EACH {
        // A b b a a b b a …: neither kind always follows the other.
        let unknown = matches!(round % 4, 0 | 3);
        let key = if unknown { KeyId::from_bytes([round as u8 | 1; 32]) } else { forbidden };
        let started = Instant::now();
        let said = ask(&mut raw, acme, who, key, quorum);
        let took = started.elapsed();
        assert_eq!((said.status, said.error().code), (403, Code::Refused));
        assert_eq!(*answer.get_or_insert_with(|| said.bytes()), said.bytes());
        if unknown { &mut unknown_times } else { &mut forbidden_times }.push(took);
    }
    (median(unknown_times), median(forbidden_times))
}

#[test]
fn an_unknown_key_and_a_forbidden_one_look_the_same_and_take_the_same_time() {
    let mesh = Mesh::of(3);
    let mut acme = Acme::begin(&mesh);
    let (stranger, elsewhere) = (identity(150), identity(151));
    acme.tenant.bind(&mesh.world, &elsewhere, "aws:1:i-151", "aws/b");
    mesh.until_equal(&[0, 1, 2], 2);
    for (who, who_is) in [(&stranger, "a stranger"), (&elsewhere, "an instance in the wrong zone")] {
        for (forbidden, quorum) in [(acme.leased.key, false), (acme.blind.key, true)] {
            let kind = if quorum { "quorum" } else { "leased" };
            let mut seen = Vec::new();
            let alike = (0..5).any(|_| {
                let (unknown, forbidden) = measure(&mesh, &acme, who, forbidden, quorum);
                seen.push((unknown, forbidden));
                let ratio = unknown.as_secs_f64() / forbidden.as_secs_f64();
                (1.0 / RATIO..RATIO).contains(&ratio)
            });
            println!("{who_is}, {kind}: medians for an unknown and a forbidden key {seen:?}");
            assert!(alike, "{who_is} can tell an unknown {kind} key from a forbidden one: {seen:?}");
        }
    }
}
