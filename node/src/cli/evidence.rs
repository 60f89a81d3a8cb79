//! `keymesh evidence`: certificates whose keys sign instance identity documents, as this tenant trusts them.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use keymesh_mesh::evidence::PinnedCertificate;
use keymesh_wire::body::{Body, EvidenceKind, EvidenceRoot};
use keymesh_wire::ids::BlobHash;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::act::Act;
use super::connect::{self, Breadth};
use super::env::Env;
use super::error::CliError;
use super::output::Output;
use super::table::Table;
use super::time::moment;

/// Evidence.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Propose to trust a certificate that signs instance identity documents
    #[command(after_help = "\
Example:
  keymesh evidence trust --cert aws-eu-west-1-rsa2048.pem --as ann.key

Take the certificate from the provider's own documentation and compare its SHA-256.")]
    Trust {
        /// The certificate, PEM
        #[arg(long, value_name = "PEM")]
        cert: PathBuf,
    },
    /// Stop trusting a certificate, at once
    #[command(after_help = "Example:\n  keymesh evidence distrust 5f3c… --as ann.key")]
    Distrust {
        /// A PEM file, or the beginning of the certificate's SHA-256 in hex
        #[arg(value_name = "PEM|SHA256")]
        which: String,
    },
    /// List the trusted certificates
    #[command(after_help = "Example:\n  keymesh evidence list --tenant acme")]
    List,
}

/// Does it.
pub fn run(env: &Env, command: Command) -> Result<Output, CliError> {
    match command {
        Command::Trust { cert } => {
            let certificate = read(&cert)?;
            let mut act = Act::on_tenant(env)?;
            let root =
                EvidenceRoot { kind: EvidenceKind::AwsInstanceIdentity, certificate: certificate.der().to_vec() };
            act.say(env, &Body::TrustEvidence(root))?;
            let sent = act.send(env, Breadth::All)?;
            let (from, until) = certificate.validity();
            let fingerprint = certificate.fingerprint().to_string();
            let text = format!(
                "{} {}\n  SHA-256 {fingerprint}\n  valid {} to {} by its own word",
                if sent.is_effective() { "trusted:" } else { "proposed to trust" },
                certificate.subject(),
                moment(from),
                moment(until),
            );
            let json =
                json!({"sha256": fingerprint, "subject": certificate.subject(), "kind": "aws-instance-identity"});
            Ok(sent.output(&text, json))
        }
        Command::Distrust { which } => {
            let mut act = Act::on_tenant(env)?;
            let fingerprint = find(&act, &which)?;
            act.say(env, &Body::DistrustEvidence(fingerprint))?;
            let sent = act.send(env, Breadth::All)?;
            Ok(sent.output(
                &format!("{} is not trusted any more", hex(&fingerprint)),
                json!({"sha256": hex(&fingerprint)}),
            ))
        }
        Command::List => {
            let read = connect::tenant_document(env, None, Breadth::All)?;
            let mut table = Table::new(["SHA-256", "KIND", "SUBJECT"]);
            let mut entries = Vec::new();
            for (fingerprint, (kind, der)) in &read.held.tenant().evidence_roots {
                let subject = PinnedCertificate::from_der(der).map_or_else(|error| error.to_string(), |c| c.subject());
                let EvidenceKind::AwsInstanceIdentity = kind;
                table.row([hex(fingerprint), "aws-instance-identity".to_owned(), subject.clone()]);
                entries.push(json!({"sha256": hex(fingerprint), "kind": kind, "subject": subject}));
            }
            Ok(Output::new(table.or("no evidence is trusted: no instance can enrol"), json!({"evidence": entries})))
        }
    }
}

fn read(path: &Path) -> Result<PinnedCertificate, CliError> {
    let text =
        fs::read_to_string(path).map_err(|source| CliError::File { path: path.to_owned(), doing: "read", source })?;
    PinnedCertificate::from_pem(&text).map_err(|source| CliError::Certificate { path: path.to_owned(), source })
}

fn hex(hash: &BlobHash) -> String {
    hash.to_string().trim_start_matches("blob_").to_owned()
}

fn find(act: &Act, which: &str) -> Result<BlobHash, CliError> {
    let path = Path::new(which);
    if path.exists() {
        return Ok(BlobHash::from_bytes(Sha256::digest(read(path)?.der()).into()));
    }
    let tenant = act.held.tenant();
    let fits = |hash: &&BlobHash| which.len() >= 4 && hex(hash).starts_with(which);
    let found: Vec<BlobHash> = tenant.evidence_roots.keys().filter(fits).copied().collect();
    match found.as_slice() {
        [one] => Ok(*one),
        [] => Err(CliError::NotFound {
            kind: "certificate",
            name: which.to_owned(),
            place: format!("what tenant {} trusts", tenant.name),
            hint: "`keymesh evidence list` shows them".to_owned(),
        }),
        several => {
            let ids = several.iter().map(hex).collect();
            Err(CliError::Ambiguous { kind: "certificate", name: which.to_owned(), ids })
        }
    }
}
