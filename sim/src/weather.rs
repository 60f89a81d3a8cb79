//! How bad the network is: rates and spans that a scenario draws and prints.
//!
//! Rates are in thousandths of all frames, spans in milliseconds. [`crate::network`] makes fates of them.

use std::fmt;

use rand_core::Rng;
use serde::{Deserialize, Serialize};

use crate::draw;

/// The shortest and the longest latency of links, in milliseconds, by how far apart their ends are; each link draws its
/// own once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latency {
    /// Within a zone.
    pub zone: (u64, u64),
    /// Between zones of one provider.
    pub provider: (u64, u64),
    /// Between providers.
    pub far: (u64, u64),
}

impl Latency {
    /// The same everywhere.
    pub const fn even(low: u64, high: u64) -> Self {
        Self { zone: (low, high), provider: (low, high), far: (low, high) }
    }
}

/// How bad the network is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Weather {
    /// How long frames take.
    pub latency: Latency,
    /// How much later than that a single frame may be.
    pub jitter: u64,
    /// Frames that vanish.
    pub loss: u64,
    /// Frames that come twice.
    pub duplicates: u64,
    /// Frames that are held back long enough to be overtaken by many others.
    pub stragglers: u64,
    /// Frames upon which an old frame of the same link arrives once more, up to [`Weather::REPLAY_SPAN`] later.
    pub replays: u64,
    /// Frames with which their link begins to be clogged.
    pub clogs: u64,
    /// How long a link stays clogged at most.
    pub clog_span: u64,
    /// Bytes that a link takes in a millisecond; none for no limit.
    pub bandwidth: Option<u64>,
}

impl Weather {
    /// A network without faults.
    pub const CALM: Self = Self {
        latency: Latency::even(1, 4),
        jitter: 1,
        loss: 0,
        duplicates: 0,
        stragglers: 0,
        replays: 0,
        clogs: 0,
        clog_span: 0,
        bandwidth: None,
    };
    /// A bad day between clouds.
    pub const ROUGH: Self =
        Self { latency: Latency::even(2, 60), jitter: 20, loss: 50, duplicates: 30, stragglers: 30, ..Self::CALM };
    /// How much later than others a straggler may be.
    pub const STRAGGLE: u64 = 400;
    /// How much later than the frame it came upon a replayed frame may be.
    pub const REPLAY_SPAN: u64 = 30_000;
    /// Bytes that may wait for a link with limited bandwidth; what does not fit is lost.
    pub const QUEUE: u64 = 1 << 20;

    /// A weather of any kind. Each fault is absent from about half of all weathers, so that every combination occurs.
    pub fn draw(rng: &mut impl Rng) -> Self {
        // As many numbers are drawn whatever comes of them.
        let sometimes =
            |rng: &mut _, most| if draw::chance(rng, 500) { draw::between(rng, 1, most) } else { skip(rng) };
        let span = |rng: &mut _, most| {
            let low = draw::between(rng, 1, most);
            (low, low + draw::between(rng, 0, most))
        };
        Self {
            latency: Latency { zone: span(rng, 2), provider: span(rng, 8), far: span(rng, 80) },
            jitter: draw::between(rng, 0, 30),
            loss: sometimes(rng, 80),
            duplicates: sometimes(rng, 50),
            stragglers: sometimes(rng, 50),
            replays: sometimes(rng, 20),
            clogs: sometimes(rng, 5),
            clog_span: draw::between(rng, 500, 8_000),
            bandwidth: Some(sometimes(rng, 500)).filter(|limit| *limit > 0).map(|limit| limit + 100),
        }
    }
}

fn skip(rng: &mut impl Rng) -> u64 {
    rng.next_u64();
    0
}

impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { zone, provider, far } = self;
        if zone == provider && provider == far {
            return write!(f, "{}-{} ms", far.0, far.1);
        }
        write!(f, "{}-{} ms in a zone, {}-{} between zones", zone.0, zone.1, provider.0, provider.1)?;
        write!(f, ", {}-{} between providers", far.0, far.1)
    }
}

impl fmt::Display for Weather {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { latency, jitter, loss, duplicates, stragglers, replays, clogs, clog_span, bandwidth } = self;
        write!(f, "{latency} + 0-{jitter} ms; of 1000 frames {loss} lost, {duplicates} doubled, {stragglers} late")?;
        write!(f, ", {replays} replayed, {clogs} clog their link for up to {clog_span} ms")?;
        match bandwidth {
            Some(limit) => write!(f, "; {limit} bytes/ms a link"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    use super::*;

    #[test]
    fn every_fault_is_drawn_sometimes_and_left_out_sometimes() {
        let drawn: Vec<Weather> = (0..64).map(|seed| Weather::draw(&mut ChaCha20Rng::seed_from_u64(seed))).collect();
        let faults: [fn(&Weather) -> u64; 6] = [
            |weather| weather.loss,
            |weather| weather.duplicates,
            |weather| weather.stragglers,
            |weather| weather.replays,
            |weather| weather.clogs,
            |weather| weather.bandwidth.unwrap_or_default(),
        ];
        for fault in faults {
            assert!(drawn.iter().any(|weather| fault(weather) > 0) && drawn.iter().any(|weather| fault(weather) == 0));
        }
    }

    #[test]
    fn a_weather_takes_as_many_draws_whatever_it_becomes() {
        let after = |seed| {
            let mut rng = ChaCha20Rng::seed_from_u64(seed);
            Weather::draw(&mut rng);
            rng.get_word_pos()
        };
        assert!((0..16).all(|seed| after(seed) == after(0)));
    }

    #[test]
    fn a_weather_reads_as_a_sentence() {
        let shown = Weather::ROUGH.to_string();
        assert!(shown.starts_with("2-60 ms + 0-20 ms; of 1000 frames 50 lost"), "{shown}");
    }
}
