//! What an operator can get wrong before a node starts. The program says so, ends, and leaves everything as it was.

use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;

use keymesh::disk::DataDir;
use keymesh_wire::ids::MeshId;

use crate::door_support::mesh;
use crate::support::Mesh;

/// The exit status for a command line or a file that is wrong.
const USAGE: i32 = 2;

/// A node whose configuration is written and changed by `edit`.
fn edited(edit: impl FnOnce(String) -> String) -> Mesh {
    let node = Mesh::at_rest(1);
    let path = node.config_file(0);
    let text = edit(fs::read_to_string(&path).expect("a configuration"));
    fs::write(&path, text).expect("written");
    node
}

fn replaced(from: &'static str, to: &'static str) -> Mesh {
    edited(|text| {
        assert!(text.contains(from), "{text}");
        text.replace(from, to)
    })
}

/// With its own configuration the node comes up: nothing was lost by the refusal.
fn serves(mut node: Mesh) {
    node.spawn(0);
    assert_eq!(node.health(0), 200);
}

#[test]
fn a_misspelt_field_is_named_with_its_line_and_the_right_spelling_and_nothing_is_begun() {
    let node = replaced("\nconnections = ", "\nconections = ");
    let text = fs::read_to_string(node.world.places[0].folder.join("node.toml")).expect("text");
    let line = text.lines().position(|line| line.starts_with("conections")).expect("the line") + 1;
    let (code, said) = node.refused(0);
    assert_eq!(code, USAGE, "{said}");
    let expected = format!("node.toml:{line}: unknown field `limits.conections`: did you mean `limits.connections`?");
    assert!(said.contains(&expected), "{said}");
    assert!(!node.config(0).data_dir.exists(), "nothing was begun");
    serves(node);
}

#[test]
fn an_unknown_section_a_wrong_value_and_no_toml_are_named_with_their_line() {
    for (from, to, expected) in [
        ("[log]", "[logs]", "unknown field `logs`: did you mean `[log]`?"),
        ("zone = \"aws/a\"", "zone = \"somewhere\"", "`zone` is \"somewhere\": expected `provider/name`"),
        ("version = 1", "version = 7", "configuration version 7; this program reads version 1"),
        ("name = \"n0\"", "name = n0", "not TOML"),
        ("clock_offset_ms = 0", "clock_offset_ms = 600000", "expected 0, or `allow_faults = true` beside it"),
    ] {
        let (code, said) = replaced(from, to).refused(0);
        assert_eq!(code, USAGE, "{said}");
        assert!(said.contains("node.toml:") && said.contains(expected), "{said}");
    }
}

#[test]
fn a_missing_configuration_is_named() {
    let node = Mesh::at_rest(1);
    let (_, said) = node.refused(0);
    assert!(said.contains("cannot read configuration") && said.contains("node.toml"), "{said}");
}

#[test]
fn a_key_file_open_to_others_is_refused_with_the_command_that_closes_it() {
    let node = Mesh::at_rest(1);
    node.config_file(0);
    let key = node.config(0).key_file.clone();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).expect("opened to all");
    let (_, said) = node.refused(0);
    assert!(said.contains("is open to other users (mode 0644)"), "{said}");
    assert!(said.contains(&format!("chmod 600 '{}'", key.display())), "{said}");
    assert!(!node.config(0).data_dir.exists(), "nothing was begun");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("closed");
    serves(node);
}

#[test]
fn a_damaged_or_missing_key_file_is_named_with_its_line() {
    let node = Mesh::at_rest(1);
    node.config_file(0);
    let key = node.config(0).key_file.clone();
    let good = fs::read(&key).expect("a key");
    fs::write(&key, &good[..good.len() / 2]).expect("cut");
    let (_, said) = node.refused(0);
    assert!(said.contains("is damaged at line") && said.contains("Restore it from a copy"), "{said}");
    fs::remove_file(&key).expect("removed");
    let (_, said) = node.refused(0);
    assert!(said.contains("node.key") && said.contains("No such file"), "{said}");
    fs::write(&key, good).expect("restored");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("closed");
    serves(node);
}

#[test]
fn a_port_in_use_is_named_with_the_field_that_chose_it() {
    let node = Mesh::at_rest(1);
    node.config_file(0);
    let listen = node.config(0).listen;
    let taken = TcpListener::bind(listen.door).expect("the door's port");
    let (_, said) = node.refused(0);
    let expected = format!("(listen.door): cannot listen on {}: the address is in use", listen.door);
    assert!(said.contains(&expected), "{said}");
    drop(taken);
    let taken = TcpListener::bind(listen.mesh).expect("the mesh port");
    let (_, said) = node.refused(0);
    let expected = format!("(listen.mesh): cannot listen on {} by TCP: the address is in use", listen.mesh);
    assert!(said.contains(&expected), "{said}");
    drop(taken);
    let taken = UdpSocket::bind(listen.mesh).expect("the mesh port");
    let (_, said) = node.refused(0);
    let expected = format!("(listen.mesh): cannot listen on {} by QUIC: the address is in use", listen.mesh);
    assert!(said.contains(&expected), "{said}");
    drop(taken);
    serves(node);
}

#[test]
fn a_data_directory_of_another_mesh_or_in_use_is_named_and_left_as_it_is() {
    let mut node = Mesh::at_rest(1);
    node.spawn(0);
    let (_, said) = node.refused(0);
    assert!(said.contains("the data directory is in use by process"), "{said}");
    assert!(said.contains("stop that process or give this node its own directory"), "{said}");
    assert_eq!(node.health(0), 200, "the first one serves on");
    node.stop(0);
    let (path, other) = (node.config_file(0), MeshId::from_bytes([5; 32]));
    let text = fs::read_to_string(&path).expect("text").replace(&mesh().to_string(), &other.to_string());
    fs::write(&path, text).expect("written");
    let (_, said) = node.refused(0);
    let expected = format!("this data directory belongs to {}, but the node is configured for {other}", mesh());
    assert!(said.contains(&expected) && said.contains("store.redb"), "{said}");
    serves(node);
}

#[test]
fn a_data_directory_of_a_newer_level_is_named_and_left_as_it_is() {
    let node = Mesh::at_rest(1);
    node.config_file(0);
    let folder = node.config(0).data_dir.clone();
    DataDir::take(&folder).expect("taken").store(mesh(), 99).expect("a store of a later program");
    let (_, said) = node.refused(0);
    assert!(said.contains("this data directory is at level 99, this program knows levels up to 1"), "{said}");
    assert!(said.contains("start the newer program again"), "{said}");
    DataDir::take(&folder).expect("taken").store(mesh(), 99).expect("the later program still opens it");
}
