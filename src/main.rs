//! The command line of `quorate`.

/// Under madsim the shell is driven by a test; there is no process to be.
#[cfg(madsim)]
fn main() {}

#[cfg(not(madsim))]
fn main() -> std::process::ExitCode {
    use clap::Parser as _;

    match cli::Cli::parse().command {
        cli::Command::Server { args } => quorate::shell::process::serve(&args),
        cli::Command::Check { file, fix, new_voter } => {
            quorate::shell::check::run(&file, fix, new_voter)
        }
        cli::Command::Admin(admin) => quorate::shell::admin::run(&admin),
    }
}

#[cfg(not(madsim))]
mod cli {
    use clap::{Parser, Subcommand};

    /// A key-value server that speaks the Redis protocol and keeps its promises when the network splits.
    #[derive(Parser)]
    #[command(version, arg_required_else_help = true, subcommand_required = true)]
    pub struct Cli {
        #[command(subcommand)]
        pub command: Command,
    }

    #[derive(Subcommand)]
    pub enum Command {
        /// Run a server: quorate server [FILE.conf] [--directive value ...]
        #[command(
            override_usage = "quorate server [FILE.conf] [--directive value ...]",
            after_help = AFTER_HELP
        )]
        Server {
            /// A file of redis.conf directives, then directives as flags, which win over the file
            #[arg(
                trailing_var_arg = true,
                allow_hyphen_values = true,
                value_name = "FILE.conf | --directive value"
            )]
            args: Vec<String>,
        },
        /// Inspect a file of the log, a snapshot or a dump; cut off what is torn or damaged of a log; mark a restored directory
        Check {
            /// log-….qlog, snapshot-….qsnap or dump.rdb in a data directory; with --new-voter the directory
            file: std::path::PathBuf,
            /// Cut the file off where it can no longer be read; what stood there is kept beside it
            #[arg(long)]
            fix: bool,
            /// Make a restored data directory of strong mode another voter, whose copies have to catch up
            #[arg(long, conflicts_with = "fix")]
            new_voter: bool,
        },
        /// Look at a cluster in strong mode, and begin one
        // -h is the host there, as redis-cli has it.
        #[command(disable_help_flag = true, after_help = quorate::shell::admin::EXAMPLES)]
        Admin(quorate::shell::admin::Admin),
    }

    const AFTER_HELP: &str = "\
Without arguments the server listens on port 6379 of all addresses and keeps its data in
./quorate-data. Clients from other hosts need a password (requirepass) or 'protected-mode no'.

Two masters that both take writes, one on each host:
  quorate server --multi-master yes --active-replica yes --replicaof OTHER_HOST 6379 \\
                 --requirepass SECRET --masterauth SECRET";
}
