//! Fulcio's certificates: for minutes, an identity holds a key. Whether the chain is right is for
//! `webpki` to say; whom it names is read here (github.com/sigstore/fulcio, docs/oid-info.md).

use std::time::Duration;

use rustls_pki_types::pem::SectionKind;
use rustls_pki_types::{CertificateDer, UnixTime};
use webpki::ring as algorithms;
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};

use super::SigstoreError;
use super::der::{Der, OCTET_STRING, OID, SEQUENCE, only};
use super::key::{PublicKey, section, sections};

/// id-kp-codeSigning, 1.3.6.1.5.5.7.3.3.
const CODE_SIGNING: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x03];
/// subjectAltName, 2.5.29.17.
const ALTERNATIVE_NAMES: &[u8] = &[0x55, 0x1d, 0x11];
/// The issuer of the identity, 1.3.6.1.4.1.57264.1.1, as plain text, and .1.8, in DER.
const ISSUER_1: &[u8] = &[0x2b, 0x06, 0x01, 0x04, 0x01, 0x83, 0xbf, 0x30, 0x01, 0x01];
const ISSUER_2: &[u8] = &[0x2b, 0x06, 0x01, 0x04, 0x01, 0x83, 0xbf, 0x30, 0x01, 0x08];
const UTF8_STRING: u8 = 0x0c;
/// A name of the form of a mail address: rfc822Name, \[1\].
const MAIL: u8 = 0x81;
/// The extensions of a certificate, \[3\].
const EXTENSIONS: u8 = 0xa3;

/// What kinds of signatures certificates may have.
static SIGNATURES: &[&dyn rustls_pki_types::SignatureVerificationAlgorithm] = &[
    algorithms::ECDSA_P256_SHA256,
    algorithms::ECDSA_P256_SHA384,
    algorithms::ECDSA_P384_SHA256,
    algorithms::ECDSA_P384_SHA384,
    algorithms::ED25519,
    algorithms::RSA_PKCS1_2048_8192_SHA256,
    algorithms::RSA_PKCS1_2048_8192_SHA384,
    algorithms::RSA_PKCS1_2048_8192_SHA512,
];

/// Whom a certificate must come from, and whom it must name.
#[derive(Debug, Clone)]
pub struct Authority {
    anchors: Vec<CertificateDer<'static>>,
    oidc_issuer: String,
    subject_email: String,
}

impl Authority {
    /// `pem` has the certificates that are believed.
    pub fn new(
        pem: &[u8],
        oidc_issuer: String,
        subject_email: String,
    ) -> Result<Self, SigstoreError> {
        let anchors: Vec<_> = sections(pem, SectionKind::Certificate)
            .into_iter()
            .map(CertificateDer::from)
            .collect();
        if anchors.is_empty() {
            return Err(SigstoreError::Key("there is no certificate in PEM in it"));
        }
        Ok(Self {
            anchors,
            oidc_issuer,
            subject_email,
        })
    }

    /// The key of a certificate, if it was this authority's for the wanted identity at `time_s`,
    /// seconds since the epoch.
    pub(super) fn key(
        &self,
        certificate: &[u8],
        chain: &[Vec<u8>],
        time_s: u64,
    ) -> Result<PublicKey, SigstoreError> {
        let wrong = SigstoreError::Certificate;
        let leaf = CertificateDer::from(certificate);
        let leaf = EndEntityCert::try_from(&leaf).map_err(|_| wrong("it is malformed"))?;
        let anchors: Vec<_> = self
            .anchors
            .iter()
            .map(anchor_from_trusted_cert)
            .collect::<Result<_, _>>()
            .map_err(|_| SigstoreError::Key("a certificate of the authority is malformed"))?;
        let chain: Vec<CertificateDer<'_>> = chain
            .iter()
            .map(|one| CertificateDer::from(one.as_slice()))
            .collect();
        leaf.verify_for_usage(
            SIGNATURES,
            &anchors,
            &chain,
            UnixTime::since_unix_epoch(Duration::from_secs(time_s)),
            KeyUsage::required(CODE_SIGNING),
            None,
            None,
        )
        .map_err(|_| wrong("it is not the authority's, or was not valid at the time"))?;
        let read = Read::of(certificate).ok_or(wrong("it is malformed"))?;
        if read.issuer.as_deref() != Some(self.oidc_issuer.as_str()) {
            return Err(wrong(
                "its identity was not vouched for by the wanted issuer",
            ));
        }
        if !read.mails.contains(&self.subject_email) {
            return Err(wrong("it does not name the wanted subject"));
        }
        PublicKey::from_info(&read.key)
    }
}

/// What is needed of a certificate.
struct Read {
    key: Vec<u8>,
    issuer: Option<String>,
    mails: Vec<String>,
}

impl Read {
    /// RFC 5280 section 4.1.
    fn of(certificate: &[u8]) -> Option<Self> {
        let mut certificate = Der(only(certificate, SEQUENCE)?);
        let mut body = Der(certificate.expect(SEQUENCE)?);
        // Version, serial number, algorithm, issuer, validity, subject.
        for _ in 0..6 {
            body.next()?;
        }
        let before = body.0;
        body.expect(SEQUENCE)?;
        let mut read = Self {
            key: before[..before.len() - body.0.len()].to_vec(),
            issuer: None,
            mails: Vec::new(),
        };
        while let Some((tag, content)) = body.next() {
            if tag == EXTENSIONS {
                let mut extensions = Der(only(content, SEQUENCE)?);
                while !extensions.0.is_empty() {
                    read.extension(extensions.expect(SEQUENCE)?)?;
                }
            }
        }
        Some(read)
    }

    fn extension(&mut self, extension: &[u8]) -> Option<()> {
        let mut extension = Der(extension);
        let kind = extension.expect(OID)?;
        let mut next = extension.next()?;
        // Whether it is critical may stand before the value.
        if next.0 != OCTET_STRING {
            next = extension.next()?;
        }
        let value = next.1;
        match kind {
            ISSUER_2 => {
                let text = only(value, UTF8_STRING)?;
                self.issuer = Some(std::str::from_utf8(text).ok()?.to_owned());
            }
            ISSUER_1 if self.issuer.is_none() => {
                self.issuer = Some(std::str::from_utf8(value).ok()?.to_owned());
            }
            ALTERNATIVE_NAMES => {
                let mut names = Der(only(value, SEQUENCE)?);
                while let Some((tag, name)) = names.next() {
                    if tag == MAIL {
                        self.mails.push(std::str::from_utf8(name).ok()?.to_owned());
                    }
                }
            }
            _ => {}
        }
        Some(())
    }
}

/// The certificate in some PEM.
pub(super) fn from_pem(pem: &[u8]) -> Option<Vec<u8>> {
    section(pem, SectionKind::Certificate)
}

/// All certificates in some PEM.
pub(super) fn chain_from_pem(pem: &[u8]) -> Vec<Vec<u8>> {
    sections(pem, SectionKind::Certificate)
}
