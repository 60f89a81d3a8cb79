//! A node at work: opens its disk, steps the core, talks to the other nodes, serves its doors.
//!
//! One thread steps the core and writes its batches ([`core`]); the runtime's workers decide about releases on the view it
//! publishes ([`crate::ops`]), answer other nodes as a custodian ([`custodian`]) and carry messages ([`dispatch`]). This is
//! the thin half of a node: what any of it means is decided in `keymesh-mesh`.

pub mod audit;
pub mod clock;
pub mod core;
pub mod crash;
pub mod custodian;
pub mod dispatch;
pub mod metrics;
pub mod open;
pub mod peers;
pub mod rate;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use getrandom::SysRng;
use keymesh_mesh::replica::{Replica, ReplicaConfig, RestoreError};
use keymesh_wire::ids::NodeId;
use rand_core::UnwrapErr;
use tokio::runtime::Handle;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use zeroize::Zeroizing;

use self::core::{Command, Core};
use self::open::{Opened, open};
use crate::config::{Config, Log, LogFormat, LogLevel};
use crate::disk::error::DiskError;
use crate::doors::native::{self, Door, DoorError};
use crate::keyfile::KeyFileError;
use crate::ops::{Node, Parts};
use crate::transport::{Limits, Transport, TransportConfig, TransportError};

/// Commands waiting for the core.
const COMMANDS: usize = 1024;
/// How long a stop may take before what is left is abandoned.
const STOP: Duration = Duration::from_millis(1_500);

/// Why a node did not start, or ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// The node's key file.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// The data directory.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The mesh's genesis file.
    #[error("{path} is not the genesis of this node's mesh: {what}", path = path.display())]
    Genesis {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// What was stored does not make a replica.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// The connections to other nodes.
    #[error("for other nodes (listen.mesh): {0}")]
    Transport(#[from] TransportError),
    /// The native door.
    #[error("for agents and people (listen.door): {0}")]
    Door(#[from] DoorError),
    /// The operating system gave no threads or signals.
    #[error("cannot start the node's threads: {0}")]
    Threads(#[source] io::Error),
    /// The core's thread broke an assertion; its words are in the log.
    #[error("the core ended unexpectedly; nothing acknowledged is lost, start the node again and report the log")]
    Core,
}

/// Runs a node until SIGTERM or ctrl-c, or until it cannot go on.
///
/// # Errors
/// [`RuntimeError`], whose words are complete.
pub fn run(config: Config) -> Result<(), RuntimeError> {
    let hardening = crate::hardening::harden();
    log_to_stderr(config.log);
    if hardening.is_complete() {
        tracing::info!("{hardening}");
    } else {
        tracing::warn!("{hardening}");
    }
    if config.clock_offset_ms != 0 {
        tracing::warn!(offset_ms = config.clock_offset_ms, "testing: this node's wall clock is wrong on purpose");
        clock::set_offset(config.clock_offset_ms);
    }
    let opened = open(config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(RuntimeError::Threads)?;
    let outcome = runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).map_err(RuntimeError::Threads)?;
        let mut running = Running::start(opened)?;
        tokio::select! {
            _ = terminate.recv() => tracing::info!("SIGTERM: stopping"),
            _ = tokio::signal::ctrl_c() => tracing::info!("interrupted: stopping"),
            ended = running.ended() => return Err(ended),
        }
        running.stop().await
    });
    runtime.shutdown_timeout(Duration::from_millis(300));
    outcome
}

/// Sends the log to standard error; does nothing if the process has a log already.
fn log_to_stderr(log: Log) {
    let level = match log.level {
        LogLevel::Error => tracing::Level::ERROR,
        LogLevel::Warn => tracing::Level::WARN,
        LogLevel::Info => tracing::Level::INFO,
        LogLevel::Debug => tracing::Level::DEBUG,
        LogLevel::Trace => tracing::Level::TRACE,
    };
    let build = tracing_subscriber::fmt().with_max_level(level).with_writer(io::stderr);
    // A process that logs already goes on as it does.
    let _ = match log.format {
        LogFormat::Text => build.with_ansi(false).try_init(),
        LogFormat::Json => build.json().try_init(),
    };
}

/// A node that runs on the current asynchronous runtime.
#[derive(Debug)]
pub struct Running {
    node: Arc<Node>,
    door: Door,
    core_ended: oneshot::Receiver<Result<(), DiskError>>,
    tasks: Vec<JoinHandle<()>>,
    _data: crate::disk::DataDir,
}

impl Running {
    /// Opens the disk and starts; for callers on an asynchronous runtime.
    ///
    /// # Errors
    /// [`RuntimeError`].
    pub async fn open_and_start(config: Config) -> Result<Self, RuntimeError> {
        let opened = tokio::task::spawn_blocking(move || open(config)).await.map_err(|_| RuntimeError::Core)??;
        Self::start(opened)
    }

    /// Starts the core, the connections to other nodes and the doors.
    ///
    /// # Errors
    /// [`RuntimeError`]; then nothing is left running.
    pub fn start(opened: Opened) -> Result<Self, RuntimeError> {
        let Opened { config, identity, stored, disk, audit, custodian, metrics, warnings, data } = opened;
        let me = identity.principal();
        let replica_config = ReplicaConfig {
            identity: identity.clone(),
            mesh: config.mesh,
            clock_tolerance: config.clock_max_difference,
            refresh_after: config.refresh_after,
        };
        let (replica, first) = Replica::restore(replica_config, stored, clock::now(), &mut randomness())?;
        // Both ports are taken before anything runs, so that a refusal leaves nothing behind.
        let bound = native::bind(&identity, &config)?;
        let mut transport = TransportConfig::new(Zeroizing::new(*identity.expose_seed()), vec![config.listen.mesh]);
        transport.limits = Limits { queue_frames: config.limits.peer_queue, ..Limits::default() };
        let (transport, events) = Transport::start(transport)?;
        let (commands, receiver) = mpsc::channel(COMMANDS);
        let node = Arc::new(Node::new(Parts {
            me,
            identity: identity.clone(),
            mesh: config.mesh,
            clock_tolerance: config.clock_max_difference,
            metrics,
            audit,
            transport,
            commands,
            custodian,
            view: replica.view().clone(),
        }));
        for warning in warnings {
            node.warn(warning);
        }
        let store = disk.store.clone();
        let core = Core { replica, disk, node: node.clone(), commands: receiver, runtime: Handle::current() };
        let (ended, core_ended) = oneshot::channel();
        std::thread::Builder::new()
            .name("core".to_owned())
            .spawn(move || {
                let outcome = core.run(first);
                // Nobody listens any more if the node was dropped.
                let _ = ended.send(outcome);
            })
            .map_err(RuntimeError::Threads)?;
        let tasks = vec![
            tokio::spawn(dispatch::events(node.clone(), events)),
            tokio::spawn(dispatch::hellos(node.clone(), store)),
        ];
        let door = native::serve(bound, node.clone());
        tracing::info!(node = %me, name = config.name, zone = %config.zone, door = %door.address(), "serving");
        Ok(Self { node, door, core_ended, tasks, _data: data })
    }

    /// What doors ask.
    pub fn node(&self) -> &Arc<Node> {
        &self.node
    }

    /// This node.
    pub fn id(&self) -> NodeId {
        self.node.me
    }

    /// Where the native door listens.
    pub fn door(&self) -> SocketAddr {
        self.door.address()
    }

    /// Returns when the node cannot go on, with the reason.
    pub async fn ended(&mut self) -> RuntimeError {
        match (&mut self.core_ended).await {
            Ok(Err(error)) => {
                tracing::error!(%error, "the node ends");
                error.into()
            }
            Ok(Ok(())) | Err(_) => RuntimeError::Core,
        }
    }

    /// Stops: no new requests, what is under way is finished for a moment, the core writes its last batch.
    ///
    /// # Errors
    /// [`RuntimeError::Disk`] if that batch could not be written.
    pub async fn stop(self) -> Result<(), RuntimeError> {
        let Self { node, door, core_ended, tasks, _data } = self;
        node.stop();
        let stopping = async {
            door.stop().await;
            // A core that has ended already is as good.
            let _ = node.commands.send(Command::Stop).await;
            let outcome = core_ended.await;
            node.transport.shutdown().await;
            outcome
        };
        let outcome = tokio::time::timeout(STOP, stopping).await;
        for task in tasks {
            task.abort();
            // The task holds the node; its end must be seen before the disk is free.
            let _ = task.await;
        }
        match outcome {
            Ok(Ok(Err(error))) => Err(error.into()),
            Ok(Ok(Ok(()))) => Ok(()),
            Ok(Err(_)) => Err(RuntimeError::Core),
            Err(_) => {
                tracing::warn!("stopping took too long; what was under way is abandoned");
                Ok(())
            }
        }
    }
}

/// The operating system's generator. A system without randomness can do nothing for us, so its failure ends the thread.
pub(crate) fn randomness() -> UnwrapErr<SysRng> {
    UnwrapErr(SysRng)
}

/// Random bytes that are not secret.
pub(crate) fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    rand_core::Rng::fill_bytes(&mut randomness(), &mut bytes);
    bytes
}
