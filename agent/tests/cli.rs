//! The program itself, as an operator runs it: real process, real TLS, real `cryptsetup`; only the node is a stand-in.

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use keymesh_agent::keyfile::{self, KeyKind};
use keymesh_agent::system;
use keymesh_wire::api::{Enrol, Enrolled};
use keymesh_wire::body::InstanceFacts;
use keymesh_wire::envelope::Verified;
use keymesh_wire::error::Code;
use keymesh_wire::ids::{KeyId, MeshId};
use keymesh_wire::request::EnrolmentRequest;
use keymesh_wire::ticket::TicketFile;
use keymesh_wire::time::Wall;
use serde_json::Value;

use fake::{FakeNode, Reply, identity, tenant};

#[path = "../src/fake.rs"]
mod fake;

struct Agent {
    folder: tempfile::TempDir,
    mesh: MeshId,
    nodes: Vec<String>,
}

impl Agent {
    fn new(mesh: MeshId, nodes: &[&FakeNode]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        keyfile::create(&folder.path().join("agent.key"), KeyKind::Agent, &identity(5)).expect("a key file");
        Self { folder, mesh, nodes: nodes.iter().map(|node| node.address.to_string()).collect() }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn configure(&self) -> String {
        let path = self.path("agent.toml");
        let text = format!(
            "version = 1\nmesh = \"{}\"\ntenant = \"{}\"\nnodes = {:?}\nidentity = {:?}\n",
            self.mesh,
            tenant(),
            self.nodes,
            self.path("agent.key")
        );
        std::fs::write(&path, text).expect("written");
        path
    }

    fn run(&self, words: &[&str]) -> Output {
        let config = self.configure();
        program().args(["--config", &config, "--wait", "2"]).args(words).output().expect("it runs")
    }

    /// Runs with `--json`; gives the exit status and what was printed.
    fn json(&self, words: &[&str]) -> (i32, Value) {
        let output = self.run(&[words, &["--json"]].concat());
        let printed = serde_json::from_slice(&output.stdout);
        (status(&output), printed.unwrap_or_else(|error| panic!("{error}: {output:?}")))
    }
}

fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_keymesh-agent"))
}

fn status(output: &Output) -> i32 {
    output.status.code().expect("an exit status")
}

fn key() -> String {
    KeyId::from_bytes([3; 32]).to_string()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_volume_is_made_shown_and_opened_through_the_nearest_node() {
    if !Path::new("/usr/sbin/cryptsetup").exists() {
        let _ = Command::new("apt-get").args(["install", "-y", "--no-install-recommends", "cryptsetup-bin"]).output();
    }
    let (mesh, statements) = fake::mesh(&[(&identity(1), "aws/a")]);
    let node = FakeNode::honest(&identity(1), &statements);
    let agent = Agent::new(mesh, &[&node]);
    let file = agent.path("data.img");

    let (code, made) = agent.json(&["volume", "format", "--file", &file, "--key", &key(), "--size", "32M"]);
    assert_eq!((code, &made["ok"]), (0, &true.into()), "cryptsetup-bin must be installed: {made}");
    assert_eq!(made["token"]["key_version"], made["key_version"]);

    let (code, shown) = agent.json(&["volume", "show", "--file", &file]);
    assert_eq!((code, &shown["token"]), (0, &made["token"]));

    let (code, opened) = agent.json(&["volume", "unlock", "--file", &file, "--test"]);
    assert_eq!((code, &opened["node"]), (0, &node.address.to_string().into()), "{opened}");
    let asked = node.bodies("POST /v1/release");
    assert!(String::from_utf8_lossy(&asked[1]).contains(made["key_version"].as_str().expect("a version")));

    let again = agent.run(&["volume", "format", "--file", &file, "--key", &key()]);
    assert_eq!(status(&again), 1, "{}", stderr(&again));
    assert!(stderr(&again).contains("is a LUKS volume already"));
    assert_eq!(node.bodies("POST /v1/release").len(), 2, "a mistake costs no release");

    // The token alone is enough: no configuration names mesh, tenant or nodes.
    let bare = program().args(["--config", "/dev/null"]).output().expect("it runs");
    assert_eq!(status(&bare), 2);
    let only = ["volume", "unlock", "--file", &file, "--test", "--identity", &agent.path("agent.key")];
    let alone = program().args(only).output().expect("it runs");
    assert_eq!(status(&alone), 0, "{}", stderr(&alone));
}

#[test]
fn a_refusal_an_empty_network_and_a_stranger_are_told_apart_by_status() {
    let (mesh, statements) = fake::mesh(&[(&identity(1), "aws/a")]);
    let shown = statements.clone();
    let refusing = FakeNode::start(&identity(1), move |talk, call, body| match call {
        "POST /v1/session" => Reply::error(Code::Refused),
        _ => talk.honest(call, body, &shown),
    });
    let file = ["key", "get", &key(), "--reveal"].map(str::to_owned);
    let words: Vec<&str> = file.iter().map(String::as_str).collect();
    let (code, refused) = Agent::new(mesh, &[&refusing]).json(&words);
    assert_eq!((code, &refused["code"]), (1, &"refused".into()), "{refused}");

    let stranger = FakeNode::honest(&identity(2), &statements);
    let (code, unknown) = Agent::new(mesh, &[&stranger]).json(&words);
    assert_eq!(code, 4, "{unknown}");
    assert!(unknown["error"].as_str().expect("a text").contains(&format!("{} is not a node of mesh_", stranger.node)));
    assert_eq!(stranger.calls(), ["GET /v1/membership"], "a stranger learns nothing");

    let broken = FakeNode::start(&identity(1), |_, _, _| Reply::Raw(b"hello".to_vec()));
    let silent = FakeNode::start(&identity(1), |_, _, _| Reply::Silence(Duration::from_secs(30)));
    let (code, nobody) = Agent::new(mesh, &[&broken, &silent]).json(&words);
    assert_eq!((code, &nobody["code"]), (4, &Value::Null), "{nobody}");
}

#[test]
fn a_key_goes_to_the_descriptor_and_nothing_else_does() {
    let (mesh, statements) = fake::mesh(&[(&identity(1), "aws/a")]);
    let node = FakeNode::honest(&identity(1), &statements);
    let agent = Agent::new(mesh, &[&node]);
    let script = r#"exec "$0" --config "$1" key get "$2" --out-fd 3 --json 3>&1 >/dev/null"#;
    let output = Command::new("sh")
        .args(["-c", script, env!("CARGO_BIN_EXE_keymesh-agent"), &agent.configure(), &key()])
        .output()
        .expect("it runs");
    assert_eq!((status(&output), &output.stdout[..]), (0, &[7; 32][..]), "{}", stderr(&output));

    let revealed = agent.run(&["key", "get", &key(), "--reveal"]);
    assert_eq!(String::from_utf8_lossy(&revealed.stdout).trim(), "07".repeat(32));
    let nowhere = agent.run(&["key", "get", &key()]);
    assert_eq!((status(&nowhere), nowhere.stdout.len()), (2, 0));
}

#[test]
fn an_instance_enrols_with_its_ticket_and_a_bad_ticket_is_said() {
    let (mesh, statements) = fake::mesh(&[(&identity(1), "aws/a")]);
    let node = FakeNode::start(&identity(1), move |talk, call, body| match call {
        "POST /v1/enrol" => {
            let enrol: Enrol = serde_json::from_slice(body).expect("JSON");
            let request = Verified::<EnrolmentRequest>::from_bytes(&enrol.request).expect("signed");
            if request.ticket != b"good" {
                return Reply::error(Code::TicketInvalid);
            }
            assert_eq!(request.evidence, [&[0x82, 0, 0x81, 0x44][..], b"MIAG"].concat());
            let text = |text: &str| text.to_owned();
            let facts = InstanceFacts {
                instance: text("aws:1:i-1"),
                provider: text("aws"),
                account: text("1"),
                region: text("r"),
                zone: text("aws/a"),
                image: text("ami"),
                pending: Wall(1),
                launched_by: text("deploy"),
            };
            Reply::ok(&Enrolled { facts, votes: 3 })
        }
        _ => talk.honest(call, body, &statements),
    });
    let agent = Agent::new(mesh, &[&node]);
    for (name, bytes) in [("good", "good"), ("bad", "bad")] {
        let file = TicketFile { ticket: bytes.into(), bearer: None };
        std::fs::write(agent.path(name), keymesh_wire::codec::encode(&file)).expect("written");
    }
    std::fs::write(agent.path("document"), "MIAG").expect("written");
    let document = agent.path("document");
    let (code, done) = agent.json(&["enrol", "--ticket", &agent.path("good"), "--evidence", &document]);
    assert_eq!((code, &done["facts"]["instance"], &done["votes"]), (0, &"aws:1:i-1".into(), &3.into()), "{done}");
    let (code, refused) = agent.json(&["enrol", "--ticket", &agent.path("bad"), "--evidence", &document]);
    assert_eq!((code, &refused["code"]), (1, &"ticket-invalid".into()), "{refused}");
    let (code, other) = agent.json(&["enrol", "--ticket", &document, "--evidence", &document]);
    assert_eq!(code, 2, "something that is no ticket: {other}");
    let (code, _) = agent.json(&["enrol", "--ticket", &agent.path("none"), "--evidence", &document]);
    assert_eq!(code, 5);
}

#[test]
fn an_identity_is_made_once_and_missed_with_a_hint() {
    let (mesh, _) = fake::mesh(&[]);
    let agent = Agent::new(mesh, &[]);
    let path = agent.path("new.key");
    let (code, made) = agent.json(&["identity", "new", "--identity", &path]);
    assert_eq!(code, 0, "{made}");
    let (code, shown) = agent.json(&["identity", "show", "--identity", &path]);
    assert_eq!((code, &shown["agent"]), (0, &made["agent"]));
    assert_eq!(agent.json(&["identity", "new", "--identity", &path]).0, 1);
    let missing = agent.run(&["identity", "show", "--identity", &agent.path("none.key")]);
    assert_eq!(status(&missing), 5);
    assert!(stderr(&missing).contains("keymesh-agent identity new"), "{}", stderr(&missing));
    assert_eq!(status(&agent.run(&["identity", "show", "--mesh", "ten_00"])), 2);
    let none = agent.run(&["status"]);
    assert_eq!(status(&none), 2, "{}", stderr(&none));
}
