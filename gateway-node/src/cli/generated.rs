//! `gateway-node completions` and `gateway-node man`: what is generated from the definition of the command line.

use std::{fs, io, io::Write, path::PathBuf};

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::{Cli, CliError};

/// The name of the binary.
const NAME: &str = "gateway-node";

/// The options of `completions`.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Examples:\n  gateway-node completions bash > /etc/bash_completion.d/gateway-node\n  \
                        gateway-node completions zsh > ~/.zfunc/_gateway-node"
)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_name = "SHELL")]
    pub shell: Shell,
}

/// The options of `man`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:\n  gateway-node man | man -l -\n  \
                        gateway-node man --out /usr/local/share/man/man1")]
pub struct ManArgs {
    /// Write the page of each command into this directory, instead of the first page to standard output
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

/// Prints the completion script of a shell.
pub(super) fn completions(args: &CompletionsArgs, out: &mut dyn Write) {
    clap_complete::generate(args.shell, &mut Cli::command(), NAME, &mut Writer(out));
}

/// Prints the manual page of the binary, or writes those of all commands.
pub(super) fn man(args: &ManArgs, out: &mut dyn Write) -> Result<(), CliError> {
    match &args.out {
        None => clap_mangen::Man::new(Cli::command()).render(&mut Writer(out))?,
        Some(folder) => {
            fs::create_dir_all(folder)?;
            clap_mangen::generate_to(Cli::command(), folder)?;
        }
    }
    Ok(())
}

/// The output as a sized writer, which both generators ask for.
struct Writer<'a>(&'a mut dyn Write);

impl Write for Writer<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
