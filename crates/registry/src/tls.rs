//! Whom to trust: the system's certificate authorities, and those that an administrator named for
//! one registry in `certs.d` (docs.docker.com/engine/security/certificates,
//! containers-certs.d(5)). No authorities are compiled in.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustls::crypto::CryptoProvider;
use ureq::tls::{
    Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig, TlsProvider, parse_pem,
};

use crate::error::RegistryError;

/// How the other side of a TLS connection is judged.
#[derive(Debug, Clone)]
pub(crate) enum Trust {
    /// By the system's authorities.
    System,
    /// By the system's and these, to whom we show who we are if there is something to show; the name
    /// of the registry they were read for tells two such sets apart.
    Also {
        registry: String,
        found: Arc<Identification>,
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
            Trust::Also { found, .. } => {
                let authorities = found.authorities.iter();
                let all = self.system().iter().chain(authorities).cloned();
                let builder = builder.root_certs(RootCerts::from(all));
                builder.client_cert(found.client.clone()).build()
            }
            Trust::Anyone => builder
                .root_certs(RootCerts::Specific(Arc::default()))
                .disable_verification(true)
                .build(),
        }
    }
}

/// What `certs.d` has for one registry.
#[derive(Default)]
pub(crate) struct Identification {
    /// From each `*.crt`.
    authorities: Vec<Certificate<'static>>,
    /// From `NAME.cert` and `NAME.key`: our certificate with its chain, and its key.
    client: Option<ClientCert>,
}

impl Identification {
    pub(crate) fn is_empty(&self) -> bool {
        self.authorities.is_empty() && self.client.is_none()
    }
}

impl std::fmt::Debug for Identification {
    /// Without the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identification")
            .field("authorities", &self.authorities.len())
            .field("client", &self.client.is_some())
            .finish()
    }
}

/// What `directories` hold for the registry's names, in `DIRECTORY/NAME`.
pub(crate) fn credentials_for(
    directories: &[PathBuf],
    names: &[&str],
    own: Option<&Path>,
) -> Result<Identification, RegistryError> {
    let mut found = Identification::default();
    for directory in directories {
        for name in names {
            read_directory(&directory.join(name), &mut found)?;
        }
    }
    if let Some(own) = own {
        read_directory(own, &mut found)?;
    }
    Ok(found)
}

fn failed(path: &Path, reason: impl ToString) -> RegistryError {
    RegistryError::Certificates {
        path: path.to_owned(),
        reason: reason.to_string(),
    }
}

fn read_directory(directory: &Path, found: &mut Identification) -> Result<(), RegistryError> {
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
        Err(error) => return Err(failed(directory, error)),
    };
    for entry in entries {
        let path = entry.map_err(|error| failed(directory, error))?.path();
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("crt") => found.authorities.extend(certificates(&path)?),
            Some("cert") => {
                let key = private_key(&path.with_extension("key"))?;
                let chain = certificates(&path)?;
                found.client = Some(ClientCert::new_with_certs(&chain, key));
            }
            _ => {}
        }
    }
    Ok(())
}

/// All certificates of a file; one at least.
fn certificates(path: &Path) -> Result<Vec<Certificate<'static>>, RegistryError> {
    let bytes = fs::read(path).map_err(|error| failed(path, error))?;
    let mut certificates = Vec::new();
    for item in parse_pem(&bytes) {
        match item {
            Ok(PemItem::Certificate(certificate)) => certificates.push(certificate),
            Ok(_) => {}
            Err(_) => return Err(failed(path, "it is not proper PEM")),
        }
    }
    match certificates.is_empty() {
        true => Err(failed(path, "there is no certificate in it")),
        false => Ok(certificates),
    }
}

fn private_key(path: &Path) -> Result<PrivateKey<'static>, RegistryError> {
    let bytes = fs::read(path).map_err(|error| failed(path, error))?;
    PrivateKey::from_pem(&bytes).map_err(|_| failed(path, "there is no private key in it"))
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
        let directories = [directory.path().to_owned(), "/nonexistent".into()];
        let found = credentials_for(&directories, &["host:5000", "other"], None).unwrap();
        assert_eq!(found.authorities.len(), 2);
        fs::write(certs.join("bad.crt"), "x").unwrap();
        let error = credentials_for(&directories, &["host:5000"], None).unwrap_err();
        assert!(error.to_string().contains("bad.crt"), "{error}");
    }
}
