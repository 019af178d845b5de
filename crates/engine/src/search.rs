//! Looking for images in a registry.

use gamut_registry::{Client, Options};
use gamut_spec::reference::Reference;

use crate::error::EngineError;
use crate::registries::Registries;

pub use gamut_registry::Found;

/// The repositories whose name or description has the term; `reference` is the registry, and the
/// term its repository.
///
/// # Errors
/// When the registry does not answer, or cannot be searched.
pub fn search(
    reference: &Reference,
    term: &str,
    limit: usize,
    options: Options,
) -> Result<Vec<Found>, EngineError> {
    let reference = Registries::of_host()?.target(reference)?;
    Ok(Client::new(options).search(&reference, term, limit)?)
}

/// The tags of a repository.
///
/// # Errors
/// When the registry does not answer, or has no such repository.
pub fn tags(repository: &Reference, options: Options) -> Result<Vec<String>, EngineError> {
    let repository = Registries::of_host()?.target(repository)?;
    Ok(Client::new(options).tags(&repository)?)
}
