//! The direction of dependencies and what may be depended upon, checked over `cargo metadata`.
//!
//! wire, custody → mesh → node; wire, custody → agent; mesh → sim. The pure crates stay free of runtimes and sockets, and
//! no crate on the list of those that rebuild secrets, or under a licence we cannot ship, comes in through anybody.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

struct Metadata {
    names: BTreeMap<String, String>,
    licences: BTreeMap<String, String>,
    /// Normal and build dependencies; what only tests use does not ship.
    uses: BTreeMap<String, BTreeSet<String>>,
}

fn metadata() -> Metadata {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version=1", "--locked", "--filter-platform=x86_64-unknown-linux-gnu"])
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let parsed: Value = serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (mut names, mut licences, mut uses) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    for package in parsed["packages"].as_array().expect("packages") {
        names.insert(text(&package["id"]), text(&package["name"]));
        licences.insert(text(&package["name"]), text(&package["license"]));
    }
    for node in parsed["resolve"]["nodes"].as_array().expect("nodes") {
        let used = node["deps"].as_array().expect("deps").iter().filter(|dependency| {
            let kinds = dependency["dep_kinds"].as_array().expect("kinds");
            kinds.iter().any(|kind| kind["kind"].as_str() != Some("dev"))
        });
        uses.insert(text(&node["id"]), used.map(|dependency| text(&dependency["pkg"])).collect());
    }
    Metadata { names, licences, uses }
}

impl Metadata {
    fn reachable(&self, from: &str) -> BTreeSet<String> {
        let start = self.names.iter().find(|(_, name)| *name == from).map(|(id, _)| id.clone());
        let mut open = vec![start.unwrap_or_else(|| panic!("{from} is a package"))];
        let mut seen = BTreeSet::new();
        while let Some(next) = open.pop() {
            if seen.insert(next.clone()) {
                open.extend(self.uses.get(&next).into_iter().flatten().cloned());
            }
        }
        seen.iter().filter_map(|id| self.names.get(id).cloned()).filter(|name| name != from).collect()
    }
}

#[test]
fn dependencies_point_one_way() {
    let metadata = metadata();
    let ours = |names: BTreeSet<String>| -> BTreeSet<String> {
        names.into_iter().filter(|name| name == "keymesh" || name.starts_with("keymesh-")).collect()
    };
    let allowed = [
        ("keymesh-wire", vec![]),
        ("keymesh-custody", vec![]),
        ("keymesh-mesh", vec!["keymesh-wire", "keymesh-custody"]),
        ("keymesh-agent", vec!["keymesh-wire", "keymesh-custody"]),
        ("keymesh-sim", vec!["keymesh-mesh", "keymesh-wire", "keymesh-custody"]),
        ("keymesh", vec!["keymesh-mesh", "keymesh-wire", "keymesh-custody", "keymesh-agent"]),
    ];
    for (package, allowed) in allowed {
        let found = ours(metadata.reachable(package));
        let allowed: BTreeSet<String> = allowed.into_iter().map(str::to_owned).collect();
        assert!(found.is_subset(&allowed), "{package} depends on {:?}", found.difference(&allowed));
    }
}

#[test]
fn pure_crates_have_no_runtime_and_no_sockets() {
    let metadata = metadata();
    for package in ["keymesh-wire", "keymesh-custody", "keymesh-mesh", "keymesh-sim", "keymesh-agent"] {
        let found = metadata.reachable(package);
        for banned in ["tokio", "mio", "libp2p", "hyper", "axum", "redb"] {
            assert!(!found.contains(banned), "{package} must not depend on {banned}");
        }
    }
    for package in ["keymesh-wire", "keymesh-custody", "keymesh-agent"] {
        let found = metadata.reachable(package);
        for banned in ["automerge", "cedar-policy"] {
            assert!(!found.contains(banned), "{package} must not depend on {banned}");
        }
    }
}

#[test]
fn crates_that_rebuild_secrets_or_need_a_system_library_stay_out() {
    let metadata = metadata();
    let banned = ["shamir", "sharks", "blahaj", "vsss-rs", "openssl", "openssl-sys", "native-tls", "rusqlite"];
    for name in metadata.names.values() {
        assert!(!banned.contains(&name.as_str()), "{name} must not be depended upon");
        assert!(!name.starts_with("cosmian_"), "{name} must not be depended upon");
    }
}

#[test]
fn every_licence_is_one_we_can_ship() {
    let allowed: BTreeSet<&str> = [
        "Apache-2.0",
        "MIT",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "ISC",
        "Zlib",
        "Unicode-3.0",
        "CC0-1.0",
        "0BSD",
        "Unlicense",
        "MPL-2.0",
        "CDLA-Permissive-2.0",
        "OpenSSL",
        "BSL-1.0",
        "MIT-0",
        "BSD-1-Clause",
        "Apache-2.0 WITH LLVM-exception",
        "BlueOak-1.0.0",
    ]
    .into();
    let fits = |expression: &str| {
        // "A OR B" needs one, "A AND B" both; slashes are an old way to write OR.
        let text = expression.replace('/', " OR ").replace(['(', ')'], " ");
        text.split(" AND ").all(|all| all.split(" OR ").any(|one| allowed.contains(one.trim())))
    };
    for (name, licence) in metadata().licences {
        assert!(fits(&licence), "{name} is under `{licence}`");
    }
}
