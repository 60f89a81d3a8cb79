//! A node whose clock is ten minutes off: it gets no lease and releases nothing, says why, and the others serve on.

use std::fs;

use keymesh_wire::error::Code;

use crate::door_support::{connect, eventually};
use crate::support::{Acme, Mesh};

/// The node whose clock is wrong.
const OFF: usize = 3;

#[test]
fn a_node_whose_clock_is_ten_minutes_off_releases_nothing_says_why_and_the_others_serve_on() {
    let mut mesh = Mesh::of(4);
    let mut acme = Acme::begin(&mesh);
    let agent = acme.bind(&mesh, 100);
    mesh.until_equal(&[0, 1, 2, 3], 2);
    for (milliseconds, words) in [(600_000, "ahead"), (-600_000, "behind")] {
        mesh.stop(OFF);
        mesh.world.places[OFF].config.allow_faults = true;
        mesh.world.places[OFF].config.clock_offset_ms = milliseconds;
        mesh.spawn(OFF);
        // Its own word, in status and log; the peers name it, too.
        let warning = mesh.warning(OFF, "this node's clock is");
        assert!(warning.contains("no key is released"), "{words}: {warning}");
        assert!(mesh.log(OFF).contains("no key is released"), "{words}: {}", mesh.log(OFF));
        let reported = mesh.warning(0, "the clock of n3");
        assert!(reported.contains("differs from ours by"), "{words}: {reported}");
        eventually("an unhealthy node", || (mesh.health(OFF) == 503).then_some(()));
        let refused = acme.release(&mesh, OFF, &agent).expect_err("no release");
        assert!(refused.contains("releases no keys at the moment; ask another"), "{words}: {refused}");
        assert!(mesh.status(OFF).leases.is_empty(), "{words}: no lease");
        let asked = acme.question(&agent).send(&mut connect(mesh.world.door(OFF), &mesh.trust(OFF)));
        assert_eq!(asked.expect_err("no partials").code(), Some(Code::Unavailable));
        // The others are well, and statements still spread to and from the one that is off.
        for place in 0..3 {
            assert_eq!(mesh.health(place), 200);
            acme.released(&mesh, place, &agent);
        }
        acme.blind(&mesh, 0, &agent);
        mesh.until_equal(&[0, 1, 2, 3], 2);
    }
    // Set right, it serves again.
    mesh.stop(OFF);
    mesh.world.places[OFF].config.clock_offset_ms = 0;
    mesh.spawn(OFF);
    acme.released(&mesh, OFF, &agent);
    assert_eq!(mesh.health(OFF), 200);
    assert!(!fs::read_to_string(mesh.config_file(OFF)).expect("text").contains("600000"));
}
