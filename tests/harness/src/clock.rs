//! A wall clock that a test sets, even while the program that reads it runs.

use std::{
    fs,
    path::{Path, PathBuf},
};

use tempfile::TempDir;
use tokio::process::Command;

use super::{
    command::{run, tool},
    deadline::WAIT,
};

/// A wall clock for the programs that are started with its environment. It runs as fast as the real one; monotonic
/// clocks are not affected.
#[derive(Debug)]
pub struct Clock {
    folder: TempDir,
    /// The value of `LD_PRELOAD` that gives a program this clock.
    libraries: String,
}

impl Clock {
    /// Creates a clock that shows the real time.
    pub async fn start() -> Self {
        remove_leftovers();
        // The wrapper only reports where its library is. If it started the program, the program's process id would not
        // be the child's.
        let mut wrapper = Command::new(tool("UTILBOT_TEST_FAKETIME", "faketime"));
        let ran = run(wrapper.args(["-m", "-f", "+0", "printenv", "LD_PRELOAD"]), WAIT).await;
        let library = ran.stdout.trim();
        assert!(ran.status.success() && !library.is_empty(), "faketime: {ran:?}");
        let clock = Self {
            folder: tempfile::tempdir().expect("a folder for the clock"),
            // An allocator that reads the clock before the clock's library is loaded, as that of Redis does, would wait
            // for itself. So the C library's allocator comes first.
            libraries: format!("{library}:libc.so.6"),
        };
        clock.set(0);
        clock
    }

    /// Sets the clock this far ahead of the real time (behind if negative), at once for every program that reads it.
    pub fn set(&self, ahead_ms: i64) {
        let sign = if ahead_ms < 0 { '-' } else { '+' };
        let ms = ahead_ms.unsigned_abs();
        let text = format!("{sign}{}.{:03}\n", ms / 1000, ms % 1000);
        // The rename keeps readers from seeing a half-written file.
        let new = self.folder.path().join("new");
        fs::write(&new, text)
            .and_then(|()| fs::rename(new, self.file()))
            .expect("the clock can be set");
    }

    /// Returns the environment that gives a program this clock.
    pub(crate) fn environment(&self) -> [(String, String); 4] {
        let file = self.file();
        [
            ("LD_PRELOAD", &*self.libraries),
            (
                "FAKETIME_TIMESTAMP_FILE",
                file.to_str().expect("a folder's name is text"),
            ),
            ("FAKETIME_NO_CACHE", "1"),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("clock")
    }
}

/// Removes the shared memory of wrappers that have ended. The wrapper leaves it behind, under its process id, and fails if
/// it gets the id of an earlier one.
fn remove_leftovers() {
    let Ok(entries) = fs::read_dir("/dev/shm") else { return };
    for entry in entries.flatten() {
        let name = entry.file_name().into_string().unwrap_or_default();
        let id = ["faketime_shm_", "sem.faketime_sem_"]
            .iter()
            .find_map(|prefix| name.strip_prefix(prefix)?.parse::<u32>().ok());
        if id.is_some_and(|id| !Path::new(&format!("/proc/{id}")).exists()) {
            // Another test may have removed it.
            let _ = fs::remove_file(entry.path());
        }
    }
}
