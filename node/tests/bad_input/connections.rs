//! Connections at the door that waste time and room: each is bounded in bytes and time and costs nobody else anything.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use keymesh_wire::error::Code;
use keymesh_wire::time::Millis;

use crate::door_support::raw::Raw;
use crate::support::Mesh;

/// One node that is short of patience and of connections.
fn node() -> Mesh {
    let mut mesh = Mesh::at_rest(1);
    mesh.world.places[0].config.limits.idle = Millis(1500);
    mesh.world.places[0].config.limits.connections = 16;
    mesh.start(0);
    mesh.admit(&[0]);
    mesh
}

/// How long until the other end closes.
fn closed_after(raw: &mut Raw, mut meanwhile: impl FnMut(&mut Raw) -> bool) -> Duration {
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(30) {
        if !meanwhile(raw) || raw.is_closed() {
            return started.elapsed();
        }
    }
    panic!("the connection is still open");
}

#[test]
fn a_connection_that_says_nothing_or_drips_a_head_is_closed_after_the_idle_time() {
    let mesh = node();
    let mut silent = Raw::connect(mesh.world.door(0));
    let took = closed_after(&mut silent, |_| true);
    assert!((1000..6000).contains(&took.as_millis()), "{took:?}");
    let mut dripping = Raw::connect(mesh.world.door(0));
    dripping.send(b"GET /healthz HTTP/1.1\r\n");
    let took = closed_after(&mut dripping, |raw| raw.try_send(b"x"));
    assert!((1000..6000).contains(&took.as_millis()), "a byte now and then buys no time: {took:?}");
    // Between two requests, too.
    let mut idle = Raw::connect(mesh.world.door(0));
    assert_eq!(idle.get("/healthz").status, 200);
    let took = closed_after(&mut idle, |_| true);
    assert!((1000..6000).contains(&took.as_millis()), "{took:?}");
    assert_eq!(mesh.health(0), 200);
}

/// Whether the other end keeps this connection, on which it must say nothing.
fn is_open(silent: &mut TcpStream) -> bool {
    match silent.read(&mut [0; 16]) {
        Ok(said) => {
            assert_eq!(said, 0, "a word to somebody who has said nothing");
            false
        }
        Err(error) => error.kind() == ErrorKind::WouldBlock,
    }
}

#[test]
fn a_handshake_that_does_not_come_is_not_waited_for_and_room_for_others_comes_back() {
    let mesh = node();
    let door = mesh.world.door(0);
    // Four more than there is room for, and a few the test has used before may still count.
    let mut open: Vec<TcpStream> = (0..20).map(|_| TcpStream::connect(door).expect("a connection")).collect();
    for silent in &open {
        silent.set_nonblocking(true).expect("not blocking");
    }
    let started = Instant::now();
    let mut left_by_the_first = None;
    while !open.is_empty() {
        assert!(started.elapsed() < Duration::from_secs(30), "{} connections are still open", open.len());
        let before = open.len();
        open.retain_mut(is_open);
        if open.len() < before {
            left_by_the_first.get_or_insert(open.len());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    // Those that are too many are closed at once, without a word, and the others when no handshake came.
    assert!(left_by_the_first.is_some_and(|left| left > 0), "nobody was turned away before the others' time was over");
    assert_eq!(mesh.health(0), 200);
}

#[test]
fn heads_with_too_many_or_too_long_fields_are_refused() {
    let mesh = node();
    let many: String = (0..200).map(|number| format!("X-{number}: y\r\n")).collect();
    let long = format!("X-Long: {}\r\n", "y".repeat(64 * 1024));
    for fields in [many, long] {
        let mut raw = Raw::connect(mesh.world.door(0));
        // The other end may close before everything is written.
        raw.try_send(format!("GET /healthz HTTP/1.1\r\nHost: node\r\n{fields}\r\n").as_bytes());
        assert_eq!(raw.read().status, 431);
    }
    let mut endless = Raw::connect(mesh.world.door(0));
    endless.try_send(b"GET /healthz HTTP/1.1\r\nX-Endless: ");
    let mut sent = 0;
    while sent < 4 << 20 && endless.try_send(&[b'y'; 16 * 1024]) {
        sent += 16 * 1024;
    }
    assert!(sent < 4 << 20, "a head without an end was read on and on");
    assert_eq!(mesh.health(0), 200);
}

#[test]
fn a_body_that_does_not_come_is_answered_after_ten_seconds_and_a_large_one_is_not_read() {
    let mesh = node();
    let mut slow = Raw::connect(mesh.world.door(0));
    slow.send(b"POST /v1/statements HTTP/1.1\r\nHost: node\r\nContent-Length: 1000\r\n\r\n{\"statements\"");
    let mut large = Raw::connect(mesh.world.door(0));
    large.send(b"POST /v1/statements HTTP/1.1\r\nHost: node\r\nContent-Length: 10000000000\r\n\r\n");
    let mut sent = 0;
    while sent < 64 << 20 && large.try_send(&[b'y'; 64 * 1024]) {
        sent += 64 * 1024;
    }
    assert!(sent < 64 << 20, "ten gigabytes were read on and on");
    let said = slow.read();
    assert_eq!((said.status, said.error().code), (400, Code::Malformed));
    assert!(said.error().message.contains("did not arrive in time"), "{said:?}");
    assert_eq!(mesh.health(0), 200);
    let mut chunked = Raw::connect(mesh.world.door(0));
    chunked.send(b"POST /v1/statements HTTP/1.1\r\nHost: node\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n");
    assert_eq!(chunked.read().status, 400);
}

#[test]
fn noise_instead_of_tls_is_dropped() {
    let mesh = node();
    for noise in [&[0xff; 4096][..], b"GET / HTTP/1.1\r\n\r\n", &[0x16, 3, 1, 0xff, 0xff]] {
        let mut plain = TcpStream::connect(mesh.world.door(0)).expect("a connection");
        plain.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
        let _ = plain.write_all(noise);
        let mut said = Vec::new();
        let _ = plain.read_to_end(&mut said);
        assert!(said.len() < 64, "an alert at most: {said:?}");
    }
    assert_eq!(mesh.health(0), 200);
}
