//! The emulator over real HTTP, judged by the code that will judge real evidence.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use keymesh_mesh::evidence::{Evidence, EvidenceError, EvidenceRoots, PinnedCertificate};

use super::*;

fn spec() -> InstanceSpec {
    InstanceSpec {
        account: "111122223333".into(),
        region: "eu-west-1".into(),
        zone: "eu-west-1a".into(),
        instance: "i-0123456789abcdef0".into(),
        image: "ami-0a1b2c3d4e5f60718".into(),
        instance_type: "m7g.large".into(),
        pending: Wall(1_772_366_400_000),
    }
}

fn start(signer: &Signer) -> Running {
    serve(spec(), signer, "127.0.0.1:0".parse().unwrap()).unwrap()
}

/// Status and body of one request on a connection of its own.
fn request(service: &Running, method: &str, path: &str, headers: &[(&str, &str)]) -> (u16, String) {
    let mut stream = TcpStream::connect(service.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let head = format!("{method} {path} HTTP/1.1\r\nHost: metadata\r\nConnection: close\r\n{headers}\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head[9..12].parse().unwrap(), body.into())
}

fn token(service: &Running, ttl: &str) -> String {
    let (status, token) = request(service, "PUT", TOKEN_PATH, &[("X-aws-ec2-metadata-token-ttl-seconds", ttl)]);
    assert_eq!(status, 200);
    token
}

fn get(service: &Running, token: &str, path: &str) -> (u16, String) {
    request(service, "GET", path, &[("X-aws-ec2-metadata-token", token)])
}

#[test]
fn what_the_emulator_serves_is_evidence_to_whoever_pinned_its_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let signer = make_signer(dir.path()).unwrap();
    let service = start(&signer);
    let token = token(&service, "60");

    let (status, served) = get(&service, &token, "/latest/dynamic/instance-identity/rsa2048");
    assert_eq!(status, 200);
    let evidence = Evidence::AwsIid { pkcs7: served.into_bytes() };
    let pinned = std::fs::read_to_string(dir.path().join(CERTIFICATE_FILE)).unwrap();
    let roots = EvidenceRoots { aws_iid: vec![PinnedCertificate::from_pem(&pinned).unwrap()] };
    let facts = evidence.verify(&roots).unwrap();
    assert_eq!(facts.instance, "aws:111122223333:i-0123456789abcdef0");
    assert_eq!(facts.zone, "aws/eu-west-1a");
    assert_eq!(facts.pending, spec().pending);

    let stranger = make_signer(tempfile::tempdir().unwrap().path()).unwrap();
    let roots = EvidenceRoots { aws_iid: vec![stranger.certificate().clone()] };
    assert!(matches!(evidence.verify(&roots), Err(EvidenceError::UnknownSigner { .. })));
}

#[test]
fn the_signer_on_disk_is_the_same_signer_and_its_key_is_private() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let made = make_signer(dir.path()).unwrap();
    let path = dir.path().join(SIGNER_FILE);
    let loaded = Signer::load(&path).unwrap();
    assert_eq!(loaded.certificate(), made.certificate());
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let text = sign_document(&loaded, &spec().document()).unwrap();
    keymesh_mesh::evidence::verify(text.as_bytes(), &[made.certificate().clone()]).unwrap();

    let certificate_alone = Signer::load(&dir.path().join(CERTIFICATE_FILE));
    assert!(matches!(certificate_alone, Err(SignerError::Pem { label: "PRIVATE KEY" })));
}

#[test]
fn nothing_is_told_without_a_living_session_token() {
    let signer = make_signer(tempfile::tempdir().unwrap().path()).unwrap();
    let service = start(&signer);
    for path in ["/latest/dynamic/instance-identity/rsa2048", "/latest/meta-data/instance-id", "/latest/nowhere"] {
        assert_eq!(request(&service, "GET", path, &[]), (401, String::new()));
        assert_eq!(get(&service, "wrong", path).0, 401);
    }

    let short = token(&service, "1");
    let long = token(&service, "21600");
    let deadline = Instant::now() + Duration::from_secs(10);
    while get(&service, &short, "/latest/meta-data/instance-id").0 != 401 {
        assert!(Instant::now() < deadline, "a token of one second still works");
        std::thread::sleep(Duration::from_millis(100));
    }
    for (path, body) in [
        ("/latest/meta-data/instance-id", "i-0123456789abcdef0"),
        ("/latest/meta-data/placement/availability-zone", "eu-west-1a"),
        ("/latest/dynamic/instance-identity/document", &spec().document()),
    ] {
        assert_eq!(get(&service, &long, path), (200, body.into()));
    }
    assert_eq!(get(&service, &long, "/latest/dynamic/instance-identity/pkcs7").0, 404);
}

#[test]
fn tokens_are_refused_to_proxies_and_to_careless_requests() {
    let signer = make_signer(tempfile::tempdir().unwrap().path()).unwrap();
    let service = start(&signer);
    let ttl = "X-aws-ec2-metadata-token-ttl-seconds";
    let put = |headers: &[(&str, &str)]| request(&service, "PUT", TOKEN_PATH, headers).0;
    assert_eq!(put(&[(ttl, "60"), ("X-Forwarded-For", "10.0.0.1")]), 403);
    for headers in [&[][..], &[(ttl, "0")], &[(ttl, "21601")], &[(ttl, "soon")], &[(ttl, "-1")]] {
        assert_eq!(put(headers), 400, "{headers:?}");
    }
    assert_eq!(request(&service, "POST", TOKEN_PATH, &[(ttl, "60")]).0, 405);
}

#[test]
fn a_dropped_emulator_stops_listening() {
    let signer = make_signer(tempfile::tempdir().unwrap().path()).unwrap();
    let service = start(&signer);
    let address = service.address();
    let idle = TcpStream::connect(address).unwrap();
    drop(service);
    TcpStream::connect(address).unwrap_err();
    drop(idle);
}
