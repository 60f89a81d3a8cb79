use std::os::unix::fs::PermissionsExt as _;

use super::*;

fn identity() -> Identity {
    Identity::from_seed(Secret32::build(|out| out.fill(7)))
}

fn made(kind: KeyKind) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("id.key");
    create(&path, kind, &identity()).expect("a key file");
    (folder, path)
}

/// What `load` says about a file with this text, with the folder's name left out.
fn refusal(text: &str) -> String {
    let (folder, path) = made(KeyKind::Node);
    fs::write(&path, text).expect("to write over it");
    let error = load(&path, KeyKind::Node).expect_err("a refusal").to_string();
    error.replace(&format!("{}/", folder.path().display()), "")
}

#[test]
fn a_key_file_reads_back_and_is_the_owners_alone() {
    for kind in [KeyKind::Node, KeyKind::Person, KeyKind::Agent] {
        let (folder, path) = made(kind);
        assert_eq!(load(&path, kind).expect("its own form").principal(), identity().principal());
        assert_eq!(fs::metadata(&path).expect("a file").permissions().mode() & 0o7777, 0o600);
        let names: Vec<_> =
            fs::read_dir(folder.path()).expect("a folder").map(|e| e.expect("an entry").file_name()).collect();
        assert_eq!(names, ["id.key"], "no draft is left behind");
    }
}

#[test]
fn the_form_of_version_1_stays() {
    let (_folder, path) = made(KeyKind::Node);
    let text = fs::read_to_string(path).expect("text");
    assert_eq!(
        text,
        "keymesh identity key 1\nkind: node\nsuite: ed25519\n\
         public: who_ea4a6c63e29c520abef5507b132ec5f9954776aebebe7b92421eea691446d22c\n\
         seed: BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc\n"
    );
}

#[test]
fn a_key_is_never_written_over_another() {
    let (_folder, path) = made(KeyKind::Node);
    let before = fs::read(&path).expect("the file");
    let other = Identity::from_seed(Secret32::build(|out| out.fill(8)));
    assert!(matches!(create(&path, KeyKind::Node, &other), Err(KeyFileError::Exists { .. })));
    assert_eq!(fs::read(&path).expect("the file"), before);
}

#[test]
fn a_file_others_can_read_is_refused_with_the_command_to_run() {
    let (_folder, path) = made(KeyKind::Node);
    for mode in [0o640, 0o604, 0o620, 0o644] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("the owner may");
        let error = load(&path, KeyKind::Node).expect_err("a refusal").to_string();
        assert!(error.contains(&format!("mode {mode:04o}")), "{error}");
        assert!(error.ends_with(&format!("chmod 600 '{}'", path.display())), "{error}");
    }
}

#[test]
fn a_file_of_another_user_is_refused() {
    let (_folder, path) = made(KeyKind::Node);
    if std::os::unix::fs::chown(&path, Some(12_345), None).is_ok() {
        let error = load(&path, KeyKind::Node).expect_err("a refusal").to_string();
        assert!(error.contains("belongs to user 12345"), "{error}");
    } else {
        // Only root can give files away; another user finds a file that is not its own in every system.
        let error = load(Path::new("/etc/hostname"), KeyKind::Node).expect_err("a refusal").to_string();
        assert!(error.contains("belongs to user 0"), "{error}");
    }
}

#[test]
fn a_key_of_another_kind_is_refused_by_name() {
    let (_folder, path) = made(KeyKind::Person);
    let error = load(&path, KeyKind::Node).expect_err("a refusal").to_string();
    assert!(error.ends_with("holds the key of a person, where the key of a node is needed"), "{error}");
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    let (_folder, path) = made(KeyKind::Node);
    let whole = fs::read(&path).expect("the file");
    for len in 0..whole.len() {
        fs::write(&path, &whole[..len]).expect("to write over it");
        assert!(load(&path, KeyKind::Node).is_err(), "{len} bytes of {}", whole.len());
    }
}

#[test]
fn no_flipped_bit_gives_another_identity() {
    let (_folder, path) = made(KeyKind::Node);
    let whole = fs::read(&path).expect("the file");
    for bit in 0..whole.len() * 8 {
        let mut altered = whole.clone();
        altered[bit / 8] ^= 1 << (bit % 8);
        assert!(decode(&path, KeyKind::Node, &altered).is_err(), "bit {bit}");
    }
}

#[test]
fn each_damage_is_named_with_its_line() {
    let head = "keymesh identity key 1\nkind: node\nsuite: ed25519\n";
    let public = "public: who_ea4a6c63e29c520abef5507b132ec5f9954776aebebe7b92421eea691446d22c\n";
    let seed = "seed: CAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAg\n";
    assert_eq!(refusal("-----BEGIN PRIVATE KEY-----\n"), "id.key is not a keymesh key file");
    assert_eq!(refusal("keymesh identity key 2\n"), "key file id.key is of version 2; this program reads version 1");
    assert_eq!(
        refusal(&format!("{head}{public}seed: AAAA\n")),
        "key file id.key is damaged at line 5: expected `seed: ` and 43 characters of base64url. Restore it from a copy"
    );
    assert_eq!(
        refusal(&format!("{head}{public}")),
        "key file id.key is damaged at line 5: expected `seed: ` and 43 characters of base64url. Restore it from a copy"
    );
    assert_eq!(
        refusal(&format!("{head}{public}{seed}more\n")),
        "key file id.key is damaged at line 6: expected the end of the file. Restore it from a copy"
    );
    let error = refusal(&format!("{head}{public}{seed}"));
    assert!(error.contains("its seed does not give its public key who_ea4a6c63"), "{error}");
    assert_eq!(refusal(&"x".repeat(5000)), "id.key is not a keymesh key file");
}

#[test]
fn a_folder_and_a_missing_file_are_told_apart() {
    let folder = tempfile::tempdir().expect("a folder");
    assert!(matches!(load(folder.path(), KeyKind::Node), Err(KeyFileError::NotAFile { .. })));
    let error = load(&folder.path().join("none"), KeyKind::Node).expect_err("a refusal").to_string();
    assert!(error.contains("cannot open key file") && error.contains("No such file"), "{error}");
}
