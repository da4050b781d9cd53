//! Makes the C library's allocator return freed memory to the system. This is a module of the binary because the
//! library forbids `unsafe`.

use std::{fs, thread, time::Duration};

use libc::{M_MMAP_THRESHOLD, M_TRIM_THRESHOLD, c_int, mallopt};

/// The size, in bytes, from which an allocation is mapped on its own, so that freeing it returns its pages to the
/// system.
const OWN_PAGES: c_int = 64 * 1024;
/// How many free bytes at the end of a heap make the allocator return them to the system.
const TRIM: c_int = 128 * 1024;
/// How often to look for idle memory.
const LOOK: Duration = Duration::from_secs(5);
/// How many bytes have to be idle to trigger a trim.
const MUCH: usize = 32 * 1024 * 1024;
/// The size of a page, in bytes. Where pages are larger, less counts as idle than is.
const PAGE: usize = 4096;

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
    let mut idle = IdleMemory::default();
    loop {
        thread::park_timeout(LOOK);
        if idle.is_much(idle_bytes()) {
            trim();
            idle.least = Some(idle_bytes());
        }
    }
}

/// Returns how many bytes are in memory without being allocated. The allocator's own count of free bytes would not do: it
/// includes those whose pages it has returned, so what is allocated there and freed again between two looks would not
/// show.
fn idle_bytes() -> usize {
    // One line, which the kernel makes up when it is read: pages in all, and pages in memory.
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok());
    (pages.unwrap_or(0) * PAGE).saturating_sub(allocated_bytes())
}

/// Returns how many bytes are allocated.
#[allow(unsafe_code, reason = "there is no safe wrapper for this call")]
fn allocated_bytes() -> usize {
    // SAFETY: it takes no arguments, acquires the locks that it needs, and returns a structure of integers.
    // <https://man7.org/linux/man-pages/man3/mallinfo.3.html>
    let counts = unsafe { libc::mallinfo2() };
    counts.uordblks + counts.hblkhd
}

#[allow(unsafe_code, reason = "there is no safe wrapper for this call")]
fn trim() {
    // SAFETY: it takes an integer, may be called by any thread at any time, and does not touch memory in use.
    // <https://man7.org/linux/man-pages/man3/malloc_trim.3.html>
    unsafe { libc::malloc_trim(0) };
}

/// The lowest number of idle bytes since the last trim, which is what a trim cannot return.
#[derive(Debug, Default)]
struct IdleMemory {
    least: Option<usize>,
}

impl IdleMemory {
    /// Records the idle bytes of now. Returns whether they have grown by `MUCH` or more since the lowest number.
    fn is_much(&mut self, idle: usize) -> bool {
        let least = self.least.map_or(idle, |least| least.min(idle));
        self.least = Some(least);
        idle - least >= MUCH
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn much_idle_memory_is_returned_whenever_it_is_seen() {
        let mut idle = IdleMemory::default();
        for (bytes, is_much) in [
            (50, false),
            (50 + MUCH - 1, false),
            (50 + MUCH, true),
            // Less than ever before.
            (10, false),
            (10 + MUCH, true),
            (10 + 2 * MUCH, true),
        ] {
            assert_eq!(idle.is_much(bytes), is_much, "{bytes}");
        }
    }

    #[test]
    fn memory_that_is_filled_and_freed_between_two_looks_is_idle() {
        const BLOCKS: usize = 3000;
        let before = idle_bytes();
        for _ in 0..2 {
            // Smaller than what is mapped on its own, and with something that stays in between.
            let mut stays = Vec::new();
            let mut goes = Vec::new();
            for _ in 0..BLOCKS {
                goes.push(vec![1_u8; 30_000]);
                stays.push(Box::new([1_u8; 64]));
            }
            assert!(idle_bytes() < before + MUCH, "it is allocated");
            drop(goes);
            assert!(idle_bytes() >= before + MUCH, "{} {before}", idle_bytes());
            trim();
            assert!(idle_bytes() < before + MUCH, "{} {before}", idle_bytes());
            drop(stays);
        }
    }
}
