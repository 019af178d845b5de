//! How this engine meets registries: with the user's own logins, and by no other name than gamut's.

use gamut_registry::auth::{AuthFiles, AuthSource, Credentials, Secret};
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

/// Shows a name and a password to `registry` and keeps them if they are taken.
///
/// # Errors
/// What the registry says of them, or why they cannot be kept.
pub fn login(registry: &str, user: &str, password: &str) -> Result<Stored, EngineError> {
    let credentials = Credentials::Password {
        user: user.to_owned(),
        secret: Secret::new(password),
    };
    Ok(Client::new(options()?).login(registry, &credentials, &AuthFiles::of_user())?)
}

/// Forgets the login for `registry`.
///
/// # Errors
/// [`gamut_registry::auth::AuthError::NotLoggedIn`], or why a file cannot be changed.
pub fn logout(registry: &str) -> Result<(), EngineError> {
    let registry = registry_name(registry)?;
    Ok(AuthFiles::of_user().erase(&registry)?)
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
