//! `tollgate hash-password`: makes the `password_hash` of a users file.

use std::io::{self, BufRead as _, IsTerminal as _};
use std::process::ExitCode;

use clap::Args;
use zeroize::Zeroizing;

use crate::identity::hash_password;

/// Reads a password from the terminal, unseen and twice, or else the first line of standard input.
#[derive(Debug, Args)]
pub(super) struct HashPassword {}

impl HashPassword {
    pub(super) fn run(self) -> ExitCode {
        let Self {} = self;
        let is_terminal = io::stdin().is_terminal();
        let password = match if is_terminal { ask() } else { first_line() } {
            Ok(Some(password)) => password,
            Ok(None) => {
                eprintln!("the two passwords differ; nothing was hashed");
                return ExitCode::FAILURE;
            }
            Err(error) => {
                eprintln!("the password cannot be read: {error}");
                return ExitCode::FAILURE;
            }
        };
        match hash_password(&password) {
            Ok(hash) => {
                println!("{hash}");
                if is_terminal {
                    eprintln!("\nPut it into the users file, in quotes, as `password_hash`:");
                    eprintln!("  - {{ username: NAME, subject: NEVER-CHANGES, password_hash: \"{hash}\" }}");
                }
                ExitCode::SUCCESS
            }
            Err(fault) => {
                eprintln!("{fault}");
                ExitCode::from(2)
            }
        }
    }
}

/// Asks twice; `None` if the answers differ.
fn ask() -> io::Result<Option<Zeroizing<String>>> {
    let first = Zeroizing::new(rpassword::prompt_password("Password: ")?);
    let second = Zeroizing::new(rpassword::prompt_password("Once more: ")?);
    Ok((first == second).then_some(first))
}

fn first_line() -> io::Result<Option<Zeroizing<String>>> {
    let mut line = Zeroizing::new(String::new());
    io::stdin().lock().read_line(&mut line)?;
    Ok(Some(Zeroizing::new(line.trim_end_matches(['\r', '\n']).to_owned())))
}
