//! The one bridge between generations of `rand_core`, and randomness that survives a bad generator.
//!
//! frost takes generators of `rand_core` 0.6, the project uses 0.10. [`ForFrost`] forwards every byte and adds nothing,
//! so a run is a function of the generator that the caller passed in. [`Hedged`] is a generator of its own, made of a
//! digest of random bytes and of whatever the randomness is for.

use std::marker::PhantomData;

use rand_core::CryptoRng;
use sha2::Sha512;
use zeroize::{Zeroize, Zeroizing};

use crate::hash::Framed;
use crate::suite::Suite;

/// Fresh random bytes, to be hashed with what they are for.
pub(crate) fn seed(rng: &mut (impl CryptoRng + ?Sized)) -> Zeroizing<[u8; 32]> {
    let mut seed = Zeroizing::new([0; 32]);
    rng.fill_bytes(&mut *seed);
    seed
}

/// SHA-512 of a secret digest and a counter, for frost.
pub(crate) struct Hedged<C> {
    secret: Zeroizing<[u8; 64]>,
    counter: u64,
    suite: PhantomData<C>,
}

impl<C: Suite> Hedged<C> {
    /// The hash must cover a seed, a secret of the caller's, and the whole statement that the randomness is for.
    pub(crate) fn new(hash: Framed<Sha512>) -> Self {
        Hedged { secret: Zeroizing::new(hash.wide()), counter: 0, suite: PhantomData }
    }
}

impl<C: Suite> rand_core_06::RngCore for Hedged<C> {
    fn next_u32(&mut self) -> u32 {
        rand_core_06::impls::next_u32_via_fill(self)
    }

    fn next_u64(&mut self) -> u64 {
        rand_core_06::impls::next_u64_via_fill(self)
    }

    fn fill_bytes(&mut self, dest: &mut [u8]) {
        for chunk in dest.chunks_mut(64) {
            let mut block = Framed::<Sha512>::new::<C>("hedged randomness")
                .part(&*self.secret)
                .part(&self.counter.to_be_bytes())
                .wide();
            self.counter += 1;
            chunk.copy_from_slice(&block[..chunk.len()]);
            block.zeroize();
        }
    }

    fn try_fill_bytes(&mut self, dest: &mut [u8]) -> Result<(), rand_core_06::Error> {
        self.fill_bytes(dest);
        Ok(())
    }
}

impl<C: Suite> rand_core_06::CryptoRng for Hedged<C> {}

/// A 0.10 generator, seen as a 0.6 one.
pub(crate) struct ForFrost<'a, R: ?Sized>(pub(crate) &'a mut R);

impl<R: CryptoRng + ?Sized> rand_core_06::RngCore for ForFrost<'_, R> {
    fn next_u32(&mut self) -> u32 {
        self.0.next_u32()
    }

    fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    fn fill_bytes(&mut self, dest: &mut [u8]) {
        self.0.fill_bytes(dest);
    }

    fn try_fill_bytes(&mut self, dest: &mut [u8]) -> Result<(), rand_core_06::Error> {
        self.0.fill_bytes(dest);
        Ok(())
    }
}

impl<R: CryptoRng + ?Sized> rand_core_06::CryptoRng for ForFrost<'_, R> {}
