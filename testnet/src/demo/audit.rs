//! The whole history of an instance from all nodes; chains that verify, and one that was tampered with (I7).

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;

use super::{Sabotage, Scene};
use crate::error::{TestnetError, promised};
use crate::report::Step;

pub(super) const HISTORY: Step<Scene> = Step {
    name: "audit",
    title: "keymesh audit --instance: the instance's whole history from all nodes; every chain verifies",
    run: |scene, seen| {
        let subject = scene.instance("web")?.subject.clone();
        if scene.is_sabotaged(Sabotage::Audit) {
            let log = audit_log(&scene.net.nodes[0].data())?;
            flip(&log, subject.as_bytes())?;
        }
        let line = ["audit", "--instance", &subject];
        let cli = scene.net.cli_as("admin-1").with(["--tenant", &scene.acme()?.id]);
        let shown = cli.run(line)?;
        let history = shown.printed();
        let broken: Vec<_> = history.list("/chains")?.iter().filter(|chain| chain["verified"] != true).collect();
        promised!(broken.is_empty(), "a chain does not verify: {}", json!(broken));
        let history = shown.done()?;
        let (records, chains) = (history.list("/records")?, history.list("/chains")?);
        promised!(chains.len() == scene.net.nodes.len(), "all nodes' logs, not {}", chains.len());
        let of = |kind: &str, outcome: &str| {
            records.iter().filter(|record| record["kind"] == kind && record["outcome"] == outcome).count()
        };
        let counts = json!({
            "enrolment": of("enrolment", "allowed"),
            "release": of("release", "allowed"),
            "quorum-partial": of("quorum-partial", "allowed"),
        });
        for kind in ["enrolment", "release", "quorum-partial"] {
            promised!(counts[kind].as_u64().is_some_and(|count| count > 0), "no {kind} of {subject} is on record");
        }
        let words = scene.net.words_as("admin-1", &["--tenant", &scene.acme()?.id, "audit", "--instance", &subject])?;
        let lines: Vec<&str> = words.lines().collect();
        let (head, tail) = (lines.iter().take(8), lines.iter().rev().take(6).rev());
        for line in head {
            seen.say(*line);
        }
        if lines.len() > 14 {
            seen.say(format!("… {} more records", lines.len() - 14));
        }
        for line in tail {
            seen.say(*line);
        }
        seen.note("records", records.len());
        seen.note("counts", counts);
        seen.note("chains", chains);
        Ok(())
    },
};

pub(super) const TAMPERED: Step<Scene> = Step {
    name: "tampered",
    title: "A stopped node's log verifies offline; in a copy with one changed bit the record is located",
    run: |scene, seen| {
        let node = scene.net.at("gcp-2");
        let subject = scene.instance("web")?.subject.clone();
        scene.net.stop(&[node], Duration::from_secs(10));
        let dir = scene.net.nodes[node].dir.clone();
        let sound = scene.net.cli().json(["audit".as_ref(), "verify".as_ref(), "--dir".as_ref(), dir.as_os_str()])?;
        let records = sound.number("/records")?;
        promised!(sound.truth("/verified")?, "the log of gcp-2 does not verify: {}", sound.value);
        seen.say(format!("gcp-2 stopped: {records} records, all verify"));

        let copy = scene.net.dir.join("tampered");
        copy_folder(&dir, &copy)?;
        let log = audit_log(&copy.join("data"))?;
        let offset = flip(&log, subject.as_bytes())?;
        let found = scene.net.cli().run(["audit".as_ref(), "verify".as_ref(), "--dir".as_ref(), copy.as_os_str()])?;
        let damage = found.printed().value["damage"].clone();
        promised!(!found.succeeded(), "a changed record verifies");
        let (at, sequence) = (damage["offset"].as_u64(), damage["sequence"].as_u64());
        promised!(
            at.is_some_and(|at| at <= offset) && sequence.is_some(),
            "the damage at offset {offset} is not located: {damage}"
        );
        seen.say(format!("one bit at offset {offset} of a copy changed: {}", damage));
        seen.note("records", records);
        seen.note("flipped_offset", offset);
        seen.note("damage", damage);
        scene.net.start(&[node])?;
        Ok(())
    },
};

/// The first file of an audit log.
fn audit_log(data: &Path) -> Result<PathBuf, TestnetError> {
    let folder = data.join("audit");
    let mut files: Vec<PathBuf> = fs::read_dir(&folder)
        .map_err(TestnetError::io("list", &folder))?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
        .collect();
    files.sort();
    files.into_iter().next().ok_or_else(|| TestnetError::Unexpected(format!("{} holds no log", folder.display())))
}

/// Changes one bit in the first record that names `subject`. Returns where.
fn flip(file: &Path, subject: &[u8]) -> Result<u64, TestnetError> {
    use std::os::unix::fs::FileExt as _;

    let bytes = fs::read(file).map_err(TestnetError::io("read", file))?;
    let at = bytes.windows(subject.len()).position(|window| window == subject);
    let at = at.ok_or_else(|| TestnetError::Unexpected(format!("{} names no such instance", file.display())))?;
    let open = fs::OpenOptions::new().write(true).open(file).map_err(TestnetError::io("open", file))?;
    open.write_all_at(&[bytes[at] ^ 1], at as u64).map_err(TestnetError::io("write", file))?;
    Ok(at as u64)
}

fn copy_folder(from: &Path, to: &Path) -> Result<(), TestnetError> {
    fs::create_dir(to).map_err(TestnetError::io("make", to))?;
    for entry in fs::read_dir(from).map_err(TestnetError::io("list", from))? {
        let path = entry.map_err(TestnetError::io("list", from))?.path();
        let target = to.join(path.file_name().unwrap_or_default());
        if path.is_dir() {
            copy_folder(&path, &target)?;
        } else {
            fs::copy(&path, &target).map_err(TestnetError::io("copy", &path))?;
        }
    }
    Ok(())
}
