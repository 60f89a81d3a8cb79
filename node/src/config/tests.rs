use super::*;

const MESH: &str = "mesh_0707070707070707070707070707070707070707070707070707070707070707";

fn smallest() -> String {
    format!(
        "version = 1\ndata_dir = \"data\"\nmesh = \"{MESH}\"\nname = \"n1\"\nzone = \"aws/eu-west-1a\"\n\
         [listen]\nmesh = \"127.0.0.1:7400\"\ndoor = \"127.0.0.1:7443\"\n"
    )
}

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(Path::new("node.toml"), text)
}

/// What is said about the smallest file with `from` replaced by `to`.
fn refusal(from: &str, to: &str) -> String {
    let text = smallest();
    assert!(text.contains(from), "the file has no {from}");
    parse(&text.replace(from, to)).expect_err("a refusal").to_string()
}

#[test]
fn a_file_with_the_required_fields_gets_the_defaults() {
    let config = Config::parse(Path::new("/etc/keymesh/node.toml"), &smallest()).expect("a good file");
    let listen = Addresses {
        mesh: "127.0.0.1:7400".parse().expect("an address"),
        door: "127.0.0.1:7443".parse().expect("an address"),
    };
    let zone: Zone = "aws/eu-west-1a".parse().expect("a zone");
    let expected = Config::new(Path::new("/etc/keymesh"), MeshId::from_bytes([7; 32]), "n1".to_owned(), zone, listen);
    assert_eq!(config, expected);
    assert_eq!(config.data_dir, Path::new("/etc/keymesh/data"));
    assert_eq!(config.key_file, Path::new("/etc/keymesh/node.key"));
    assert_eq!(config.provider, "aws");
    assert_eq!((config.clock_max_difference, config.allow_faults), (Millis(30_000), false));
    assert_eq!(config.refresh_after, Some(Millis::seconds(30 * 24 * 3600)));
}

#[test]
fn a_written_file_reads_back_and_is_never_written_over() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("node.toml");
    let mut config = Config::load(&{
        let first = folder.path().join("first.toml");
        std::fs::write(&first, smallest()).expect("to write");
        first
    })
    .expect("a good file");
    config.data_dir = PathBuf::from("/srv/a \"quoted\" \\ folder");
    config.provider = "acme-hosting".to_owned();
    config.advertise.door = "[fd00::5]:443".parse().expect("an address");
    config.limits.peer_queue = 99;
    config.log = Log { level: LogLevel::Trace, format: LogFormat::Json };
    config.allow_faults = true;
    config.clock_offset_ms = -600_000;
    config.limits.idle = Millis(1500);
    config.refresh_after = None;
    config.write_new(&path).expect("a new file");
    assert_eq!(Config::load(&path).expect("its own form"), config);
    assert!(matches!(config.write_new(&path), Err(ConfigError::Exists { .. })));
    let text = std::fs::read_to_string(&path).expect("text");
    assert!(text.contains("key_file = \"node.key\""), "paths beside the file stay relative: {text}");
    let known = TOP.iter().chain(SECTIONS.iter().flat_map(|(_, fields)| fields.iter()));
    for field in known {
        assert!(text.contains(&format!("\n{field} = ")), "{field} is missing from {text}");
    }
}

#[test]
fn a_misspelt_field_is_named_with_its_line_and_the_right_spelling() {
    assert_eq!(refusal("name =", "nmae ="), "node.toml:4: unknown field `nmae`: did you mean `name`?");
    assert_eq!(refusal("door =", "dor ="), "node.toml:8: unknown field `listen.dor`: did you mean `listen.door`?");
    assert_eq!(refusal("[listen]", "[lisen]"), "node.toml:6: unknown field `lisen`: did you mean `[listen]`?");
    assert_eq!(
        refusal("[listen]", "max_difference_ms = 5\n[listen]"),
        "node.toml:6: unknown field `max_difference_ms`: did you mean `clock.max_difference_ms`?"
    );
    assert_eq!(
        refusal("[listen]", "[log]\ncolour = true\n[listen]"),
        "node.toml:7: unknown field `log.colour`: known here are `level`, `format`"
    );
    assert_eq!(
        refusal("[listen]", "[log.file]\nx = 1\n[listen]"),
        "node.toml:6: unknown field `log.file`: known here are `level`, `format`"
    );
}

#[test]
fn the_first_unknown_field_of_the_file_is_the_one_named() {
    assert!(refusal("[listen]", "zzzzzz = 1\naaaaaa = 2\n[listen]").starts_with("node.toml:6: unknown field `zzzzzz`"));
}

#[test]
fn a_missing_field_says_what_belongs_there() {
    assert_eq!(
        refusal("zone = \"aws/eu-west-1a\"\n", ""),
        "node.toml: field `zone` is missing: expected `provider/name`, such as \"aws/eu-west-1a\""
    );
    assert_eq!(
        refusal("door = \"127.0.0.1:7443\"\n", ""),
        "node.toml: field `listen.door` is missing: expected an IP address and a port, such as \"10.0.0.5:7400\" or \
         \"[fd00::5]:7400\""
    );
    assert_eq!(refusal("version = 1\n", ""), "node.toml: field `version` is missing: expected `version = 1`");
}

#[test]
fn a_wrong_value_says_what_is_expected() {
    assert_eq!(
        refusal("127.0.0.1:7443", "localhost:7443"),
        "node.toml:8: `listen.door` is \"localhost:7443\": expected an IP address and a port, such as \
         \"10.0.0.5:7400\" or \"[fd00::5]:7400\""
    );
    assert_eq!(
        refusal("aws/eu-west-1a", "eu-west-1a"),
        "node.toml:5: `zone` is \"eu-west-1a\": expected `provider/name`, such as \"aws/eu-west-1a\""
    );
    assert_eq!(
        refusal("[listen]", "[limits]\nconnections = 0\n[listen]"),
        "node.toml:7: `limits.connections` is 0: expected a whole number from 1 to 100000"
    );
    assert_eq!(
        refusal("[listen]", "[log]\nlevel = \"verbose\"\n[listen]"),
        "node.toml:7: `log.level` is \"verbose\": expected one of \"error\", \"warn\", \"info\", \"debug\", \"trace\""
    );
    assert_eq!(
        refusal("[listen]", "[testing]\nallow_faults = \"yes\"\n[listen]"),
        "node.toml:7: `testing.allow_faults` is \"yes\": expected true or false"
    );
    assert_eq!(
        refusal("name = \"n1\"", "name = \"Node One\""),
        "node.toml:4: `name` is \"Node One\": expected 1 to 64 lower-case letters, digits, `-`, `_` or `.`"
    );
    assert_eq!(refusal("[listen]", "log = 5\n[listen]"), "node.toml:6: `log` is 5: expected a section `[log]`");
    assert_eq!(
        refusal(MESH, "ring_07"),
        "node.toml:3: `mesh` is \"ring_07\": expected the id of the mesh, `mesh_` and 64 hex digits"
    );
}

#[test]
fn a_clock_is_made_wrong_only_where_faults_are_allowed() {
    assert!(
        refusal("[listen]", "[testing]\nclock_offset_ms = 600000\n[listen]")
            .contains("`testing.clock_offset_ms` is 600000: expected 0, or `allow_faults = true` beside it")
    );
    let text = smallest() + "[testing]\nallow_faults = true\nclock_offset_ms = -5\n";
    assert_eq!(parse(&text).expect("a good file").clock_offset_ms, -5);
    let text = smallest() + "[testing]\nclock_offset_ms = 0\n";
    assert_eq!(parse(&text).expect("a good file").clock_offset_ms, 0);
}

#[test]
fn an_address_nobody_can_be_told_is_refused() {
    assert_eq!(
        refusal("127.0.0.1:7443", "0.0.0.0:7443"),
        "node.toml: field `advertise.door` is missing: expected the address others reach the node at, because \
         `listen.door` is all addresses"
    );
    assert!(refusal("127.0.0.1:7443", "127.0.0.1:0").contains("expected a port other than 0"));
    let advertised = smallest().replace("127.0.0.1:7443", "0.0.0.0:7443") + "[advertise]\ndoor = \"192.0.2.1:443\"\n";
    assert_eq!(parse(&advertised).expect("a good file").advertise.door.to_string(), "192.0.2.1:443");
}

#[test]
fn another_version_is_named_before_its_unknown_fields() {
    assert_eq!(
        refusal("version = 1\n", "version = 2\nnew_field = true\n"),
        "node.toml:1: configuration version 2; this program reads version 1"
    );
}

#[test]
fn what_is_not_toml_is_refused_with_its_line() {
    assert!(refusal("name = \"n1\"", "name = n1").starts_with("node.toml:4: not TOML: "));
    assert!(
        refusal("name = \"n1\"", "name = \"n1\"\nname = \"n2\"").starts_with("node.toml:5: not TOML: duplicate key")
    );
}

#[test]
fn a_missing_file_is_an_error_of_its_own() {
    let error = Config::load(Path::new("/nonexistent/node.toml")).expect_err("a refusal").to_string();
    assert!(error.starts_with("cannot read configuration /nonexistent/node.toml: No such file"), "{error}");
}
