//! The commands: each reads what it needs, asks, and reports.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use data_encoding::HEXLOWER;
use keymesh_agent::client::{Client, Trust};
use keymesh_agent::config::{self, Config};
use keymesh_agent::enrol::{self, Evidence};
use keymesh_agent::fleet::{Candidate, Fleet, FleetError, Times};
use keymesh_agent::handover::{self, HandoverError};
use keymesh_agent::keyfile::{self, KeyFileError, KeyKind};
use keymesh_agent::keys::{self, Class, Got};
use keymesh_agent::luks::{Cryptsetup, LuksError};
use keymesh_agent::metadata::{self, Metadata, MetadataError};
use keymesh_agent::quorum::Wanted;
use keymesh_agent::system;
use keymesh_agent::volume::{self, Place, Token, TokenFields, VolumeError};
use keymesh_wire::api::NodeInfo;
use keymesh_wire::codec;
use keymesh_wire::ids::{MeshId, TenantId};
use keymesh_wire::limits;
use keymesh_wire::request::Receipt;
use keymesh_wire::sign::Identity;
use keymesh_wire::ticket::TicketFile;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::cli::{Common, Failure, Receiver, Status, WantedKey};

/// How long one question to the metadata service may take.
const METADATA_WAIT: Duration = Duration::from_secs(3);

/// What a command that was carried out has to say.
#[derive(Debug)]
pub struct Report {
    /// For people.
    pub text: String,
    /// For programs.
    pub json: Value,
    /// For whoever looks after the mesh.
    pub warnings: Vec<String>,
    /// How the process ends.
    pub status: Status,
}

impl Report {
    fn new(text: impl Into<String>, mut json: Value, warnings: Vec<String>) -> Self {
        json["ok"] = true.into();
        json["warnings"] = warnings.clone().into();
        Self { text: text.into(), json, warnings, status: Status::Done }
    }
}

type Done = Result<Report, Failure>;

/// Flags and file together, flags first.
struct Settings {
    config: Config,
    wait: Option<Duration>,
}

impl Settings {
    fn read(common: &Common) -> Result<Self, Failure> {
        let file = match &common.config {
            Some(path) => Config::read(path)?,
            None => Config::read_if_there(Path::new(config::PATH))?,
        };
        let zone = common.zone.clone().or(file.zone);
        let metadata = common.metadata.or(file.metadata);
        let config = Config {
            mesh: common.mesh.or(file.mesh),
            tenant: common.tenant.or(file.tenant),
            nodes: if common.nodes.is_empty() { file.nodes } else { common.nodes.clone() },
            identity: common.identity.clone().or(file.identity),
            zone: match zone.as_deref() {
                Some("metadata") => {
                    Some(Metadata::connect(metadata.unwrap_or(metadata::DEFAULT), METADATA_WAIT)?.zone()?)
                }
                _ => zone,
            },
            metadata,
        };
        Ok(Self { config, wait: common.wait.map(|seconds| Duration::from_secs(seconds.into())) })
    }

    fn mesh(&self) -> Result<MeshId, Failure> {
        self.config.mesh.ok_or_else(|| missing("mesh", "--mesh"))
    }

    fn tenant(&self) -> Result<TenantId, Failure> {
        self.config.tenant.ok_or_else(|| missing("tenant", "--tenant"))
    }

    fn identity_path(&self) -> &Path {
        self.config.identity.as_deref().unwrap_or(Path::new(config::IDENTITY))
    }

    fn identity(&self) -> Result<Arc<Identity>, Failure> {
        Ok(Arc::new(keyfile::load(self.identity_path(), KeyKind::Agent)?))
    }

    fn metadata(&self) -> Result<Metadata, Failure> {
        Ok(Metadata::connect(self.config.metadata.unwrap_or(metadata::DEFAULT), METADATA_WAIT)?)
    }

    fn fleet(&self, mesh: MeshId, candidates: Vec<Candidate>, total: Duration) -> Fleet {
        let times = Times { total: self.wait.unwrap_or(total), ..Times::default() };
        Fleet { candidates, trust: Trust::Mesh(mesh), zone: self.config.zone.clone(), times }
    }
}

fn missing(what: &str, flag: &str) -> Failure {
    Failure::new(
        Status::Usage,
        format!("no {what} is known. Give {flag}, or `{what}` in the configuration ({})", config::PATH),
    )
}

/// Makes the agent's key.
pub fn identity_new(common: &Common) -> Done {
    let settings = Settings::read(common)?;
    let path = settings.identity_path();
    if settings.config.identity.is_none() {
        let folder = Path::new(config::IDENTITY).parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(folder).map_err(|error| {
            Failure::new(
                Status::Other,
                format!("cannot make folder {}: {error}. Name a file with --identity", folder.display()),
            )
        })?;
    }
    let identity = Identity::generate(&mut system::randomness());
    keyfile::create(path, KeyKind::Agent, &identity)?;
    Ok(identity_report(path, &identity))
}

/// Shows the agent's public key.
pub fn identity_show(common: &Common) -> Done {
    let settings = Settings::read(common)?;
    let identity = settings.identity()?;
    Ok(identity_report(settings.identity_path(), &identity))
}

fn identity_report(path: &Path, identity: &Identity) -> Report {
    let agent = identity.principal();
    Report::new(agent.to_string(), json!({ "agent": agent, "file": path }), Vec::new())
}

/// Binds this instance to the agent's key.
pub fn enrol(common: &Common, ticket: &Path, evidence: Option<&Path>) -> Done {
    let settings = Settings::read(common)?;
    let (mesh, tenant, identity) = (settings.mesh()?, settings.tenant()?, settings.identity()?);
    let file = Zeroizing::new(read_file(ticket, "launch ticket", TicketFile::LIMIT)?);
    let ticket = codec::decode::<TicketFile>(&file, TicketFile::LIMIT).map_err(|error| {
        Failure::new(
            Status::Usage,
            format!("{} is not a launch ticket as `keymesh ticket issue` writes it: {error}", ticket.display()),
        )
    })?;
    let pkcs7 = match evidence {
        Some(path) => read_file(path, "identity document", limits::EVIDENCE_BYTES)?,
        None => settings.metadata()?.identity_document()?,
    };
    let fleet = settings.fleet(mesh, settings.config.nodes.clone(), enrol::WAIT);
    let answered = enrol::enrol(&fleet, &identity, tenant, &Evidence::AwsIid { pkcs7 }, ticket)?;
    let (enrolled, agent) = (answered.value, identity.principal());
    let facts = &enrolled.facts;
    let text = format!(
        "enrolled {}\n  agent        {agent}\n  zone         {}\n  image        {}\n  launched by  {}\n  votes        {}",
        facts.instance, facts.zone, facts.image, facts.launched_by, enrolled.votes
    );
    let json = json!({ "agent": agent, "facts": facts, "votes": enrolled.votes, "node": answered.address });
    Ok(Report::new(text, json, texts(&answered.failures)))
}

fn texts<T: ToString>(items: &[T]) -> Vec<String> {
    items.iter().map(T::to_string).collect()
}

fn read_file(path: &Path, what: &str, limit: usize) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let most = limit as u64 + 1;
    let read = File::open(path).and_then(|file| file.take(most).read_to_end(&mut bytes));
    read.map_err(|error| Failure::new(Status::Other, format!("cannot read {what} {}: {error}", path.display())))?;
    if bytes.len() > limit {
        return Err(Failure::new(Status::Other, format!("{} is no {what}: over {limit} bytes", path.display())));
    }
    Ok(bytes)
}

/// Gets a key and hands it over.
pub fn key_get(common: &Common, wanted: &WantedKey, to: &Receiver) -> Done {
    let settings = Settings::read(common)?;
    if to.out_fd == Some(1) && common.json {
        return Err(Failure::new(Status::Usage, "descriptor 1 takes the key or --json, not both"));
    }
    let got = get(&settings, wanted)?;
    let mut json = release_json(wanted, &got);
    let text = if let Some(fd) = to.out_fd {
        handover::to_descriptor(&got.key, fd)?;
        json["out_fd"] = fd.into();
        String::new()
    } else if let Some(name) = &to.to_keyring {
        let serial = handover::to_keyring(&got.key, name)?;
        json["keyring"] = json!({ "description": name, "serial": serial });
        format!("key {serial} `{name}` in the user's keyring")
    } else {
        let hex = HEXLOWER.encode(got.key.expose_secret());
        json["revealed"] = hex.clone().into();
        hex
    };
    Ok(Report::new(text, json, got.warnings))
}

fn get(settings: &Settings, wanted: &WantedKey) -> Result<Got, Failure> {
    let (mesh, tenant, identity) = (settings.mesh()?, settings.tenant()?, settings.identity()?);
    let fleet = settings.fleet(mesh, settings.config.nodes.clone(), Times::default().total);
    let wanted_key = Wanted {
        mesh,
        tenant,
        key: wanted.key,
        version: wanted.key_version,
        root: wanted.root_public,
        receipt: Receipt::default(),
    };
    Ok(keys::get(&fleet, &identity, &wanted_key, wanted.class)?)
}

fn release_json(wanted: &WantedKey, got: &Got) -> Value {
    json!({
        "warnings": got.warnings,
        "key": wanted.key,
        "key_version": got.version,
        "class": wanted.class,
        "root_public": got.root,
        "node": got.address,
        "audit": got.audits,
    })
}

/// Makes a volume.
pub fn volume_format(common: &Common, file: &Path, wanted: &WantedKey, size: u64, overwrite: bool) -> Done {
    let settings = Settings::read(common)?;
    let cryptsetup = Cryptsetup::find()?;
    let (mesh, tenant) = (settings.mesh()?, settings.tenant()?);
    settings.identity()?;
    let place = Place::prepare(file, size, overwrite)?;
    let got = match get(&settings, wanted) {
        Ok(got) => got,
        Err(failure) => return Err(place.abandon(failure)),
    };
    let token = Token::new(TokenFields {
        mesh,
        tenant,
        key: wanted.key,
        key_version: got.version,
        class: wanted.class,
        addresses: settings.config.nodes.iter().map(|node| node.address).collect(),
        root_public: got.root,
    });
    place.format(&cryptsetup, &got.key, &token)?;
    let mut text = format!("formatted {}\n  key      {}\n  version  {}", file.display(), wanted.key, got.version);
    if let (Some(root), None) = (got.root, wanted.root_public) {
        let _ =
            write!(text, "\n  root     {root}\n           pinned as the node showed it: compare it with the tenant's");
    }
    let mut json = release_json(wanted, &got);
    json["file"] = json!(file);
    json["token"] = json!(token);
    Ok(Report::new(text, json, got.warnings))
}

/// Opens a volume, or tests whether its key opens it.
pub fn volume_unlock(common: &Common, file: &Path, name: Option<&str>) -> Done {
    let mut settings = Settings::read(common)?;
    let cryptsetup = Cryptsetup::find()?;
    let token = volume::read_token(&cryptsetup, file)?;
    let other = |what: &str, ours: &dyn ToString, its: &dyn ToString| {
        let (file, ours, its) = (file.display(), ours.to_string(), its.to_string());
        Failure::new(Status::Refused, format!("{file} is for {what} {its}, this agent is configured for {ours}"))
    };
    match (settings.config.mesh, settings.config.tenant) {
        (Some(mesh), _) if mesh != token.mesh => return Err(other("mesh", &mesh, &token.mesh)),
        (_, Some(tenant)) if tenant != token.tenant => return Err(other("tenant", &tenant, &token.tenant)),
        _ => {}
    }
    settings.config.mesh = Some(token.mesh);
    settings.config.tenant = Some(token.tenant);
    // Nodes that are configured know where they are; the token's may have moved since.
    for address in &token.addresses {
        if !settings.config.nodes.iter().any(|node| node.address == *address) {
            settings.config.nodes.push(Candidate { address: *address, zone: None });
        }
    }
    let wanted = WantedKey {
        key: token.key,
        key_version: Some(token.key_version),
        class: token.class,
        root_public: token.root_public,
    };
    let got = get(&settings, &wanted)?;
    let text = match name {
        Some(name) => {
            cryptsetup.open(file, name, &got.key)?;
            format!("{} is open as /dev/mapper/{name}", file.display())
        }
        None => {
            cryptsetup.test(file, &got.key)?;
            format!("the key from {} opens {}", got.address, file.display())
        }
    };
    let mut json = release_json(&wanted, &got);
    json["file"] = json!(file);
    json["name"] = json!(name);
    Ok(Report::new(text, json, got.warnings))
}

/// Shows what a volume's token says.
pub fn volume_show(common: &Common, file: &Path) -> Done {
    Settings::read(common)?;
    let token = volume::read_token(&Cryptsetup::find()?, file)?;
    let addresses: Vec<String> = texts(&token.addresses);
    let mut text = format!(
        "mesh     {}\ntenant   {}\nkey      {}\nversion  {}\nclass    {}\nnodes    {}",
        token.mesh,
        token.tenant,
        token.key,
        token.key_version,
        token.class,
        addresses.join(" ")
    );
    if let (Class::Quorum, Some(root)) = (token.class, token.root_public) {
        let _ = write!(text, "\nroot     {root}");
    }
    Ok(Report::new(text, json!({ "file": file, "token": token }), Vec::new()))
}

/// Asks every configured node who it is.
pub fn status(common: &Common) -> Done {
    let settings = Settings::read(common)?;
    let mesh = settings.mesh()?;
    if settings.config.nodes.is_empty() {
        return Err(FleetError::NoAddresses.into());
    }
    let within = settings.wait.unwrap_or(Times::default().connect);
    let (sender, answers) = mpsc::channel();
    for (place, node) in settings.config.nodes.iter().enumerate() {
        let (sender, address) = (sender.clone(), node.address);
        std::thread::spawn(move || {
            let asked = Client::connect(address, &Trust::Mesh(mesh), within).and_then(|mut client| {
                let card = client.members().and_then(|members| members.node(&client.node())).cloned();
                Ok((client.get_json::<NodeInfo>("/v1/node")?, card, client.connected_in()))
            });
            // Nobody has stopped waiting: the receiver below takes all.
            let _ = sender.send((place, address, asked));
        });
    }
    drop(sender);
    let mut answers: Vec<_> = answers.iter().collect();
    answers.sort_by_key(|(place, ..)| *place);
    let (mut text, mut nodes, mut reached) = (String::new(), Vec::new(), 0);
    for (_, address, asked) in answers {
        match asked {
            Ok((info, card, took)) => {
                reached += 1;
                let (name, zone) = card.map_or_else(Default::default, |card| (card.name, card.zone));
                let ms = took.as_secs_f64() * 1000.0;
                let _ = writeln!(text, "{address:<22} {name:<12} {zone:<20} {ms:>8.1} ms  {}", info.version);
                nodes.push(json!({ "address": address, "ok": true, "name": name, "zone": zone, "connected_ms": ms,
                    "node": info.node, "version": info.version, "level": info.level, "time": info.time }));
            }
            Err(error) => {
                let _ = writeln!(text, "{error}");
                nodes
                    .push(json!({ "address": address, "ok": false, "code": error.code(), "error": error.to_string() }));
            }
        }
    }
    let mut report = Report::new(text, json!({ "mesh": mesh, "nodes": nodes }), Vec::new());
    if reached == 0 {
        report.status = Status::Unreachable;
        report.json["ok"] = false.into();
    }
    Ok(report)
}

impl From<FleetError> for Failure {
    fn from(error: FleetError) -> Self {
        let status = match &error {
            FleetError::NoAddresses => Status::Usage,
            FleetError::Refused { .. } => Status::Refused,
            FleetError::Exhausted { .. } if error.reached() => Status::Other,
            FleetError::Exhausted { .. } => Status::Unreachable,
        };
        Self { status, code: error.code(), text: error.to_string() }
    }
}

impl From<KeyFileError> for Failure {
    fn from(error: KeyFileError) -> Self {
        let refused = matches!(error, KeyFileError::Exists { .. });
        let mut text = error.to_string();
        if let KeyFileError::Io { source, doing: "open", .. } = &error
            && source.kind() == io::ErrorKind::NotFound
        {
            text.push_str(". Make one with `keymesh-agent identity new`, or name it with --identity");
        }
        Self::new(if refused { Status::Refused } else { Status::Other }, text)
    }
}

impl From<MetadataError> for Failure {
    fn from(error: MetadataError) -> Self {
        Self::new(Status::Other, error)
    }
}

impl From<LuksError> for Failure {
    fn from(error: LuksError) -> Self {
        let missing = matches!(error, LuksError::Missing);
        Self::new(if missing { Status::Missing } else { Status::Other }, error)
    }
}

impl From<VolumeError> for Failure {
    fn from(error: VolumeError) -> Self {
        match error {
            VolumeError::Luks(error) => error.into(),
            VolumeError::Exists { .. } => Self::new(Status::Refused, error),
            VolumeError::Io { .. }
            | VolumeError::Unfit { .. }
            | VolumeError::NoToken { .. }
            | VolumeError::Token { .. } => Self::new(Status::Other, error),
        }
    }
}

impl From<HandoverError> for Failure {
    fn from(error: HandoverError) -> Self {
        let refused = matches!(error, HandoverError::Terminal { .. });
        Self::new(if refused { Status::Refused } else { Status::Other }, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_has_its_own_status_and_names_its_package() {
        let failure = Failure::from(VolumeError::from(LuksError::Missing));
        assert_eq!(failure.status, Status::Missing);
        assert!(failure.text.ends_with("apt-get install cryptsetup-bin"), "{}", failure.text);
    }
}
