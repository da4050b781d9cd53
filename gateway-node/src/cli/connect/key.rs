//! The key of a client, from a file or the environment. It never comes from the command line, which every user of the
//! machine can read and which shells write to their history.

use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use clap::{Arg, ArgMatches, Command, error::ErrorKind, parser::ValueSource, value_parser};
use secrecy::SecretString;

/// Maximum bytes read of a key file; longer than any key.
const KEY_FILE_BYTES: u64 = 4096;

/// The environment variable that contains a key.
pub const KEY_VARIABLE: &str = "UTILBOT_KEY";

/// `--key-file FILE`, or the variable [`KEY_VARIABLE`].
#[derive(Debug, Clone, Default)]
pub struct KeyArgs {
    /// The file whose only line is the key. It takes precedence over the environment.
    pub file: Option<PathBuf>,
    /// The value of the environment variable.
    pub from_environment: Option<SecretString>,
}

/// Why no key could be loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectKeyError {
    /// Neither a file nor the environment provides one.
    #[error("no key: give --key-file FILE or set {KEY_VARIABLE}")]
    Missing,
    /// The file cannot be read.
    #[error("cannot read the key file {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The text is not a key.
    #[error("{origin} does not contain a key: expected one line of printable ASCII characters (id.secret)")]
    NotAKey {
        /// The file's path or the variable's name.
        origin: String,
    },
}

impl KeyArgs {
    /// Loads the key from the file if one is named, then from the environment; otherwise it is `configured`. Surrounding
    /// white space is removed.
    ///
    /// # Errors
    ///
    /// [`ConnectKeyError`], which never shows what was read.
    pub fn load(&self, configured: Option<&SecretString>) -> Result<SecretString, ConnectKeyError> {
        use secrecy::ExposeSecret as _;

        match (&self.file, &self.from_environment) {
            (Some(path), _) => {
                let text = read(path).map_err(|source| ConnectKeyError::Read {
                    path: path.clone(),
                    source,
                })?;
                parse(&text, || path.display().to_string())
            }
            (None, Some(key)) if !key.expose_secret().is_empty() => {
                parse(key.expose_secret(), || KEY_VARIABLE.to_owned())
            }
            (None, _) => configured.cloned().ok_or(ConnectKeyError::Missing),
        }
    }
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(KEY_FILE_BYTES).read_to_string(&mut text)?;
    Ok(text)
}

fn parse(text: &str, origin: impl FnOnce() -> String) -> Result<SecretString, ConnectKeyError> {
    let key = text.trim();
    // The gateway decides whether the key is valid. Here it only has to fit in a header and on one line.
    if key.is_empty() || !key.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return Err(ConnectKeyError::NotAKey { origin: origin() });
    }
    Ok(SecretString::from(key))
}

// Implemented by hand: a derived argument that reads the environment can also be given on the command line. `--key`
// exists only to be refused with the reason.
impl clap::Args for KeyArgs {
    fn augment_args(command: Command) -> Command {
        command
            .arg(
                Arg::new("key_file")
                    .long("key-file")
                    .value_name("FILE")
                    .value_parser(value_parser!(PathBuf))
                    .help("File whose only line is the key [or set UTILBOT_KEY]"),
            )
            .arg(
                Arg::new("key")
                    .long("key")
                    .env(KEY_VARIABLE)
                    .hide(true)
                    .hide_env_values(true)
                    .value_parser(|text: &str| Ok::<_, String>(SecretString::from(text))),
            )
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl clap::FromArgMatches for KeyArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        if matches.value_source("key") == Some(ValueSource::CommandLine) {
            return Err(clap::Error::raw(
                ErrorKind::UnknownArgument,
                "a key on the command line can be read by every user of this machine: \
                 give --key-file FILE or set UTILBOT_KEY",
            ));
        }
        Ok(Self {
            file: matches.get_one::<PathBuf>("key_file").cloned(),
            from_environment: matches.get_one::<SecretString>("key").cloned(),
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use clap::Parser;
    use secrecy::ExposeSecret as _;

    use super::*;

    #[derive(Debug, Parser)]
    struct KeyTestCli {
        #[command(flatten)]
        key: KeyArgs,
    }

    fn file(content: &[u8]) -> (tempfile::NamedTempFile, KeyArgs) {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(content).unwrap();
        let args = KeyArgs {
            file: Some(file.path().to_owned()),
            from_environment: Some("other.secret".into()),
        };
        (file, args)
    }

    #[test]
    fn a_key_on_the_command_line_is_refused_and_not_repeated() {
        let error = KeyTestCli::try_parse_from(["x", "--key", "id.verysecret"]).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("UTILBOT_KEY") && !text.contains("verysecret"), "{text}");
    }

    #[test]
    fn the_file_takes_precedence_over_the_environment_and_is_trimmed() {
        let (_file, args) = file(b"id.secret\r\n");
        assert_eq!(args.load(None).unwrap().expose_secret(), "id.secret");
    }

    #[test]
    fn invalid_keys_are_refused_and_not_shown() {
        for content in [&b""[..], b" \n", b"two\nlines", "ключ".as_bytes()] {
            let (_file, args) = file(content);
            let error = args.load(None).unwrap_err();
            assert!(matches!(error, ConnectKeyError::NotAKey { .. }), "{error}");
            assert!(!error.to_string().contains("two"));
        }
        let (_file, args) = file(b"\xff\xfe");
        assert!(matches!(args.load(None), Err(ConnectKeyError::Read { .. })));
    }

    #[test]
    fn a_missing_key_error_says_how_to_give_one() {
        let empty = KeyArgs {
            file: None,
            from_environment: Some("".into()),
        };
        for args in [KeyArgs::default(), empty] {
            let error = args.load(None).unwrap_err();
            assert_eq!(error.to_string(), "no key: give --key-file FILE or set UTILBOT_KEY");
            let configured = SecretString::from("id.configured");
            let key = args.load(Some(&configured)).unwrap();
            assert_eq!(key.expose_secret(), "id.configured");
        }
    }

    #[test]
    fn debug_output_has_no_key() {
        let args = KeyArgs {
            file: None,
            from_environment: Some("id.verysecret".into()),
        };
        assert!(!format!("{args:?}").contains("verysecret"));
    }
}
