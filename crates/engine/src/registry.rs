//! How this engine meets registries: with the user's own logins, and by no other name than gamut's.

use std::path::PathBuf;
use std::time::Duration;

use gamut_registry::auth::{AuthError, AuthFiles, AuthSource, Credentials, Secret};
use gamut_registry::{Client, registry_name};

use crate::error::EngineError;
use crate::registries::Registries;

pub use gamut_registry::Options;
pub use gamut_registry::auth::Stored;

/// The registry that a login without a name means.
pub const DEFAULT_REGISTRY: &str = gamut_spec::reference::DEFAULT_REGISTRY;

/// Docker's and Podman's logins of this user, and what this host says of registries.
///
/// # Errors
/// [`crate::registries::RegistriesError`]: a file about registries that cannot be understood.
pub fn options() -> Result<Options, EngineError> {
    Ok(Options {
        auth: AuthSource::Files(AuthFiles::of_user()),
        insecure: Registries::of_host()?.insecure(),
        ..Options::default()
    })
}

/// What a command was told about a registry; what it was not told is as [`options`] says.
#[derive(Debug, Default)]
pub struct Access {
    /// The logins' file, in place of the user's.
    pub auth_file: Option<PathBuf>,
    /// A directory with `*.crt`, and `*.cert` with `*.key`.
    pub certificates: Option<PathBuf>,
    /// Name and password.
    pub login: Option<(String, String)>,
    /// Whether certificates are checked, and plain HTTP is refused.
    pub verify: Option<bool>,
    pub retries: Option<u32>,
    pub first_wait: Option<Duration>,
}

impl Access {
    /// For `registry`, as a reference names it.
    ///
    /// # Errors
    /// As [`options`].
    pub fn options(self, registry: &str) -> Result<Options, EngineError> {
        let mut options = options()?;
        if let Some(path) = self.auth_file {
            options.auth = AuthSource::Files(AuthFiles::new(vec![path]));
        }
        if let Some((user, password)) = self.login {
            options.auth = AuthSource::Given {
                registry: registry.to_owned(),
                credentials: Credentials::Password {
                    user,
                    secret: Secret::new(password),
                },
            };
        }
        match self.verify {
            Some(true) => options.insecure.clear(),
            Some(false) => options.insecure.push(registry.to_owned()),
            None => {}
        }
        options.own_certificates = self.certificates;
        if let Some(retries) = self.retries {
            options.patience.retries = retries;
        }
        if let Some(wait) = self.first_wait {
            options.patience.first_wait = wait;
            options.patience.longest_wait = options.patience.longest_wait.max(wait);
        }
        Ok(options)
    }
}

/// Shows a name and a password to `registry` and keeps them if they are taken.
///
/// # Errors
/// What the registry says of them, or why they cannot be kept.
pub fn login(
    registry: &str,
    user: &str,
    password: &str,
    access: Access,
) -> Result<Stored, EngineError> {
    let files = files(access.auth_file.as_ref());
    let options = access.options(&registry_name(registry)?)?;
    let credentials = Credentials::Password {
        user: user.to_owned(),
        secret: Secret::new(password),
    };
    Ok(Client::new(options).login(registry, &credentials, &files)?)
}

/// Forgets the login for `registry`.
///
/// # Errors
/// [`gamut_registry::auth::AuthError::NotLoggedIn`], or why a file cannot be changed.
pub fn logout(registry: &str, auth_file: Option<&PathBuf>) -> Result<(), EngineError> {
    let registry = registry_name(registry)?;
    Ok(files(auth_file).erase(&registry)?)
}

/// Forgets every login; which they were.
///
/// # Errors
/// Why a file cannot be changed.
pub fn logout_everywhere(auth_file: Option<&PathBuf>) -> Result<Vec<String>, EngineError> {
    let files = files(auth_file);
    let registries = files.registries()?;
    for registry in &registries {
        files.erase(registry)?;
    }
    Ok(registries)
}

/// The name that is kept for `registry`.
///
/// # Errors
/// [`gamut_registry::auth::AuthError::NotLoggedIn`], or why a file cannot be read.
pub fn logged_in(registry: &str, auth_file: Option<&PathBuf>) -> Result<String, EngineError> {
    let registry = registry_name(registry)?;
    match files(auth_file).lookup(&registry, "")? {
        Some(Credentials::Password { user, .. }) => Ok(user),
        _ => Err(AuthError::NotLoggedIn(registry).into()),
    }
}

fn files(auth_file: Option<&PathBuf>) -> AuthFiles {
    match auth_file {
        Some(path) => AuthFiles::new(vec![path.clone()]),
        None => AuthFiles::of_user(),
    }
}

/// Whether a text is a URL rather than a path.
#[must_use]
pub fn is_url(text: &str) -> bool {
    gamut_registry::is_url(text)
}

/// The content at a URL.
///
/// # Errors
/// When it cannot be had.
pub fn download(url: &str) -> Result<impl std::io::Read + Send + use<>, EngineError> {
    Ok(gamut_registry::download(url, &Options::default())?)
}
