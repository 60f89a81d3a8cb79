//! The one bridge between generations of `rand_core`.
//!
//! frost takes generators of `rand_core` 0.6, the project uses 0.10. The bridge forwards every byte and adds nothing,
//! so a run is a function of the generator that the caller passed in.

use rand_core::CryptoRng;

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
