use std::process::Command;

use keymesh_wire::secret::SecretBytes;

use super::*;

/// `cryptsetup`, installed if need be: a test that skips itself tests nothing.
fn cryptsetup() -> Cryptsetup {
    Cryptsetup::find().unwrap_or_else(|_| {
        let install = ["install", "-y", "--no-install-recommends", crate::luks::PACKAGE];
        let _ = Command::new("apt-get").args(install).output();
        Cryptsetup::find().expect("`cryptsetup` is needed: apt-get install cryptsetup-bin")
    })
}

fn key(byte: u8, len: usize) -> DataKey {
    DataKey::new(&SecretBytes::from_vec(vec![byte; len])).expect("a key")
}

fn token() -> Token {
    Token::new(TokenFields {
        mesh: MeshId::from_bytes([1; 32]),
        tenant: TenantId::from_bytes([2; 32]),
        key: KeyId::from_bytes([3; 32]),
        key_version: VersionId::from_bytes([4; 16]),
        class: Class::Quorum,
        addresses: vec!["10.0.0.1:7443".parse().expect("an address"), "[::1]:7443".parse().expect("an address")],
        root_public: Some("ab".repeat(32).parse().expect("a pin")),
    })
}

#[test]
fn a_volume_opens_with_its_key_and_says_who_to_ask() {
    let cryptsetup = cryptsetup();
    let folder = tempfile::tempdir().expect("a folder");
    for len in [32, 64] {
        let path = folder.path().join(format!("-data{len}.img"));
        let place = Place::prepare(&path, 32 << 20, false).expect("a place");
        // Bytes a text passphrase could not hold, among them a line end.
        place.format(&cryptsetup, &key(b'\n', len), &token()).expect("formatted");
        cryptsetup.test(&path, &key(b'\n', len)).expect("its key opens it");
        let wrong = cryptsetup.test(&path, &key(1, len)).expect_err("another does not");
        assert!(matches!(wrong, LuksError::WrongKey { .. }), "{wrong}");
        assert_eq!(read_token(&cryptsetup, &path).expect("a token"), token());
        let header = fs::read(&path).expect("the file");
        assert!(!header.windows(16).any(|bytes| bytes == [b'\n'; 16]), "the key is nowhere in the file");
    }
}

#[test]
fn nothing_is_overwritten_unasked() {
    let cryptsetup = cryptsetup();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("data.img");
    Place::prepare(&path, 32 << 20, false)
        .expect("a place")
        .format(&cryptsetup, &key(7, 32), &token())
        .expect("formatted");
    let error = Place::prepare(&path, 32 << 20, false).expect_err("a refusal").to_string();
    assert!(error.contains("is a LUKS volume already") && error.contains("--overwrite"), "{error}");
    let text = folder.path().join("letter.txt");
    fs::write(&text, "dear").expect("written");
    assert!(matches!(Place::prepare(&text, 32 << 20, false), Err(VolumeError::Exists { what: "exists", .. })));
    assert!(matches!(Place::prepare(folder.path(), 32 << 20, true), Err(VolumeError::Unfit { .. })));
    assert!(matches!(Place::prepare(&folder.path().join("new"), 1 << 20, false), Err(VolumeError::Unfit { .. })));
    Place::prepare(&path, 0, true).expect("asked").format(&cryptsetup, &key(8, 32), &token()).expect("formatted");
    cryptsetup.test(&path, &key(8, 32)).expect("the new key opens it");
}

#[test]
fn a_volume_that_comes_to_nothing_leaves_no_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("data.img");
    let place = Place::prepare(&path, 32 << 20, false).expect("a place");
    assert!(path.exists());
    assert_eq!(place.abandon("refused"), "refused");
    assert!(!path.exists());
}

#[test]
fn a_volume_without_our_token_is_told_from_one_with_a_broken_one() {
    let cryptsetup = cryptsetup();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("data.img");
    File::create(&path).and_then(|file| file.set_len(32 << 20)).expect("a file");
    assert!(matches!(read_token(&cryptsetup, &path), Err(VolumeError::Luks(LuksError::Failed { .. }))));
    cryptsetup.format(&path, &key(1, 32)).expect("formatted");
    assert!(matches!(read_token(&cryptsetup, &path), Err(VolumeError::NoToken { .. })));
    let broken = serde_json::json!({ "type": "keymesh", "keyslots": ["0"], "version": 1 });
    cryptsetup.import_token(&path, &broken).expect("imported");
    let error = read_token(&cryptsetup, &path).expect_err("a refusal").to_string();
    assert!(error.contains("token 0 cannot be used: missing field `mesh`"), "{error}");
}

#[test]
fn a_token_reads_back_and_takes_nothing_unknown() {
    let json = serde_json::to_value(token()).expect("JSON");
    assert_eq!(json["type"], "keymesh");
    assert_eq!(json["keyslots"], serde_json::json!(["0"]));
    assert_eq!(json["class"], "quorum");
    assert_eq!(parse_token(json.clone()), Ok(token()));
    let with = |field: &str, value: serde_json::Value| {
        let mut json = json.clone();
        json[field] = value;
        parse_token(json).expect_err("a refusal")
    };
    assert!(with("surplus", 1.into()).contains("surplus"));
    assert!(with("version", 2.into()).contains("reads version 1"));
    assert!(with("addresses", serde_json::json!([])).contains("0 addresses"));
    assert!(with("addresses", vec!["10.0.0.1:1"; 33].into()).contains("33 addresses"));
    assert!(with("mesh", "ten_00".into()).contains("mesh"));
    assert!(with("root_public", serde_json::Value::Null).contains("names no root"));
}
