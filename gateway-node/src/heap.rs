//! How the C library's allocator treats what has been freed. A module of the binary: the library forbids `unsafe`.

use libc::{M_MMAP_THRESHOLD, M_TRIM_THRESHOLD, c_int, mallopt};

/// From this size on, in bytes, an allocation has pages of its own, which go back to the system when it is freed.
const OWN_PAGES: c_int = 64 * 1024;
/// So many free bytes at the end of a thread's heap go back as well.
const TRIM: c_int = 128 * 1024;

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
}
