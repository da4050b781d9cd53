//! Environment variables that set something, by themselves or with a file.

use std::{borrow::Cow, fs::File, io::Read as _, path::Path};

use super::setting::SettingDoc;

/// The prefix of environment variables that set something.
const PREFIX: &str = "UTILBOT__";
/// What the key of a variable ends with that names a file.
const FILE: &str = ".file";
/// Maximum bytes of a file with a value.
const FILE_BYTES: u64 = 1 << 20;

/// The beginning of the origin of a value from the environment.
pub(super) const ENVIRONMENT: &str = "environment ";
/// What the origin of a value contains that was read from a file which a variable names.
pub(super) const FROM_FILE: &str = " (from file ";

/// An environment variable that sets something: `UTILBOT__REDIS__URL`, or `UTILBOT__REDIS__URL__FILE` with the path of a
/// file that contains the value.
#[derive(Debug)]
pub(super) struct Variable<'a> {
    /// The variable's name.
    pub(super) name: &'a str,
    /// The key of what it sets, such as `redis.url`.
    pub(super) key: String,
    /// The origin of its value, for errors.
    pub(super) origin: String,
    /// The value, or the path of the file with it.
    content: &'a str,
    is_file: bool,
}

/// Why the file with a value cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum FileError {
    #[error("a readable file ({0})")]
    Unreadable(#[from] std::io::Error),
    #[error("a regular file")]
    NotAFile,
    #[error("a file of at most {FILE_BYTES} bytes")]
    TooLarge,
    #[error("a file with UTF-8 text")]
    NotText,
}

impl<'a> Variable<'a> {
    /// Returns the variable `name` with the value `content`, or `None` if it is not meant for the configuration.
    pub(super) fn of(name: &'a str, content: &'a str, docs: &[SettingDoc]) -> Option<Self> {
        let key = name.strip_prefix(PREFIX)?.to_lowercase().replace("__", ".");
        let is_setting = docs.iter().any(|doc| doc.key == key);
        let named = key.strip_suffix(FILE).filter(|_| !is_setting).map(str::to_owned);
        let is_file = named.is_some();
        let origin = if is_file {
            format!("{ENVIRONMENT}{name}{FROM_FILE}{content})")
        } else {
            format!("{ENVIRONMENT}{name}")
        };
        Some(Self {
            name,
            key: named.unwrap_or(key),
            origin,
            content,
            is_file,
        })
    }

    /// Returns the text of the value: the variable's own, or that of its file without the line break at its end.
    ///
    /// # Errors
    /// If the file cannot be used.
    pub(super) fn text(&self) -> Result<Cow<'a, str>, FileError> {
        if !self.is_file {
            return Ok(self.content.into());
        }
        let path = Path::new(self.content);
        // Opening a pipe would wait for its writer.
        if !path.metadata()?.is_file() {
            return Err(FileError::NotAFile);
        }
        let mut bytes = Vec::new();
        File::open(path)?.take(FILE_BYTES + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > FILE_BYTES {
            return Err(FileError::TooLarge);
        }
        let mut text = String::from_utf8(bytes).map_err(|_| FileError::NotText)?;
        if text.ends_with('\n') {
            text.pop();
            if text.ends_with('\r') {
                text.pop();
            }
        }
        Ok(text.into())
    }
}
