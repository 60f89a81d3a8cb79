//! Panics of runs: one of them is a finding about that run, with its place, and no matter of the process.
//!
//! A sweep of broken cores panics thousands of times. Inside [`catch`] the process-wide hook keeps quiet and only
//! remembers where it was; everywhere else panics are printed as always.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind, set_hook, take_hook};
use std::sync::Once;

thread_local! {
    static DEPTH: Cell<u32> = const { Cell::new(0) };
    static PLACE: RefCell<String> = const { RefCell::new(String::new()) };
}

static HOOK: Once = Once::new();

/// Ends the run of this thread at once. Runs are as deep in loops that wait for something as any program; unwinding
/// leaves all of them alike, and no loop has to be told.
#[derive(Debug)]
struct Stop(String);

/// Leaves the innermost [`catch`], which returns `why` for an error. No hook hears of it.
pub(crate) fn stop(why: String) -> ! {
    resume_unwind(Box::new(Stop(why)))
}

/// Counts this thread as inside a run until it is dropped, unwinding included.
struct Inside;

impl Inside {
    fn enter() -> Self {
        DEPTH.set(DEPTH.get() + 1);
        Self
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        DEPTH.set(DEPTH.get() - 1);
    }
}

/// Runs `run`. A panic in it is an error that says `panic: ` with the words and the place, and is printed nowhere.
pub fn catch<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    HOOK.call_once(|| {
        let before = take_hook();
        set_hook(Box::new(move |info| {
            if DEPTH.get() == 0 {
                return before(info);
            }
            let place = info.location().map(|place| format!(" at {}:{}", place.file(), place.line()));
            PLACE.set(place.unwrap_or_default());
        }));
    });
    let inside = Inside::enter();
    let outcome = catch_unwind(AssertUnwindSafe(run));
    drop(inside);
    outcome.map_err(|panic| {
        let panic = match panic.downcast::<Stop>() {
            Ok(stop) => return stop.0,
            Err(panic) => panic,
        };
        let words = panic.downcast_ref::<String>().map(String::as_str);
        let words = words.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a word");
        format!("panic: {words}{}", PLACE.take())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_with_its_words_and_its_place() {
        let error = catch(|| -> () { panic!("the disk is {}", "upside down") }).unwrap_err();
        assert!(error.starts_with("panic: the disk is upside down at "), "{error}");
        assert!(error.contains("panics.rs:"), "{error}");
    }

    #[test]
    fn stopping_is_no_panic_and_leaves_only_the_innermost_run() {
        let outer = catch(|| catch(|| -> () { stop("I4: enough".to_owned()) }));
        assert_eq!(outer, Ok(Err("I4: enough".to_owned())));
    }
}
