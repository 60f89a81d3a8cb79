//! The nearest node, and the next one when it does not answer.
//!
//! Guarantees: all addresses are tried at once (at most [`AT_ONCE`]); the first node of the agent's own zone is asked,
//! or after a short grace whichever node was ready first, which is what latency and load make of "nearest"; a node that
//! keeps silent is not waited for: after [`Times::hedge`] the next is asked the same, and the first answer wins; rounds
//! are repeated, with growing pauses, until [`Times::total`] is over, so a network that is not up yet at boot costs
//! seconds and no failure, unless nothing that went wrong can pass. What went wrong at each address is kept and told.
//!
//! One node alone cannot turn an instance away: a refusal, or whatever else it calls final, counts once a second node says
//! no as well, where a second can be reached. The one may be behind the others, or hostile.
//!
//! Leaves to others: what is asked. It may reach several nodes, so it carries one request id.

use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use keymesh_wire::error::Code;
use keymesh_wire::time::Millis;

use crate::client::{Client, Trust};
use crate::error::ClientError;
use crate::system;

/// Connections attempted at the same time.
pub const AT_ONCE: usize = 8;

/// Addresses taken from one configuration or token.
pub const MOST_ADDRESSES: usize = 32;

/// A node's address, with its zone where that is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Where its door is.
    pub address: SocketAddr,
    /// Its zone, as `provider/zone`. A membership says it too, once one node was reached.
    pub zone: Option<String>,
}

/// How long things may take.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// Until a node is connected and known.
    pub connect: Duration,
    /// Until a node that was asked has answered.
    pub request: Duration,
    /// Until the next node is asked as well.
    pub hedge: Duration,
    /// How much longer than the first node one of the own zone may take to connect.
    pub grace: Duration,
    /// Everything together, all rounds.
    pub total: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(3),
            request: Duration::from_secs(10),
            hedge: Duration::from_millis(500),
            grace: Duration::from_millis(30),
            total: Duration::from_secs(20),
        }
    }
}

/// The nodes an agent may ask.
#[derive(Debug, Clone)]
pub struct Fleet {
    /// Their addresses; at most [`MOST_ADDRESSES`] are used.
    pub candidates: Vec<Candidate>,
    /// By what they are known.
    pub trust: Trust,
    /// The agent's own zone.
    pub zone: Option<String>,
    /// How long things may take.
    pub times: Times,
}

/// An answer, and what went wrong before it came.
#[derive(Debug)]
pub struct Answered<T> {
    /// The answer.
    pub value: T,
    /// Who gave it.
    pub address: SocketAddr,
    /// What failed elsewhere until then, newest last, one entry an address.
    pub failures: Vec<ClientError>,
}

/// Why no node gave an answer.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// There is nobody to ask.
    #[error("no node addresses are known: name some with --node, or as `nodes` in the configuration")]
    NoAddresses,
    /// The answer is no.
    #[error("{source}{}", Failures(.failures))]
    Refused {
        /// By whom, with the node's error.
        source: Box<ClientError>,
        /// What failed elsewhere.
        failures: Vec<ClientError>,
    },
    /// Nobody gave an answer in time.
    #[error("no node gave an answer in {}{}", Effort(.waited, .rounds), Failures(.failures))]
    Exhausted {
        /// How long was tried.
        waited: Duration,
        /// How often every address was tried.
        rounds: u32,
        /// The last failure at each address.
        failures: Vec<ClientError>,
    },
}

impl FleetError {
    /// The code of a refusal, or the newest one among the failures.
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::NoAddresses => None,
            Self::Refused { source, .. } => source.code(),
            Self::Exhausted { failures, .. } => failures.iter().rev().find_map(ClientError::code),
        }
    }

    /// Whether any node was reached at all and answered with an error of its own.
    pub fn reached(&self) -> bool {
        match self {
            Self::NoAddresses => false,
            Self::Refused { .. } => true,
            Self::Exhausted { failures, .. } => failures.iter().any(|failure| failure.code().is_some()),
        }
    }
}

/// How long and how often was tried, in words.
struct Effort<'a>(&'a Duration, &'a u32);

impl fmt::Display for Effort<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waited = Millis(u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX));
        match self.1 {
            1 => write!(f, "{waited}, asked once"),
            rounds => write!(f, "{waited}, asked {rounds} times"),
        }
    }
}

struct Failures<'a>(&'a [ClientError]);

impl fmt::Display for Failures<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|failure| write!(f, "\n  {failure}"))
    }
}

enum Event<T> {
    Connected(usize, Result<Client, ClientError>),
    Answered(SocketAddr, Result<T, ClientError>),
}

/// How a round ended without an answer.
enum Ending {
    Refused(ClientError),
    Over,
}

impl Fleet {
    /// Asks the nearest node, or the next, until one answers. `ask` runs on a thread of its own, possibly for several
    /// nodes at a time; what it returns too late is dropped.
    ///
    /// # Errors
    /// [`FleetError::Refused`] for an error that another node would give as well, [`FleetError::Exhausted`] otherwise.
    pub fn ask<T, F>(&self, ask: F) -> Result<Answered<T>, FleetError>
    where
        T: Send + 'static,
        F: Fn(Client) -> Result<T, ClientError> + Send + Sync + 'static,
    {
        if self.candidates.is_empty() {
            return Err(FleetError::NoAddresses);
        }
        let started = Instant::now();
        let deadline = started + self.times.total;
        let ask = Arc::new(ask);
        let mut failures = Vec::new();
        let mut pause = Duration::from_millis(200);
        for rounds in 1.. {
            match self.round(&ask, deadline, &mut failures) {
                Ok((value, address)) => {
                    failures.retain(|failure| failure.address() != address);
                    return Ok(Answered { value, address, failures });
                }
                Err(Ending::Refused(source)) => {
                    failures.retain(|failure| failure.address() != source.address());
                    return Err(FleetError::Refused { source: Box::new(source), failures });
                }
                Err(Ending::Over) => {}
            }
            // Machines that boot together must not come back together.
            let [jitter] = system::random_bytes::<1>();
            let next = pause + pause * u32::from(jitter) / 512;
            let in_vain = !failures.iter().any(ClientError::passing);
            if in_vain || Instant::now() + next >= deadline {
                return Err(FleetError::Exhausted { waited: started.elapsed(), rounds, failures });
            }
            thread::sleep(next);
            pause = (pause * 2).min(Duration::from_secs(5));
        }
        unreachable!("the loop counts until it returns")
    }

    fn round<T, F>(
        &self,
        ask: &Arc<F>,
        deadline: Instant,
        failures: &mut Vec<ClientError>,
    ) -> Result<(T, SocketAddr), Ending>
    where
        T: Send + 'static,
        F: Fn(Client) -> Result<T, ClientError> + Send + Sync + 'static,
    {
        let (events, mailbox) = channel::<Event<T>>();
        let mut waiting: VecDeque<usize> = self.order().into();
        let (mut connecting, mut asked) = (0, 0);
        let mut ready: Vec<(usize, Client)> = Vec::new();
        let mut first_ready = None;
        let mut last_asked: Option<Instant> = None;
        let mut refusal: Option<ClientError> = None;
        loop {
            while connecting < AT_ONCE
                && let Some(place) = waiting.pop_front()
            {
                connecting += 1;
                self.connect(place, events.clone());
            }
            let now = Instant::now();
            // The moment from which the next node may be asked.
            let own_is_ready = ready.iter().any(|(place, client)| self.is_near(*place, client));
            let due = match (first_ready, last_asked) {
                _ if ready.is_empty() => None,
                (_, Some(last)) if asked > 0 => Some(last + self.times.hedge),
                (Some(first), None) if !own_is_ready && connecting > 0 && self.zone.is_some() => {
                    Some(first + self.times.grace)
                }
                _ => Some(now),
            };
            if due.is_some_and(|due| due <= now)
                && let Some((_, client)) = self.take_nearest(&mut ready)
            {
                asked += 1;
                last_asked = Some(now);
                self.start(ask.clone(), client, events.clone());
                continue;
            }
            if connecting == 0 && asked == 0 && ready.is_empty() {
                return Err(refusal.map_or(Ending::Over, Ending::Refused));
            }
            let until = due.map_or(deadline, |due| due.min(deadline));
            match receive(&mailbox, until) {
                Ok(Event::Connected(place, result)) => {
                    connecting -= 1;
                    match result {
                        Ok(client) => {
                            first_ready.get_or_insert_with(Instant::now);
                            ready.push((place, client));
                        }
                        Err(failure) => note(failures, failure),
                    }
                }
                Ok(Event::Answered(address, Ok(value))) => return Ok((value, address)),
                Ok(Event::Answered(_, Err(failure))) => {
                    asked -= 1;
                    match &refusal {
                        _ if failure.retryable() => note(failures, failure),
                        None => refusal = Some(failure),
                        Some(_) => return Err(Ending::Refused(failure)),
                    }
                }
                Err(RecvTimeoutError::Timeout) if Instant::now() >= deadline => {
                    return Err(refusal.map_or(Ending::Over, Ending::Refused));
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => unreachable!("this function keeps a sender"),
            }
        }
    }

    /// Places of the candidates, those of the own zone first, the others as configured.
    fn order(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.candidates.len().min(MOST_ADDRESSES)).collect();
        order.sort_by_key(|place| self.zone.is_none() || self.candidates[*place].zone != self.zone);
        order
    }

    fn is_near(&self, place: usize, client: &Client) -> bool {
        let signed = client.members().and_then(|members| members.node(&client.node())).map(|card| &card.zone);
        // What was signed about the node goes before what somebody wrote into a file.
        self.zone.is_some() && signed.or(self.candidates[place].zone.as_ref()) == self.zone.as_ref()
    }

    fn take_nearest(&self, ready: &mut Vec<(usize, Client)>) -> Option<(usize, Client)> {
        let nearest = (0..ready.len()).min_by_key(|at| {
            let (place, client) = &ready[*at];
            (!self.is_near(*place, client), client.connected_in())
        })?;
        Some(ready.swap_remove(nearest))
    }

    fn connect<T: Send + 'static>(&self, place: usize, events: Sender<Event<T>>) {
        let (address, trust, within) = (self.candidates[place].address, self.trust.clone(), self.times.connect);
        // A receiver that is gone has its answer already.
        spawn(move || _ = events.send(Event::Connected(place, Client::connect(address, &trust, within))));
    }

    fn start<T, F>(&self, ask: Arc<F>, mut client: Client, events: Sender<Event<T>>)
    where
        T: Send + 'static,
        F: Fn(Client) -> Result<T, ClientError> + Send + Sync + 'static,
    {
        client.set_timeout(self.times.request);
        let address = client.address();
        spawn(move || _ = events.send(Event::Answered(address, ask(client))));
    }
}

fn spawn(work: impl FnOnce() + Send + 'static) {
    // The system's refusal of a thread at boot is not something to go on from.
    thread::Builder::new().name("node".into()).spawn(work).expect("a thread");
}

fn receive<T>(mailbox: &Receiver<Event<T>>, until: Instant) -> Result<Event<T>, RecvTimeoutError> {
    mailbox.recv_timeout(until.saturating_duration_since(Instant::now()))
}

/// Keeps the newest failure of each address.
fn note(failures: &mut Vec<ClientError>, failure: ClientError) {
    failures.retain(|earlier| earlier.address() != failure.address());
    failures.push(failure);
}

/// Something signed that several nodes are asked with, made anew before it is too old to be taken.
#[derive(Debug)]
pub struct Renewed<T> {
    made: Mutex<Option<(Instant, Arc<T>)>>,
    life: Duration,
}

impl<T> Renewed<T> {
    /// Nothing yet; what is made serves for `life`.
    pub fn new(life: Duration) -> Self {
        Self { made: Mutex::new(None), life }
    }

    /// The current one, or what `make` makes.
    pub fn get(&self, make: impl FnOnce() -> T) -> Arc<T> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        match &*made {
            Some((at, current)) if at.elapsed() < self.life => current.clone(),
            _ => made.insert((Instant::now(), Arc::new(make()))).1.clone(),
        }
    }
}

#[cfg(test)]
#[path = "fleet_tests.rs"]
mod tests;
