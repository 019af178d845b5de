//! For the fuzz targets only: what a registry's answers go through and no caller sees by itself.

use std::time::Instant;

use crate::challenge::Challenge;
use crate::token::Token;
use crate::url::{Scheme, Url};

/// Reads a `WWW-Authenticate` header, and the URL in it both as a token service's and as a redirect.
pub fn challenge(header: &str) {
    let challenge = Challenge::choose(std::iter::once(header));
    if let Some(Challenge::Bearer { realm, .. }) = challenge {
        let _ = Url::parse(&realm);
        let _ = Url::of(Scheme::Https, "registry.example", "/v2/").map(|here| here.join(&realm));
    }
}

/// Reads a token service's answer.
pub fn token(answer: &[u8]) {
    let _ = Token::parse(answer, Instant::now());
}
