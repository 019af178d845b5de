//! `gamut login`.

use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use crate::args::Context;
use crate::error::Failure;
use crate::terminal;
use gamut_engine::registry::{self, Access};
use gamut_spec::{Fault, Kind};

/// Log in to a registry
#[derive(clap::Args)]
pub struct Args {
    /// Password or token
    #[arg(short, long, conflicts_with = "password_stdin")]
    pub password: Option<String>,

    /// Read the password from standard input
    #[arg(long)]
    pub password_stdin: bool,

    /// User name
    #[arg(short, long)]
    pub username: Option<String>,

    /// File to keep the login in, instead of the user's own
    #[arg(long, value_name = "FILE")]
    pub authfile: Option<PathBuf>,

    /// Directory with certificates for the registry: *.crt of authorities, *.cert and *.key of this client
    #[arg(long, value_name = "DIR")]
    pub cert_dir: Option<PathBuf>,

    /// Whether the registry must speak HTTPS with a certificate that is checked
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub tls_verify: Option<bool>,

    /// Print as whom there is a login, and do nothing
    #[arg(long, conflicts_with_all = ["username", "password", "password_stdin"])]
    pub get_login: bool,

    /// The registry; Docker Hub by default
    pub server: Option<String>,
}

impl std::fmt::Debug for Args {
    /// Without the password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Args")
            .field("username", &self.username)
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}

/// Carries it out.
pub fn run(args: Args, _context: &Context) -> Result<ExitCode, Failure> {
    let server = args.server.as_deref().unwrap_or(registry::DEFAULT_REGISTRY);
    if args.get_login {
        let user = registry::logged_in(server, args.authfile.as_ref()).map_err(Failure::engine)?;
        writeln!(io::stdout(), "{user}").map_err(Failure::Output)?;
        return Ok(ExitCode::SUCCESS);
    }
    let (user, password) = credentials(&args)?;
    let access = Access {
        auth_file: args.authfile,
        certificates: args.cert_dir,
        verify: args.tls_verify,
        ..Access::default()
    };
    let stored = registry::login(server, &user, &password, access).map_err(Failure::engine)?;
    if let registry::Stored::File(path) = stored {
        eprintln!(
            "warning: the password is kept unencrypted in {}",
            path.display()
        );
    }
    writeln!(io::stdout(), "Login Succeeded").map_err(Failure::Output)?;
    Ok(ExitCode::SUCCESS)
}

/// The name and the password, asked for where they are not given.
fn credentials(args: &Args) -> Result<(String, String), Failure> {
    if args.password_stdin {
        let user = args.username.clone();
        let user = user.ok_or(Failure::engine(LoginError::NoUser))?;
        let mut password = String::new();
        io::stdin()
            .read_to_string(&mut password)
            .map_err(|error| Failure::engine(LoginError::Input(error)))?;
        return Ok((user, filled(&password)?));
    }
    if args.password.is_some() {
        eprintln!(
            "warning: a password on the command line is seen by others; use --password-stdin"
        );
    } else if !terminal::is_terminal(io::stdin()) {
        return Err(Failure::engine(LoginError::NobodyToAsk));
    }
    let user = match &args.username {
        Some(user) => user.clone(),
        None => filled(&ask("Username: ")?)?,
    };
    let password = match &args.password {
        Some(password) => password.clone(),
        None => {
            let _hidden = terminal::NoEcho::enter(io::stdin()).map_err(Failure::Terminal)?;
            let password = ask("Password: ");
            // Enter was not echoed.
            eprintln!();
            password?
        }
    };
    Ok((user, filled(&password)?))
}

fn ask(question: &str) -> Result<String, Failure> {
    eprint!("{question}");
    let mut line = String::new();
    io::stdin()
        .read_line(&mut line)
        .map_err(|error| Failure::engine(LoginError::Input(error)))?;
    Ok(line)
}

/// Without the end of the line; empty is none.
fn filled(text: &str) -> Result<String, Failure> {
    match text.trim_end_matches(['\r', '\n']) {
        "" => Err(Failure::engine(LoginError::Empty)),
        text => Ok(text.to_owned()),
    }
}

/// Why there is nothing to log in with.
#[derive(Debug, thiserror::Error)]
enum LoginError {
    #[error("`--password-stdin` needs `--username`")]
    NoUser,
    #[error("standard input is not a terminal, so nobody can be asked for a password")]
    NobodyToAsk,
    #[error("nothing was entered")]
    Empty,
    #[error("cannot read standard input: {0}")]
    Input(io::Error),
}

impl Fault for LoginError {
    fn kind(&self) -> Kind {
        match self {
            Self::Input(_) => Kind::Unavailable,
            _ => Kind::Invalid,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::NobodyToAsk => Some("use `--username` with `--password-stdin`".to_owned()),
            _ => None,
        }
    }
}
