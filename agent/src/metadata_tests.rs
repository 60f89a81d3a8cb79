use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::thread;

use super::*;

/// A metadata service that wants a token and then answers `zone`.
fn service(zone: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address");
    thread::spawn(move || {
        for mut socket in listener.incoming().flatten() {
            let mut bytes = [0; 2048];
            let count = socket.read(&mut bytes).expect("a request");
            let text = String::from_utf8_lossy(&bytes[..count]).into_owned();
            let (status, body) = if text.starts_with("PUT /latest/api/token HTTP/1.1\r\n") {
                assert!(text.contains("X-aws-ec2-metadata-token-ttl-seconds: 60\r\n"), "{text}");
                (200, "tok==")
            } else if !text.contains("X-aws-ec2-metadata-token: tok==\r\n") {
                (401, "")
            } else if text.starts_with("GET /latest/dynamic/instance-identity/rsa2048 ") {
                (200, "MIAG\nAAAA")
            } else if text.starts_with("GET /latest/meta-data/placement/availability-zone ") {
                (200, zone)
            } else {
                (404, "")
            };
            let answer = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            socket.write_all(answer.as_bytes()).expect("answered");
        }
    });
    address
}

#[test]
fn document_and_zone_come_with_a_token() {
    let metadata = Metadata::connect(service("eu-west-1a"), Duration::from_secs(5)).expect("a token");
    assert_eq!(metadata.identity_document().expect("a document"), b"MIAG\nAAAA");
    assert_eq!(metadata.zone().expect("a zone"), "aws/eu-west-1a");
}

#[test]
fn a_service_that_does_not_know_the_token_is_named_with_its_status() {
    let mut metadata = Metadata::connect(service("eu-west-1a"), Duration::from_secs(5)).expect("a token");
    metadata.token = "other".into();
    let error = metadata.zone().expect_err("a refusal").to_string();
    assert!(error.ends_with("answers 401 when asked for zone"), "{error}");
}

#[test]
fn a_zone_that_is_none_is_refused() {
    let metadata = Metadata::connect(service("eu west"), Duration::from_secs(5)).expect("a token");
    assert!(matches!(metadata.zone(), Err(MetadataError::Form { what: "zone", .. })));
}

#[test]
fn nobody_there_is_said_with_what_to_do() {
    let free = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("its address");
    let error = Metadata::connect(free, Duration::from_secs(5)).expect_err("nobody").to_string();
    assert!(error.contains(&free.to_string()) && error.contains("--metadata"), "{error}");
}
