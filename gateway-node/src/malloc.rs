//! Makes the C library's allocator return freed memory to the system. This is a module of the binary because the
//! library forbids `unsafe`.

use std::{thread, time::Duration};

use libc::{M_MMAP_THRESHOLD, M_TRIM_THRESHOLD, c_int, mallopt};

/// The size, in bytes, from which an allocation is mapped on its own, so that freeing it returns its pages to the
/// system.
const OWN_PAGES: c_int = 64 * 1024;
/// How many free bytes at the end of a heap make the allocator return them to the system.
const TRIM: c_int = 128 * 1024;
/// How often to check for free memory between allocations.
const LOOK: Duration = Duration::from_secs(5);
/// How many bytes have to be freed to trigger a trim.
const MUCH: usize = 32 * 1024 * 1024;

/// Makes freed memory return to the system. Must be called before the first thread starts.
///
/// By default glibc raises both thresholds to match the largest block ever freed, so that after one burst of large
/// events every worker keeps megabytes for the next one. <https://man7.org/linux/man-pages/man3/mallopt.3.html>
#[allow(unsafe_code, reason = "there is no safe wrapper for this call")]
pub(crate) fn give_memory_back() {
    // SAFETY: `mallopt` takes two integers. Its manual requires only that no other thread allocates meanwhile; `main`
    // calls this first, so there is no other thread. For an unknown parameter it returns 0 and changes nothing.
    unsafe {
        mallopt(M_MMAP_THRESHOLD, OWN_PAGES);
        mallopt(M_TRIM_THRESHOLD, TRIM);
    }
    // The node works without this thread.
    let _ = thread::Builder::new().name("heap".to_owned()).spawn(look_after_it);
}

/// Returns free pages in the middle of a heap to the system, for as long as the process runs.
///
/// Cutting slow clients frees their outboxes, but log entries that are still in use lie between the freed blocks. The
/// allocator by itself returns only the end of a heap, so a gigabyte of outboxes would stay with the process.
fn look_after_it() {
    let mut free = Free::default();
    loop {
        thread::park_timeout(LOOK);
        if free.is_much(free_bytes()) {
            trim();
        }
    }
}

/// Returns how many bytes are free. The allocator also counts those whose pages it has returned.
#[allow(unsafe_code, reason = "there is no safe wrapper for this call")]
fn free_bytes() -> usize {
    // SAFETY: it takes no arguments, acquires the locks that it needs, and returns a structure of integers.
    // <https://man7.org/linux/man-pages/man3/mallinfo.3.html>
    unsafe { libc::mallinfo2() }.fordblks
}

#[allow(unsafe_code, reason = "there is no safe wrapper for this call")]
fn trim() {
    // SAFETY: it takes an integer, may be called by any thread at any time, and does not touch memory in use.
    // <https://man7.org/linux/man-pages/man3/malloc_trim.3.html>
    unsafe { libc::malloc_trim(0) };
}

/// The lowest number of free bytes since the last trim.
#[derive(Debug, Default)]
struct Free {
    least: Option<usize>,
}

impl Free {
    /// Returns whether enough bytes have been freed since then to trim now.
    fn is_much(&mut self, free: usize) -> bool {
        let least = self.least.map_or(free, |least| least.min(free));
        let is_much = free - least >= MUCH;
        self.least = Some(if is_much { free } else { least });
        is_much
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn freed_memory_triggers_one_trim() {
        let mut free = Free::default();
        for (bytes, is_much) in [
            (50, false),
            (50 + MUCH - 1, false),
            (50 + MUCH, true),
            // The allocator still counts them as free.
            (50 + MUCH, false),
            // Allocated again, and freed again.
            (10, false),
            (10 + MUCH, true),
            (10 + 2 * MUCH, true),
        ] {
            assert_eq!(free.is_much(bytes), is_much, "{bytes}");
        }
    }
}
