//! What breaks: the network, machines, disks and clocks; and what people repair while the rest goes on.
//!
//! Any of it may hit any node at any time, with one bound: of what takes a share or lets a node forget what it said, a
//! committee meets no more than its tolerance, liars counted. Beyond that nothing is promised.

use super::Run;
use crate::disk::{Reach, Rot};
use crate::world::Pause;

impl Run {
    /// Something breaks, or is repaired.
    pub(super) fn fault(&mut self) {
        match self.place(40) {
            0..=7 => self.break_network(),
            8..=12 => self.mend_network(),
            13..=15 => {
                let node = self.node();
                self.world.crash(node);
            }
            16..=20 => {
                self.world.did(|| "whatever is down starts".to_owned());
                (0..self.world.size()).for_each(|node| self.world.start(node));
            }
            21..=27 => self.crash_at_boundary(),
            28 => {
                self.world.restart_all();
                self.count("restarts of everything");
            }
            29..=31 => self.stop_machine(),
            32..=34 => self.turn_clock(),
            35 | 36 => self.fill_or_slow(),
            _ => self.spoil_disk(),
        }
    }

    fn node(&mut self) -> usize {
        self.place(self.world.size())
    }

    fn break_network(&mut self) {
        let nodes = self.world.size();
        let (a, b) = (self.node(), self.node());
        match self.place(10) {
            0..=3 => {
                let count = 1 + self.place(nodes - 1);
                let mut island: Vec<usize> = (0..count).map(|_| self.node()).collect();
                island.sort_unstable();
                island.dedup();
                self.world.cut(&island);
                self.count("cuts");
            }
            4 if a != b => self.world.cut_way(a, b),
            5 if a != b => {
                let period = 2_000 + self.place(20_000) as u64;
                let up = 1 + self.place(period as usize - 1) as u64;
                self.world.flap(a, b, period, up);
            }
            6 if a != b => {
                let span = 500 + self.place(10_000) as u64;
                self.world.clog(a, b, span);
            }
            7 => {
                let zone = self.world.node(a).card.zone.clone();
                self.world.lose_zone(&zone);
            }
            8 => {
                let provider = self.world.node(a).card.provider.clone();
                self.world.lose_provider(&provider);
            }
            _ => self.world.leave_only(a, &[b]),
        }
    }

    fn mend_network(&mut self) {
        if !self.world.network.is_whole() {
            self.count("healed cuts");
        }
        self.world.heal();
    }

    /// A node crashes at one of its next writes, effects or records.
    fn crash_at_boundary(&mut self) {
        let (node, soon) = (self.node(), 1 + self.place(3) as u64);
        let reach = Reach::ALL[self.place(Reach::ALL.len())];
        let when = match self.place(5) {
            0 | 1 => {
                self.world.doom(node, soon, reach);
                format!("write {soon} from now on: {reach:?}")
            }
            2 => {
                self.world.doom_share(node, reach);
                format!("the next share it writes: {reach:?}")
            }
            3 => {
                self.world.doom_effect(node, soon);
                format!("effect {soon} from now on")
            }
            _ => {
                let durable = self.place(2) == 0;
                self.world.doom_record(node, durable);
                format!(
                    "the next audit record, {}",
                    if durable { "after it is written" } else { "before it is written" }
                )
            }
        };
        self.world.did(|| format!("n{} is to crash at {when}", node + 1));
    }

    /// A machine stands still, for long enough that a lease may end meanwhile.
    fn stop_machine(&mut self) {
        let node = self.node();
        let span = 500 + self.place(90_000) as u64;
        let pause = [Pause::Suspended, Pause::Frozen][self.place(2)];
        self.world.pause(node, span, pause);
    }

    fn turn_clock(&mut self) {
        let node = self.node();
        match self.place(4) {
            0 => {
                let ppm = self.place(400) as i64 - 200;
                self.world.drift_clock(node, ppm);
            }
            drawn => {
                let most = if drawn == 1 { 300_000 } else { 10_000 };
                let by = self.place(2 * most) as i64 - most as i64;
                *self.jumped.entry(node).or_default() += by;
                self.world.jump_clock(node, by);
            }
        }
    }

    fn fill_or_slow(&mut self) {
        let (node, drawn) = (self.node(), self.place(4));
        match drawn {
            0 => self.world.fill_disk(node, true),
            1 => self.world.fill_disk(node, false),
            2 => self.world.pace_disk(node, (50, 400)),
            _ => self.world.pace_disk(node, (0, 2)),
        }
    }

    /// Bits rot, a disk is lost, or an old copy of one comes back.
    fn spoil_disk(&mut self) {
        let node = self.node();
        if node == 0 || self.scenario.liars.contains(&node) {
            return;
        }
        match self.place(8) {
            0 | 1 => {
                self.world.did(|| "every disk is copied for a backup".to_owned());
                (0..self.world.size()).for_each(|node| self.world.back_up(node));
            }
            6 if self.may_spoil(node) => {
                self.world.clone_node(node);
                self.spoiled.insert(node);
            }
            7 => {
                let peers: Vec<usize> = (0..self.world.size()).filter(|_| !self.world.at().is_multiple_of(3)).collect();
                let twin = (self.world.size()..self.world.machines()).next_back();
                twin.into_iter().for_each(|twin| self.world.flip_clone(twin, &peers));
            }
            2 if self.may_spoil(node) => {
                if self.world.restore_backup(node) {
                    self.spoiled.insert(node);
                }
            }
            3 if self.may_spoil(node) => {
                if self.world.rot(node, Rot::Share) {
                    self.spoiled.insert(node);
                }
            }
            4 if self.may_spoil(node) => {
                self.world.replace_disk(node, 0);
                self.spoiled.insert(node);
            }
            _ => {
                let what = [Rot::Statement, Rot::Blob, Rot::Audit][self.place(3)];
                if self.world.rot(node, what) {
                    self.world.crash(node);
                    self.world.repair_disk(node);
                    self.world.start(node);
                }
            }
        }
    }

    /// Whether every committee of the node still tolerates it as a liar and does without it.
    pub(super) fn may_spoil(&self, node: usize) -> bool {
        self.tenants.iter().enumerate().all(|(number, tenant)| {
            self.circles(number).iter().filter(|circle| circle.plan.members.contains(&node)).all(|circle| {
                let bad = |member: &&usize| {
                    **member == node || self.spoiled.contains(member) || self.scenario.liars.contains(member)
                };
                let (bad, good): (Vec<&usize>, Vec<&usize>) = circle.plan.members.iter().partition(bad);
                let gone = |member: &&&usize| tenant.displaced.contains(*member) || circle.lacking.contains(*member);
                let gone = good.iter().filter(gone).count();
                bad.len() <= usize::from(circle.plan.faults) && good.len() - gone >= circle.plan.needed()
            })
        })
    }
}
