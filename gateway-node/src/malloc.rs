//! How the C library's allocator treats what has been freed. A module of the binary: the library forbids `unsafe`.

use std::{thread, time::Duration};

use libc::{M_MMAP_THRESHOLD, M_TRIM_THRESHOLD, c_int, mallopt};

/// From this size on, in bytes, an allocation has pages of its own, which go back to the system when it is freed.
const OWN_PAGES: c_int = 64 * 1024;
/// So many free bytes at the end of a thread's heap go back as well.
const TRIM: c_int = 128 * 1024;
/// How often it is looked whether much is free between what is used.
const LOOK: Duration = Duration::from_secs(5);
/// So many bytes are much.
const MUCH: usize = 32 * 1024 * 1024;

/// Lets memory that is freed go back to the system. Has to be called before the first thread is made.
///
/// Left alone, glibc raises both thresholds to the largest block that was ever freed: after one burst of large events
/// every worker keeps megabytes for the next one. <https://man7.org/linux/man-pages/man3/mallopt.3.html>
#[allow(unsafe_code, reason = "nothing safe offers this call")]
pub(crate) fn give_memory_back() {
    // SAFETY: `mallopt` takes two integers, and its manual asks for one thing: that no other thread allocates meanwhile.
    // `main` begins with this, so there is no other thread. What it does not know it answers with 0, and leaves
    // everything as it was.
    unsafe {
        mallopt(M_MMAP_THRESHOLD, OWN_PAGES);
        mallopt(M_TRIM_THRESHOLD, TRIM);
    }
    // Without it the node works as well.
    let _ = thread::Builder::new().name("heap".to_owned()).spawn(look_after_it);
}

/// Has pages go back that are free between others.
///
/// What waits for clients that read slowly is freed when they are cut, and the log's entries lie between. Only the end of a
/// heap goes back by itself, so that the next wave would find its gigabyte still there.
fn look_after_it() {
    let mut free = Free::default();
    loop {
        thread::park_timeout(LOOK);
        if free.is_much(free_bytes()) {
            trim();
        }
    }
}

/// The bytes that are free, as the allocator counts them: those too whose pages have gone back.
#[allow(unsafe_code, reason = "nothing safe offers this call")]
fn free_bytes() -> usize {
    // SAFETY: it has no arguments, takes the locks that it needs, and answers with a structure of integers.
    // <https://man7.org/linux/man-pages/man3/mallinfo.3.html>
    unsafe { libc::mallinfo2() }.fordblks
}

#[allow(unsafe_code, reason = "nothing safe offers this call")]
fn trim() {
    // SAFETY: it takes an integer, and may be called by any thread at any time; what is in use it leaves alone.
    // <https://man7.org/linux/man-pages/man3/malloc_trim.3.html>
    unsafe { libc::malloc_trim(0) };
}

/// How much was free when it was least, since pages have gone back last.
#[derive(Debug, Default)]
struct Free {
    least: Option<usize>,
}

impl Free {
    /// Whether much has been freed since then, and is to go back now.
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
    fn what_was_freed_goes_back_once() {
        let mut free = Free::default();
        for (bytes, is_much) in [
            (50, false),
            (50 + MUCH - 1, false),
            (50 + MUCH, true),
            // It is counted still.
            (50 + MUCH, false),
            // Used again, and freed again.
            (10, false),
            (10 + MUCH, true),
            (10 + 2 * MUCH, true),
        ] {
            assert_eq!(free.is_much(bytes), is_much, "{bytes}");
        }
    }
}
