//! What breaks: the network, machines, disks and clocks.

use super::Run;
use crate::disk::Reach;

impl Run {
    /// Something breaks, or is repaired.
    pub(super) fn fault(&mut self) {
        let nodes = self.world.size();
        match self.place(20) {
            0..=2 => {
                let count = 1 + self.place(nodes - 1);
                let mut island: Vec<usize> = (0..count).map(|_| self.place(nodes)).collect();
                island.sort_unstable();
                island.dedup();
                self.world.did(|| format!("the network is cut, {} nodes on one side", island.len()));
                self.world.cut(&island);
                self.count("cuts");
            }
            3..=6 => {
                if !self.world.network.is_whole() {
                    self.count("healed cuts");
                }
                self.world.did(|| "the network heals".to_owned());
                self.world.heal();
            }
            7 | 8 => {
                let node = self.place(nodes);
                self.world.did(|| format!("n{} loses its power", node + 1));
                self.world.crash(node);
            }
            9..=12 => {
                self.world.did(|| "whatever is down starts".to_owned());
                (0..nodes).for_each(|node| self.start(node));
            }
            13..=17 => {
                let (node, batch) = (self.place(nodes), 1 + self.place(3) as u64);
                let reach = [Reach::Nothing, Reach::SharesOnly, Reach::Everything][self.place(3)];
                self.world.did(|| format!("n{} is to crash at write {batch} from now on: {reach:?}", node + 1));
                self.world.doom(node, batch, reach);
            }
            18 => {
                self.world.did(|| "every machine restarts at once".to_owned());
                self.world.restart_all();
                self.count("restarts of everything");
            }
            _ => {}
        }
    }

    /// Starts a node, unless it was never admitted.
    pub(super) fn start(&mut self, node: usize) {
        self.world.start(node);
    }
}
