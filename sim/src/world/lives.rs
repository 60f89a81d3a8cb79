//! How nodes start, stop and fall over.

use super::*;

impl World {
    /// Puts the mesh's genesis on every disk and starts all nodes.
    pub fn start_all(&mut self, genesis: &Checked) {
        self.mesh = Some(MeshId::from(genesis.id()));
        for node in 0..self.nodes.len() {
            self.nodes[node].disk = Disk::with(genesis.document(), [(genesis.id(), genesis.bytes().to_vec())]);
            self.saw(Seen::Stored { node, id: genesis.id(), bytes: genesis.bytes() });
            self.start(node);
        }
    }

    /// Stops a node as the power does: what is not on its disk is gone.
    pub fn crash(&mut self, node: usize) {
        self.crash_at(node, Boundary::Idle);
    }

    pub(super) fn crash_at(&mut self, node: usize, boundary: Boundary) {
        let Some(gone) = self.nodes[node].running.take() else { return };
        self.nodes[node].held = None;
        self.trace.note(self.at, format!("n{} crashed", node + 1));
        self.saw(Seen::Crashed { node, boundary });
        let id = self.nodes[node].id();
        for peer in gone.linked {
            let Some(place) = self.route(node, &peer) else { continue };
            if self.route(place, &id) == Some(node)
                && let Some(running) = &mut self.nodes[place].running
                && running.linked.remove(&id)
            {
                self.feed(place, Input::PeerDown(id));
            }
        }
    }

    /// Stops a node as the power does; somebody starts it again after so many milliseconds.
    pub fn leave(&mut self, node: usize, span: u64) {
        self.trace.note(self.at, format!("n{} goes away for {span} ms", node + 1));
        self.crash(node);
        self.schedule(span, Event::Restart { node });
    }

    /// Stops a node as the power does; whoever supervises it starts it again half a second later.
    pub(crate) fn fall_over(&mut self, node: usize, boundary: Boundary) {
        self.crash_at(node, boundary);
        self.schedule(500, Event::Restart { node });
    }

    /// Starts a node from its disk, as a machine that was just booted. One with a damaged disk stays down until
    /// [`World::repair_disk`], one with a full disk is tried again.
    pub fn start(&mut self, node: usize) {
        let Some(mesh) = self.mesh.filter(|_| self.nodes[node].running.is_none()) else { return };
        if self.nodes[node].disk.is_empty() {
            // A copy that was switched off for good.
            return;
        }
        let at = self.at;
        let Found { stored, warnings } = match self.nodes[node].disk.open() {
            Ok(found) => found,
            Err(fault) => {
                self.disk_seen(node, "starts refused", format!("n{} does not start: {fault}", node + 1));
                if fault == DiskFault::Full {
                    self.schedule(5_000, Event::Restart { node });
                }
                return;
            }
        };
        for what in warnings {
            self.saw(Seen::Warned { node, what: &what });
            self.nodes[node].warnings.push(what);
        }
        self.nodes[node].life += 1;
        self.nodes[node].clocks.start(at);
        let now = self.nodes[node].now(at);
        let config = ReplicaConfig {
            identity: self.nodes[node].identity.clone(),
            mesh,
            clock_tolerance: CLOCK_TOLERANCE,
            refresh_after: self.refresh_after,
        };
        let found: BTreeSet<StatementId> = self.nodes[node].disk.ids().collect();
        self.saw(Seen::Started { node, statements: &found });
        match Replica::restore(config, stored, now, &mut self.nodes[node].rng) {
            Ok((replica, step)) => {
                self.trace.event(at, "start", node, &[]);
                self.nodes[node].running = Some(Running {
                    replica,
                    view: None,
                    inbox: VecDeque::new(),
                    writing: None,
                    wake: None,
                    peers: BTreeSet::new(),
                    linked: BTreeSet::new(),
                    waiting: BTreeMap::new(),
                    carried: BTreeMap::new(),
                    votes: BTreeMap::new(),
                });
                self.stepped(node, step);
                self.check_shares();
            }
            Err(error) => self.violation(format!("n{} does not start from its disk: {error}", node + 1)),
        }
    }

    /// Stops all nodes at once and starts them again.
    pub fn restart_all(&mut self) {
        self.trace.note(self.at, "every node restarts");
        (0..self.identities).for_each(|node| self.crash(node));
        (0..self.identities).for_each(|node| self.start(node));
    }

    /// Lets a node crash at its `batch`-th write from now on, counted from 1; it starts again half a second later.
    pub fn doom(&mut self, node: usize, batch: u64, reach: Reach) {
        self.nodes[node].doom = Some(Doom::Batch(self.nodes[node].persists + batch, reach));
    }

    /// As [`World::doom`], at the next write that holds a root share.
    pub fn doom_share(&mut self, node: usize, reach: Reach) {
        self.nodes[node].doom = Some(Doom::Share(reach));
    }

    /// As [`World::doom`], at the next write that erases a share.
    pub fn doom_erasure(&mut self, node: usize, reach: Reach) {
        self.nodes[node].doom = Some(Doom::Erasure(reach));
    }

    /// As [`World::doom`], at the next write that holds a word of the node's own on a change of sharing.
    pub fn doom_word(&mut self, node: usize, reach: Reach) {
        self.nodes[node].doom = Some(Doom::Word(reach));
    }

    /// Takes back every fault that is still to come, and has operators see to machines and disks: what stands still goes
    /// on, disks have room and are quick, damaged ones are repaired, copies of nodes are switched off, clocks drift no
    /// longer. Wall clocks that jumped stay where they are.
    pub fn set_right(&mut self) {
        (self.identities..self.nodes.len()).for_each(|twin| self.retire_clone(twin));
        for node in 0..self.identities {
            self.pardon(node);
            self.resume(node);
            self.nodes[node].clocks.drift(self.at, 0);
            self.nodes[node].disk.set_pace(Disk::QUICK);
            if self.nodes[node].disk.fault().is_some() {
                self.repair_disk(node);
            }
        }
    }

    /// Lets a node crash once it has carried out so many more effects, of whatever step.
    pub fn doom_effect(&mut self, node: usize, effects: u64) {
        self.nodes[node].doom = Some(Doom::Effect(self.nodes[node].effects + effects));
    }

    /// Lets a node crash while it writes its next audit record, which is then durable or torn.
    pub fn doom_record(&mut self, node: usize, durable: bool) {
        self.nodes[node].doom = Some(Doom::Record { durable });
    }

    /// Takes a crash to come back.
    pub fn pardon(&mut self, node: usize) {
        self.nodes[node].doom = None;
    }
}
