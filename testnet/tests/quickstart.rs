//! The README's quickstart, run as it is written.

use std::fs;
use std::path::Path;
use std::process::Command;

use keymesh_testnet::binaries::Binaries;
use keymesh_testnet::packages;

/// The shell blocks of the quickstart, in order, as one script.
fn quickstart(readme: &str) -> String {
    let section = readme.split("## Quickstart by hand").nth(1).expect("the README has a quickstart");
    let section = section.split("\n## ").next().expect("something");
    let blocks = section.split("```sh\n").skip(1);
    blocks.map(|block| block.split("```").next().expect("a block ends")).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_quickstart_works_as_written() {
    packages::ensure("cryptsetup", "cryptsetup-bin").expect("cryptsetup is here or can be installed");
    let binaries = Binaries::build().expect("the programs build");
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md")).expect("README.md");
    let folder = tempfile::tempdir().expect("a folder");
    let programs = binaries.keymesh.parent().expect("a folder").display().to_string();
    // The same commands, on programs that are built already and in a folder of this test's own.
    let script = quickstart(&readme)
        .replace("cargo build --release --workspace", "true")
        .replace("$PWD/target/release", &programs)
        .replace("/tmp/keymesh", &folder.path().display().to_string());
    // Whatever happens, the nodes are not left behind.
    let script = format!("set -eu\ntrap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n{script}");
    let output = Command::new("bash").arg("-c").arg(&script).output().expect("bash runs");
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the quickstart failed:\n{said}\n{errors}");
    for expected in ["live", "opens data.img", "release    allowed", "EFFECTIVE", "refused, as it should be"] {
        assert!(said.contains(expected), "the quickstart did not say `{expected}`:\n{said}\n{errors}");
    }
}
