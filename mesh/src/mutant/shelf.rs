//! Where mutants leave what should have been written at once.

#[cfg(not(feature = "mutants"))]
use std::marker::PhantomData;

/// Things put off from one step to the next. Takes no room in a build without mutants.
#[derive(Debug)]
pub(crate) struct Shelf<T> {
    #[cfg(feature = "mutants")]
    left: Vec<T>,
    #[cfg(not(feature = "mutants"))]
    nothing: PhantomData<T>,
}

#[cfg(feature = "mutants")]
impl<T> Shelf<T> {
    pub(crate) fn new() -> Self {
        Self { left: Vec::new() }
    }

    /// Takes what stands in `list` at `place` and behind.
    pub(crate) fn put_off(&mut self, list: &mut Vec<T>, place: usize) {
        self.left.extend(list.drain(place.min(list.len())..));
    }

    /// Gives back what was put off.
    pub(crate) fn give_back(&mut self, list: &mut Vec<T>) {
        list.append(&mut self.left);
    }
}

#[cfg(not(feature = "mutants"))]
impl<T> Shelf<T> {
    pub(crate) const fn new() -> Self {
        Self { nothing: PhantomData }
    }

    pub(crate) const fn put_off(&mut self, _list: &mut Vec<T>, _place: usize) {}

    pub(crate) const fn give_back(&mut self, _list: &mut Vec<T>) {}
}
