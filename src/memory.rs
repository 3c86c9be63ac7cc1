//! Where the memory of this program comes from, decided in one place. What a burst of calls needed goes
//! back to the system when it is over: docs/measures.md compares the allocators that were tried.

/// Tests, and fuzzing, count what is allocated with an allocator of their own.
#[cfg(all(target_os = "linux", not(any(test, fuzzing))))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Gives back in the background what is free for a while, also when nothing is asked of the server: for
/// programs that live long.
#[cfg(target_os = "linux")]
pub(crate) fn give_back() {
    if let Err(error) = tikv_jemalloc_ctl::background_thread::write(true) {
        tracing::warn!(%error, "memory that is free is given back late");
    }
}

/// Other systems give it back by themselves.
#[cfg(not(target_os = "linux"))]
pub(crate) fn give_back() {}
