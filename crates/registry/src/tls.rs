//! Whom to trust: the system's certificate authorities, and those that an administrator named for
//! one registry in `certs.d` (docs.docker.com/engine/security/certificates,
//! containers-certs.d(5)). No authorities are compiled in.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustls::crypto::CryptoProvider;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, TlsProvider, parse_pem};

use crate::error::RegistryError;

/// How the other side of a TLS connection is judged.
#[derive(Debug, Clone)]
pub(crate) enum Trust {
    /// By the system's authorities.
    System,
    /// By the system's and these; the name of the registry they were read for tells two such
    /// sets apart.
    Also {
        registry: String,
        authorities: Arc<Vec<Certificate<'static>>>,
    },
    /// Not at all: an insecure registry, by the user's word.
    Anyone,
}

impl Trust {
    /// What [`crate::transport`] keeps connections of one sort apart by.
    pub(crate) fn key(&self) -> &str {
        match self {
            Trust::System => "",
            Trust::Also { registry, .. } => registry,
            Trust::Anyone => "*",
        }
    }
}

/// The system's authorities, read when first needed, and rustls' provider.
#[derive(Debug)]
pub(crate) struct Authorities {
    system: OnceLock<Arc<Vec<Certificate<'static>>>>,
    provider: Arc<CryptoProvider>,
}

impl Authorities {
    pub(crate) fn new() -> Authorities {
        Authorities {
            system: OnceLock::new(),
            provider: Arc::new(rustls::crypto::ring::default_provider()),
        }
    }

    /// The system's authorities; unreadable ones are passed over.
    pub(crate) fn system(&self) -> &Arc<Vec<Certificate<'static>>> {
        self.system.get_or_init(|| {
            let found = rustls_native_certs::load_native_certs();
            let certificates = found.certs.iter();
            Arc::new(
                certificates
                    .map(|certificate| Certificate::from_der(certificate).to_owned())
                    .collect(),
            )
        })
    }

    pub(crate) fn config(&self, trust: &Trust) -> TlsConfig {
        let builder = TlsConfig::builder()
            .provider(TlsProvider::Rustls)
            .unversioned_rustls_crypto_provider(self.provider.clone());
        match trust {
            Trust::System => builder
                .root_certs(RootCerts::Specific(self.system().clone()))
                .build(),
            Trust::Also { authorities, .. } => {
                let all = self.system().iter().chain(authorities.iter()).cloned();
                builder.root_certs(RootCerts::from(all)).build()
            }
            Trust::Anyone => builder
                .root_certs(RootCerts::Specific(Arc::default()))
                .disable_verification(true)
                .build(),
        }
    }
}

/// The authorities that `directories` hold for the registry's names: each `*.crt` in
/// `DIRECTORY/NAME`.
pub(crate) fn authorities_for(
    directories: &[PathBuf],
    names: &[&str],
) -> Result<Vec<Certificate<'static>>, RegistryError> {
    let mut authorities = Vec::new();
    for directory in directories {
        for name in names {
            read_directory(&directory.join(name), &mut authorities)?;
        }
    }
    Ok(authorities)
}

fn read_directory(
    directory: &Path,
    authorities: &mut Vec<Certificate<'static>>,
) -> Result<(), RegistryError> {
    let failed = |path: &Path, reason: String| RegistryError::Certificates {
        path: path.to_owned(),
        reason,
    };
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(());
        }
        Err(error) => return Err(failed(directory, error.to_string())),
    };
    for entry in entries {
        let path = entry
            .map_err(|error| failed(directory, error.to_string()))?
            .path();
        if path.extension().is_none_or(|extension| extension != "crt") {
            continue;
        }
        let bytes = fs::read(&path).map_err(|error| failed(&path, error.to_string()))?;
        let before = authorities.len();
        for item in parse_pem(&bytes) {
            match item {
                Ok(PemItem::Certificate(certificate)) => authorities.push(certificate),
                Ok(_) => {}
                Err(_) => return Err(failed(&path, "it is not proper PEM".into())),
            }
        }
        if authorities.len() == before {
            return Err(failed(&path, "there is no certificate in it".into()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_crt_files_only_and_names_bad_ones() {
        let directory = tempfile::tempdir().unwrap();
        let certs = directory.path().join("host:5000");
        fs::create_dir(&certs).unwrap();
        let pem = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        fs::write(certs.join("ca.crt"), format!("{pem}{pem}")).unwrap();
        fs::write(certs.join("client.cert"), "x").unwrap();
        let directories = [directory.path().to_owned(), "/nonexistent".into()];
        let found = authorities_for(&directories, &["host:5000", "other"]).unwrap();
        assert_eq!(found.len(), 2);
        fs::write(certs.join("bad.crt"), "x").unwrap();
        let error = authorities_for(&directories, &["host:5000"]).unwrap_err();
        assert!(error.to_string().contains("bad.crt"), "{error}");
    }
}
