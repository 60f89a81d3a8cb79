//! `keymesh-metadata`: one emulated EC2 metadata service for one instance.
//!
//! Prints one line of JSON, `{"url":"http://127.0.0.1:PORT"}`, once it listens, and serves until it is killed. With
//! `--new-signer DIR` it makes the key and certificate that sign documents, and ends.

use std::error::Error;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use keymesh_mesh::evidence::rfc3339;
use keymesh_testnet::metadata::{InstanceSpec, Signer, make_signer, serve, wall_now};
use keymesh_wire::time::Wall;

/// Serve instance metadata as EC2 does, for tests and demonstrations.
#[derive(Parser)]
#[command(version)]
struct Options {
    /// Make a signing key and its certificate in this folder, and do nothing else.
    #[arg(long, value_name = "DIR", exclusive = true)]
    new_signer: Option<PathBuf>,
    /// Where to listen; port 0 takes a free port.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// PEM file with the RSA key (PKCS#8) and the certificate that sign documents.
    #[arg(long)]
    key_file: Option<PathBuf>,
    /// The owning account, twelve digits.
    #[arg(long)]
    account: Option<String>,
    /// The region, such as eu-west-1.
    #[arg(long)]
    region: Option<String>,
    /// The zone, such as eu-west-1a.
    #[arg(long)]
    zone: Option<String>,
    /// The instance id, i-…
    #[arg(long)]
    instance: Option<String>,
    /// The machine image, ami-…
    #[arg(long)]
    image: Option<String>,
    /// The kind of machine.
    #[arg(long, default_value = "m7g.large")]
    instance_type: String,
    /// When the launch began, as 2026-03-01T12:00:00Z; now, if not given.
    #[arg(long, value_parser = moment)]
    pending: Option<Wall>,
}

fn moment(text: &str) -> Result<Wall, String> {
    rfc3339::parse(text).ok_or_else(|| "expected a time like 2026-03-01T12:00:00Z".into())
}

fn main() -> ExitCode {
    match run(Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("keymesh-metadata: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: Options) -> Result<(), Box<dyn Error>> {
    if let Some(dir) = &options.new_signer {
        std::fs::create_dir_all(dir)?;
        make_signer(dir)?;
        let made = serde_json::json!({
            "key": dir.join("metadata-signer.pem"), "certificate": dir.join("metadata-certificate.pem"),
        });
        writeln!(io::stdout(), "{made}")?;
        return Ok(());
    }
    let needed = |option: &'static str| move || format!("--{option} is needed; see --help");
    let signer = Signer::load(&options.key_file.ok_or_else(needed("key-file"))?)?;
    let spec = InstanceSpec {
        account: options.account.ok_or_else(needed("account"))?,
        region: options.region.ok_or_else(needed("region"))?,
        zone: options.zone.ok_or_else(needed("zone"))?,
        instance: options.instance.ok_or_else(needed("instance"))?,
        image: options.image.ok_or_else(needed("image"))?,
        instance_type: options.instance_type,
        pending: options.pending.unwrap_or_else(wall_now),
    };
    let service = serve(spec, &signer, options.listen)?;
    writeln!(io::stdout(), "{}", serde_json::json!({ "url": service.url() }))?;
    service.wait()?;
    Ok(())
}
