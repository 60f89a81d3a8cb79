//! The core of each node: inputs one at a time, the batch on disk before the effects, wakes on time.

use keymesh_mesh::replica::{Batch, Durable, Write};
use keymesh_mesh::view::View;

use super::*;

impl World {
    /// Gives a node an input. It is lost if the node is down.
    pub(crate) fn feed(&mut self, node: usize, input: Input) {
        self.watch.coverage.count(format!("inputs {}", crate::kinds::input(&input)));
        if let Some(running) = &mut self.nodes[node].running {
            running.inbox.push_back(input);
            self.pump(node);
        }
    }

    pub(super) fn pump(&mut self, node: usize) {
        let at = self.at;
        let now = self.nodes[node].now(at);
        let Node { running, rng, held, .. } = &mut self.nodes[node];
        let Some(running) = running else { return };
        if held.is_some() || running.writing.is_some() || running.inbox.is_empty() {
            return;
        }
        let inputs: Vec<Input> = running.inbox.drain(..running.inbox.len().min(GROUP)).collect();
        // What came together with a tick is reacted to after it, and may well want the next one at once.
        let tick = matches!(inputs[..], [Input::Tick]);
        let step = running.replica.step_all(now, rng, inputs);
        let spun = tick && running.replica.next_wake().is_some_and(|wake| wake <= now.boot);
        if spun {
            self.violation(format!("n{} wants to be woken at once after a tick, for ever", node + 1));
        }
        self.stepped(node, step);
    }

    pub(super) fn stepped(&mut self, node: usize, step: Step) {
        let life = self.nodes[node].life;
        if step.batch.writes.is_empty() {
            self.set_wake(node);
            self.finish(node, step);
            self.pump(node);
            return;
        }
        if let Some(running) = &mut self.nodes[node].running {
            running.writing = Some(step);
        }
        let Node { disk, rng, .. } = &mut self.nodes[node];
        let delay = disk.delay(rng);
        self.schedule(delay, Event::Written { node, life });
    }

    pub(super) fn written(&mut self, node: usize) {
        let Some(step) = self.nodes[node].running.as_mut().and_then(|running| running.writing.take()) else { return };
        self.nodes[node].persists += 1;
        let share = step.batch.writes.iter().any(|write| matches!(write, Write::Share { .. }));
        let erasure = step.batch.writes.iter().any(|write| matches!(write, Write::EraseShare { .. }));
        let word = self.nodes[node].doom.is_some() && self.has_own_word(node, &step.batch);
        let doom = match self.nodes[node].doom {
            Some(Doom::Batch(at, reach)) if at == self.nodes[node].persists => Some(reach),
            Some(Doom::Share(reach)) if share => Some(reach),
            Some(Doom::Erasure(reach)) if erasure => Some(reach),
            Some(Doom::Word(reach)) if word => Some(reach),
            Some(
                Doom::Batch(..)
                | Doom::Share(_)
                | Doom::Erasure(_)
                | Doom::Word(_)
                | Doom::Effect(_)
                | Doom::Record { .. },
            )
            | None => None,
        };
        let Some(reach) = doom else {
            self.set_wake(node);
            self.finish(node, step);
            return self.pump(node);
        };
        self.nodes[node].doom = None;
        let at = [(word, "a word on an epoch"), (share, "a share"), (erasure, "an erased share")];
        for (_, what) in at.into_iter().filter(|(hit, _)| *hit) {
            self.watch.coverage.count(format!("crashes at {what}"));
        }
        let boundary = match reach {
            Reach::Nothing => Boundary::BeforeWrite,
            Reach::SharesOnly | Reach::Torn | Reach::Committed => Boundary::BetweenWrites,
            Reach::Everything => Boundary::BeforeEffects,
        };
        if self.put(node, step.batch, reach).is_ok() {
            self.fall_over(node, boundary);
        }
    }

    /// Whether a batch holds something that the node itself says in a change of sharing.
    fn has_own_word(&self, node: usize, batch: &Batch) -> bool {
        let me = self.nodes[node].id();
        batch.writes.iter().any(|write| match write {
            Write::Statement { bytes, .. } => {
                let said = Checked::from_bytes(bytes).ok().filter(|said| said.author() == me);
                said.is_some_and(|said| matches!(said.body(), Some(Body::Sharing(_))))
            }
            _ => false,
        })
    }

    /// Writes the batch and then carries out the effects, until the node falls over.
    fn finish(&mut self, node: usize, step: Step) {
        let Ok(durable) = self.put(node, step.batch, Reach::Everything) else { return };
        let life = self.nodes[node].life;
        for effect in step.effects.release(&durable) {
            if !self.lives(node, life) {
                return;
            }
            if self.nodes[node]
                .doom
                .is_some_and(|doom| matches!(doom, Doom::Effect(at) if at <= self.nodes[node].effects))
            {
                self.nodes[node].doom = None;
                return self.fall_over(node, Boundary::BetweenEffects);
            }
            self.nodes[node].effects += 1;
            self.effect(node, effect);
        }
    }

    /// Writes a batch as far as it gets. A node whose batch fails ends, and whoever supervises it starts it again.
    fn put(&mut self, node: usize, batch: Batch, reach: Reach) -> Result<Durable, DiskFault> {
        let mut stored = Vec::new();
        let (mut records, mut shares) = (Vec::new(), Vec::new());
        for write in &batch.writes {
            self.search_write(node, write);
            match write {
                Write::Audit(record) if reach == Reach::Everything => records.push(record.clone()),
                Write::Share { slot, .. } if reach != Reach::Nothing => shares.push(slot.clone()),
                _ => {}
            }
            if let Write::Statement { id, bytes, .. } = write {
                self.trace.event(self.at, "write", node, &[id.as_bytes()]);
                if matches!(reach, Reach::Committed | Reach::Everything) {
                    stored.push((*id, bytes.clone()));
                }
            }
        }
        self.check_readmitted(node, &batch.writes);
        let erased = self.to_erase(node, &batch.writes);
        let erases = batch.writes.iter().any(|write| matches!(write, Write::EraseShare { .. }));
        let disk = &mut self.nodes[node].disk;
        match batch.persist(|writes| disk.write(writes, reach)) {
            Ok(durable) => {
                if reach == Reach::Everything {
                    self.check_erased(node, &erased);
                }
                if erases {
                    self.check_thresholds();
                }
                for slot in shares {
                    self.saw(Seen::Shared { node, slot: &slot });
                }
                for (id, bytes) in stored {
                    self.saw(Seen::Stored { node, id, bytes: &bytes });
                }
                for record in records {
                    self.saw(Seen::Recorded { node, record: &record });
                }
                Ok(durable)
            }
            Err(fault) => {
                self.trace.note(self.at, format!("n{} ends: {fault}", node + 1));
                self.fall_over(node, Boundary::FailedWrite);
                Err(fault)
            }
        }
    }

    fn effect(&mut self, node: usize, effect: Effect) {
        match effect {
            Effect::Send { to, channel, frame } => self.send(node, &to, channel, frame),
            Effect::Reply { to, result } => self.replied(node, to, result),
            Effect::Publish(view) => {
                self.leases_seen(node, &view);
                if let Some(running) = &mut self.nodes[node].running {
                    running.view = Some(view);
                }
                self.retry_releases(node);
            }
            Effect::Peers(cards) => {
                if let Some(running) = &mut self.nodes[node].running {
                    running.peers = cards.iter().map(|card| card.node).collect();
                }
                self.links_of(node);
            }
            Effect::Warn(what) => {
                self.trace.event(self.at, "warn", node, &[what.as_bytes()]);
                self.search(node, "warns of", what.as_bytes());
                // Who is blamed for what it contributed is a liar: the first that the warning names.
                if let Some((blamed, kind, invariant)) = blamed(&what).filter(|_| !self.is_liar(node)) {
                    self.watch.coverage.count(kind);
                    if self.places.get(&blamed).is_some_and(|place| !self.is_liar(*place)) {
                        self.violation(format!("{invariant}: n{} blames an honest custodian: {what}", node + 1));
                    }
                }
                for fault in ["to another state", "sent garbage", "unreadable", "no statement", "too much"] {
                    if what.contains(fault) && !self.blames_a_liar(node, &what) {
                        self.violation(format!("n{}: {what}", node + 1));
                    }
                }
                self.saw(Seen::Warned { node, what: &what });
                self.nodes[node].warnings.push(what);
            }
        }
    }

    /// Tells of leases that the view before did not hold, or held for a shorter time.
    fn leases_seen(&mut self, node: usize, view: &View) {
        let before = self.nodes[node].view().cloned();
        for ((tenant, generation), lease) in &view.leases {
            self.canaries.plant("a generation's secret", lease.secret.expose_secret().expose_secret());
            let old = before.as_ref().and_then(|view| view.leases.get(&(*tenant, *generation)));
            if old.is_none_or(|old| old.expires < lease.expires) {
                let expires = lease.expires;
                let now = self.nodes[node].now(self.at);
                self.saw(Seen::LeaseHeld { node, now, tenant: *tenant, generation: *generation, expires });
            }
        }
    }

    fn replied(&mut self, node: usize, to: ReplyTo, result: Result<Submitted, WireError>) {
        let vote = self.nodes[node].running.as_mut().and_then(|running| running.votes.remove(&to.0));
        if let Some((asker, request)) = vote {
            self.voted(node, asker, request, result.is_ok());
            return;
        }
        if let (Ok(done), Some((_, document))) = (&result, self.sent.remove(&to.0)) {
            for id in &done.statements {
                self.acknowledged.insert(*id, (node, document));
            }
            self.saw(Seen::Acknowledged { node, document, statements: &done.statements });
        }
        self.trace.event(self.at, if result.is_ok() { "reply" } else { "error" }, node, &[&to.0.to_be_bytes()]);
        if let Err(error) = &result {
            self.search(node, "answers with", format!("{error} {error:?}").as_bytes());
        }
        self.outcomes.insert(Handle(to.0), Outcome::Submitted(result));
    }

    fn set_wake(&mut self, node: usize) {
        let life = self.nodes[node].life;
        let wanted = self.nodes[node].replica().and_then(Replica::next_wake);
        let now = self.nodes[node].now(self.at).boot;
        let Some(running) = &mut self.nodes[node].running else { return };
        let wanted = wanted.map(|wake| wake.max(now));
        if wanted.is_none() || running.wake == wanted {
            return;
        }
        running.wake = wanted;
        if let Some(boot) = wanted {
            // At least a millisecond, or a core that wants to be woken at once would stop time.
            let delay = self.nodes[node].clocks.when(boot, self.at).saturating_sub(self.at).max(1);
            self.schedule(delay, Event::Wake { node, life, boot });
        }
    }
}

/// Whom a warning blames for what it said in a change of sharing or gave to a lessee, and the invariant by which an honest
/// custodian is never blamed for it.
fn blamed(what: &str) -> Option<(NodeId, &'static str, &'static str)> {
    let (who, kind, invariant) = if let Some((who, rest)) = what.split_once(" dealt ")
        && rest.contains("does not fit")
    {
        (who, "complaints upheld", "I8")
    } else if let Some((who, _)) = what.split_once(" complained falsely of ") {
        (who, "false complaints", "I8")
    } else if let Some((who, rest)) = what.split_once(" gave ")
        && rest.contains(": repair of ")
    {
        (who, "false parts of repairs named", "I5")
    } else {
        (what.strip_suffix(" gave a partial that does not hold")?, "false partials named", "I5")
    };
    who.parse().ok().map(|who| (who, kind, invariant))
}
