//! Where the nodes of a large mesh stand and how long a frame takes between them.
//!
//! Six zones on a plane whose unit is a millisecond of one-way latency: three on one continent and three far from it and
//! from one another. Nodes are dealt out to zones in turn. A frame takes the distance, half a millisecond, and up to a
//! twentieth more.

use rand_core::Rng;

use crate::draw;

/// A zone's place, in milliseconds.
const ZONES: [(f64, f64); 6] = [(0.0, 0.0), (44.0, -4.0), (3.0, 2.0), (70.0, 9.0), (-9.0, 8.0), (-62.0, 25.0)];
/// What a frame takes at least, in microseconds.
const LEAST: u64 = 500;
/// Up to this part of its time a frame may be late.
const LATE: u64 = 20;

/// The zone of the node at a place.
pub fn zone(place: usize) -> usize {
    place % ZONES.len()
}

/// Whether a node stands overseas, in every other zone: there the cut runs.
pub fn is_far(place: usize) -> bool {
    zone(place) % 2 == 1
}

/// What a frame takes between two nodes at the least, in microseconds.
fn distance(from: usize, to: usize) -> u64 {
    let ((ax, ay), (bx, by)) = (ZONES[zone(from)], ZONES[zone(to)]);
    LEAST + ((ax - bx).hypot(ay - by) * 1000.0).round() as u64
}

/// What one frame takes, in microseconds.
pub fn latency(from: usize, to: usize, rng: &mut impl Rng) -> u64 {
    let least = distance(from, to);
    least + draw::between(rng, 0, least / LATE)
}

/// The longest that a frame takes between any two of `nodes`, in microseconds: the diameter, one way.
pub fn diameter(nodes: usize) -> u64 {
    let zones = nodes.min(ZONES.len());
    let pairs = (0..zones).flat_map(|a| (0..zones).map(move |b| distance(a, b)));
    pairs.max().map_or(0, |least| least + least / LATE)
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    use super::*;

    #[test]
    fn no_frame_takes_longer_than_the_diameter() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let longest = (0..12).flat_map(|a| (0..12).map(move |b| (a, b))).map(|(a, b)| latency(a, b, &mut rng)).max();
        assert!(longest.is_some_and(|longest| longest <= diameter(12) && longest > diameter(12) * 9 / 10));
    }
}
