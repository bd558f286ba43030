//! `trenvx completions`: what shells need to complete commands, options and their values.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

/// Print the completions of a shell, to be put where it looks for them.
#[derive(Debug, Args)]
#[command(after_help = "\
bash: trenvx completions bash > ~/.local/share/bash-completion/completions/trenvx
zsh:  trenvx completions zsh > a folder of $fpath, as _trenvx
fish: trenvx completions fish > ~/.config/fish/completions/trenvx.fish")]
pub struct CompletionsArgs {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

/// Prints them.
pub fn run(args: &CompletionsArgs) {
    let mut command = crate::Cli::command();
    clap_complete::generate(args.shell, &mut command, "trenvx", &mut std::io::stdout());
}
