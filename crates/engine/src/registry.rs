//! How this engine meets registries: with the user's own logins, and by no other name than gamut's.

use gamut_registry::auth::{AuthFiles, AuthSource, Credentials, Secret};
use gamut_registry::{Client, Options, registry_name};

use crate::error::EngineError;

pub use gamut_registry::auth::Stored;

/// The registry that a login without a name means.
pub const DEFAULT_REGISTRY: &str = gamut_spec::reference::DEFAULT_REGISTRY;

/// Docker's and Podman's logins of this user, and the certificates of this host.
#[must_use]
pub fn options() -> Options {
    Options {
        auth: AuthSource::Files(AuthFiles::of_user()),
        ..Options::default()
    }
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
    Ok(Client::new(options()).login(registry, &credentials, &AuthFiles::of_user())?)
}

/// Forgets the login for `registry`.
///
/// # Errors
/// [`gamut_registry::auth::AuthError::NotLoggedIn`], or why a file cannot be changed.
pub fn logout(registry: &str) -> Result<(), EngineError> {
    let registry = registry_name(registry)?;
    Ok(AuthFiles::of_user().erase(&registry)?)
}
