//! An emulator of the EC2 instance metadata service, as far as an agent needs it to show who it is.
//!
//! Guarantees: it answers as the real service does where a client could get it wrong (session tokens of IMDSv2 are
//! obligatory and expire, proxied requests for tokens are refused, unknown paths are 404), and what it serves under
//! `/latest/dynamic/instance-identity/rsa2048` has the structure AWS's signatures have, signed by a test key whose
//! certificate a tenant can pin. It implements IMDSv2 alone, without the IPv6 endpoint, the hop limit, credentials or
//! user data, and it has no business outside tests and the demo.

mod signer;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use data_encoding::BASE64URL_NOPAD;
use keymesh_mesh::evidence::rfc3339;
use keymesh_wire::time::Wall;
use tokio::sync::oneshot;

pub use signer::{CERTIFICATE_FILE, SIGNER_FILE, Signer, SignerError, make_signer, sign_document};

const TOKEN_PATH: &str = "/latest/api/token";
const TOKEN_HEADER: &str = "x-aws-ec2-metadata-token";
const TTL_HEADER: &str = "x-aws-ec2-metadata-token-ttl-seconds";
/// Six hours, the longest life the real service grants.
const MAX_TTL: u64 = 21_600;
/// Tokens kept at once; a client that asks for more loses the ones that expire first.
const MAX_TOKENS: usize = 1024;

/// The instance an emulator speaks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceSpec {
    /// The owning account: twelve digits.
    pub account: String,
    /// The region: `eu-west-1`.
    pub region: String,
    /// The zone: `eu-west-1a`.
    pub zone: String,
    /// The instance: `i-…`.
    pub instance: String,
    /// The machine image: `ami-…`.
    pub image: String,
    /// The kind of machine: `m7g.large`.
    pub instance_type: String,
    /// When the launch began.
    pub pending: Wall,
}

impl InstanceSpec {
    /// The identity document, laid out as AWS lays it out.
    pub fn document(&self) -> String {
        let pending = rfc3339::format(self.pending);
        let fields = [
            ("accountId", Some(&self.account)),
            ("architecture", Some(&"x86_64".into())),
            ("availabilityZone", Some(&self.zone)),
            ("billingProducts", None),
            ("devpayProductCodes", None),
            ("marketplaceProductCodes", None),
            ("imageId", Some(&self.image)),
            ("instanceId", Some(&self.instance)),
            ("instanceType", Some(&self.instance_type)),
            ("kernelId", None),
            ("pendingTime", Some(&pending)),
            ("privateIp", Some(&"10.0.0.7".into())),
            ("ramdiskId", None),
            ("region", Some(&self.region)),
            ("version", Some(&"2017-09-30".into())),
        ];
        let lines = fields.map(|(name, value)| {
            let value = value.map_or(serde_json::Value::Null, |text| text.as_str().into());
            format!("  \"{name}\" : {value}")
        });
        format!("{{\n{}\n}}", lines.join(",\n"))
    }
}

/// The present moment by this machine's wall clock, for a launch that begins now.
pub fn wall_now() -> Wall {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Wall(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// A running emulator. Dropping it closes the service.
#[derive(Debug)]
pub struct Running {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Running {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The base of its URLs, without a final slash.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Waits until the service ends by itself, which only a failure makes it do.
    pub fn wait(mut self) -> io::Result<()> {
        self.thread.take().map_or(Ok(()), join)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // Whoever drops it has no use for the reason it ended.
            let _ = join(thread);
        }
    }
}

fn join(thread: JoinHandle<io::Result<()>>) -> io::Result<()> {
    thread.join().unwrap_or_else(|_| Err(io::Error::other("the metadata service panicked")))
}

/// Serves one instance's metadata on `listen`, in a thread of its own. Port 0 takes a free port.
///
/// The document is signed once, now, as AWS signs it once, moments after the launch.
pub fn serve(spec: InstanceSpec, signer: &Signer, listen: SocketAddr) -> io::Result<Running> {
    let document = spec.document();
    let signature = sign_document(signer, &document).map_err(io::Error::other)?;
    let service = Arc::new(Service { spec, document, signature, tokens: Mutex::default() });

    let listener = TcpListener::bind(listen)?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (stop, stopped) = oneshot::channel::<()>();
    let thread = std::thread::Builder::new().name("metadata".into()).spawn(move || {
        let served = runtime.block_on(async move {
            let app = Router::new().fallback(answer).with_state(service);
            let listener = tokio::net::TcpListener::from_std(listener)?;
            // Not a graceful stop: idle keep-alive connections of clients must not hold the caller back.
            tokio::select! {
                served = axum::serve(listener, app) => served,
                _ = stopped => Ok(()),
            }
        });
        runtime.shutdown_background();
        served
    })?;
    Ok(Running { address, stop: Some(stop), thread: Some(thread) })
}

struct Service {
    spec: InstanceSpec,
    document: String,
    signature: String,
    tokens: Mutex<HashMap<String, Instant>>,
}

async fn answer(State(service): State<Arc<Service>>, method: Method, uri: Uri, headers: HeaderMap) -> Response {
    match method {
        Method::PUT if uri.path() == TOKEN_PATH => service.new_token(&headers),
        Method::GET | Method::HEAD => service.get(uri.path(), &headers),
        _ => StatusCode::METHOD_NOT_ALLOWED.into_response(),
    }
}

impl Service {
    fn new_token(&self, headers: &HeaderMap) -> Response {
        // A proxy in front of an instance must not hand its identity to strangers.
        if headers.contains_key("x-forwarded-for") {
            return StatusCode::FORBIDDEN.into_response();
        }
        let ttl = headers.get(TTL_HEADER).and_then(|ttl| ttl.to_str().ok()?.parse::<u64>().ok());
        let Some(ttl) = ttl.filter(|ttl| (1..=MAX_TTL).contains(ttl)) else {
            return StatusCode::BAD_REQUEST.into_response();
        };
        let mut token = [0; 42];
        if getrandom::fill(&mut token).is_err() {
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        }
        let token = BASE64URL_NOPAD.encode(&token);
        let now = Instant::now();
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.retain(|_, end| *end > now);
        if tokens.len() >= MAX_TOKENS {
            let first = tokens.iter().min_by_key(|(_, end)| **end).map(|(token, _)| token.clone());
            first.map(|token| tokens.remove(&token));
        }
        tokens.insert(token.clone(), now + Duration::from_secs(ttl));
        ([(TTL_HEADER, ttl.to_string())], token).into_response()
    }

    fn get(&self, path: &str, headers: &HeaderMap) -> Response {
        let token = headers.get(TOKEN_HEADER).and_then(|token| token.to_str().ok());
        let tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        let end = token.and_then(|token| tokens.get(token));
        if end.is_none_or(|end| *end <= Instant::now()) {
            return StatusCode::UNAUTHORIZED.into_response();
        }
        let text = match path {
            "/latest/dynamic/instance-identity/document" => &self.document,
            "/latest/dynamic/instance-identity/rsa2048" => &self.signature,
            "/latest/meta-data/ami-id" => &self.spec.image,
            "/latest/meta-data/instance-id" => &self.spec.instance,
            "/latest/meta-data/instance-type" => &self.spec.instance_type,
            "/latest/meta-data/placement/availability-zone" => &self.spec.zone,
            "/latest/meta-data/placement/region" => &self.spec.region,
            _ => return StatusCode::NOT_FOUND.into_response(),
        };
        text.clone().into_response()
    }
}
