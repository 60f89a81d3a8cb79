use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use super::*;

fn rng() -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(1)
}

fn apart(nodes: usize, weather: Weather) -> Network {
    let spot = |node| Spot { zone: format!("z{node}"), provider: "one".to_owned() };
    Network::between((0..nodes).map(spot).collect(), weather, &mut rng())
}

fn calm(nodes: usize) -> Network {
    apart(nodes, Weather::CALM)
}

fn delays(network: &mut Network, at: u64, size: usize, rng: &mut ChaCha20Rng) -> Vec<u64> {
    let arrivals = network.carry(at, 0, 1, Channel::Spread, vec![7; size], rng);
    arrivals.into_iter().map(|arrival| arrival.delay).collect()
}

#[test]
fn what_was_apart_stays_apart_when_it_is_cut_off_together() {
    let mut network = calm(4);
    network.cut(&[0]);
    network.cut(&[0, 1]);
    assert!(!network.reaches(0, 1) && !network.reaches(1, 2) && network.reaches(2, 3));
    network.heal();
    assert!(network.is_whole() && network.reaches(0, 1));
}

#[test]
fn a_one_way_cut_leaves_the_way_back() {
    let mut network = calm(2);
    network.cut_way(0, 1);
    assert!(!network.reaches(0, 1) && network.reaches(1, 0) && !network.is_whole());
    assert!(delays(&mut network, 0, 10, &mut rng()).is_empty());
    assert_eq!(network.carry(0, 1, 0, Channel::Spread, vec![1], &mut rng()).len(), 1);
}

#[test]
fn a_node_left_with_some_others_reaches_only_them() {
    let mut network = calm(4);
    network.leave_only(0, &[2]);
    let reached: Vec<usize> = (1..4).filter(|other| network.reaches(0, *other)).collect();
    assert_eq!(reached, [2]);
    assert!(network.reaches(1, 3) && !network.reaches(1, 0));
}

#[test]
fn a_lost_zone_is_dark_inside_too_and_its_providers_other_zones_are_not() {
    let spot = |zone: &str| Spot { zone: zone.into(), provider: zone[..1].into() };
    let spots = vec![spot("a1"), spot("a1"), spot("a2"), spot("b1")];
    let mut network = Network::between(spots, Weather::CALM, &mut rng());
    assert_eq!(network.lose(|spot| spot.zone == "a1"), [0, 1]);
    assert!(!network.reaches(0, 1) && !network.reaches(2, 0) && network.reaches(2, 3));
    assert_eq!(network.lose(|spot| spot.provider == "a"), [0, 1, 2]);
    assert!(!network.reaches(2, 3));
    network.heal();
    assert!(network.is_whole());
}

#[test]
fn a_flapping_link_turns_when_it_says() {
    let mut network = calm(3);
    network.advance(100);
    network.flap(Flap { a: 0, b: 1, period: 1_000, up: 300 });
    let mut turns = Vec::new();
    for _ in 0..4 {
        turns.push((network.at, network.reaches(0, 1), network.reaches(1, 0), network.reaches(0, 2)));
        let next = network.next_turn().expect("it flaps");
        network.advance(next);
    }
    let expected = [(100, false), (800, true), (1_100, false), (1_800, true)];
    assert_eq!(turns, expected.map(|(at, up)| (at, up, up, true)));
}

#[test]
fn latency_follows_distance() {
    let spot = |zone: &str| Spot { zone: zone.into(), provider: zone[..1].into() };
    let latency = Latency { zone: (1, 1), provider: (10, 10), far: (100, 100) };
    let weather = Weather { latency, jitter: 0, ..Weather::CALM };
    let spots = vec![spot("a1"), spot("a1"), spot("a2"), spot("b1")];
    let mut network = Network::between(spots, weather, &mut rng());
    let mut took = |to| network.carry(0, 0, to, Channel::Spread, vec![1], &mut rng())[0].delay;
    assert_eq!([took(1), took(2), took(3)], [1, 10, 100]);
}

#[test]
fn a_narrow_link_makes_frames_wait_for_those_before_them_and_drops_what_does_not_fit() {
    let weather = Weather { latency: Latency::even(5, 5), jitter: 0, bandwidth: Some(10), ..Weather::CALM };
    let mut network = apart(2, weather);
    let rng = &mut rng();
    assert_eq!(delays(&mut network, 0, 1_000, rng), [105]);
    assert_eq!(delays(&mut network, 0, 1_000, rng), [205]);
    assert_eq!(delays(&mut network, 150, 1_000, rng), [155], "half of the second is still to go");
    assert_eq!(delays(&mut network, 10_000, 1_000, rng), [105], "nothing waits any more");
    let full = usize::try_from(Weather::QUEUE).expect("small") + 20;
    assert_eq!(delays(&mut network, 20_000, full, rng).len(), 1);
    assert!(delays(&mut network, 20_000, 1, rng).is_empty(), "the queue is full");
    assert_eq!(delays(&mut network, 40_000, 1, rng).len(), 1, "there is room again");
}

#[test]
fn what_is_sent_on_a_clogged_link_arrives_when_it_is_free_again() {
    let weather = Weather { latency: Latency::even(5, 5), jitter: 0, ..Weather::CALM };
    let mut network = apart(2, weather);
    let rng = &mut rng();
    network.clog(0, 1, 1_000);
    assert_eq!(delays(&mut network, 400, 10, rng), [605]);
    assert_eq!(delays(&mut network, 1_200, 10, rng), [5]);
    assert_eq!(network.carry(400, 1, 0, Channel::Spread, vec![1], rng)[0].delay, 5, "the way back is free");
}

#[test]
fn old_frames_come_again_long_after_as_they_were() {
    let mut network = apart(2, Weather { replays: 500, ..Weather::CALM });
    let rng = &mut rng();
    let mut replayed = BTreeSet::new();
    for number in 0..200u8 {
        let arrivals = network.carry(u64::from(number), 0, 1, Channel::Custody, vec![number], rng);
        assert_eq!(arrivals.last().expect("calm").bytes, [number]);
        for old in &arrivals[..arrivals.len() - 1] {
            assert!(old.bytes[0] < number && old.channel == Channel::Custody && old.delay <= Weather::REPLAY_SPAN);
            replayed.insert(old.bytes[0]);
        }
    }
    assert!(replayed.len() > 20, "{replayed:?}");
    assert!(network.ways[&(0, 1)].old.len() <= MEMORY);
}

#[test]
fn loss_doubling_and_lateness_come_as_often_as_the_weather_says() {
    let weather = Weather { loss: 100, duplicates: 100, stragglers: 100, ..Weather::CALM };
    let mut network = apart(2, weather);
    let rng = &mut rng();
    let fates: Vec<Vec<u64>> = (0..10_000).map(|_| delays(&mut network, 0, 10, rng)).collect();
    let count = |is: fn(&Vec<u64>) -> bool| fates.iter().filter(|fate| is(fate)).count();
    assert!((900..1_100).contains(&count(Vec::is_empty)));
    assert!((800..1_000).contains(&count(|fate| fate.len() == 2)));
    assert!((800..1_200).contains(&count(|fate| fate.iter().any(|delay| *delay > 10))));
}
