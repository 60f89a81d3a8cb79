//! The secret types of this crate (I10).
//!
//! Guarantees: a secret scalar or point is boxed (moving it leaves no copy on the stack), overwritten when dropped,
//! prints nothing but its name and is neither cloned nor compared.
//!
//! Left to others: locking the memory of the process and keeping it out of dumps. Arithmetic on a secret leaves
//! short-lived copies in registers and on the stack; `frost_core` offers no way to wipe those.

use std::fmt;
use std::hint::black_box;

use zeroize::Zeroizing;

use crate::suite::{self, Element, Scalar, Suite};

/// A scalar that nobody else may learn.
pub(crate) struct SecretScalar<C: Suite>(Box<Scalar<C>>);

impl<C: Suite> SecretScalar<C> {
    pub(crate) fn new(scalar: Scalar<C>) -> Self {
        SecretScalar(Box::new(scalar))
    }

    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        suite::parse_scalar::<C>(bytes).map(Self::new)
    }

    pub(crate) fn expose(&self) -> &Scalar<C> {
        &self.0
    }

    pub(crate) fn expose_bytes(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(suite::scalar_bytes::<C>(&self.0))
    }
}

impl<C: Suite> Drop for SecretScalar<C> {
    fn drop(&mut self) {
        // The field trait has no `Zeroize`. An opaque read of the overwritten value keeps the store alive.
        *self.0 = suite::zero::<C>();
        black_box(&*self.0);
    }
}

impl<C: Suite> fmt::Debug for SecretScalar<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretScalar")
    }
}

/// A point that is key material, such as `r·Y`.
pub(crate) struct SecretPoint<C: Suite>(Box<Element<C>>);

impl<C: Suite> SecretPoint<C> {
    pub(crate) fn new(point: Element<C>) -> Self {
        SecretPoint(Box::new(point))
    }

    pub(crate) fn expose(&self) -> &Element<C> {
        &self.0
    }

    pub(crate) fn expose_bytes(&self) -> Option<Zeroizing<Vec<u8>>> {
        suite::point_bytes::<C>(&self.0).map(Zeroizing::new)
    }
}

impl<C: Suite> Drop for SecretPoint<C> {
    fn drop(&mut self) {
        *self.0 = suite::identity::<C>();
        black_box(&*self.0);
    }
}
