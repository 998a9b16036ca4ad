//! Certificates of our own listeners.

use charter_api::problem::Problem;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::path::Path;
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;

/// What is spoken with a certificate and its key.
pub(crate) fn acceptor(cert: Option<&Path>, key: Option<&Path>) -> Result<Option<TlsAcceptor>, Problem> {
    let (Some(cert), Some(key)) = (cert, key) else { return Ok(None) };
    let failed = |path: &Path, why: String| {
        let message = format!("`{}` cannot be used for TLS", path.display());
        let hint = "name a certificate with `--tls-cert` and its private key with `--tls-key`, both in PEM";
        Problem::new(0, "A0014", message, hint).with_detail(why)
    };
    let chain: Result<Vec<CertificateDer<'static>>, _> =
        CertificateDer::pem_file_iter(cert).map_err(|e| failed(cert, e.to_string()))?.collect();
    let chain = chain.map_err(|e| failed(cert, e.to_string()))?;
    if chain.is_empty() {
        return Err(failed(cert, "it holds no certificate".to_owned()));
    }
    let private = PrivateKeyDer::from_pem_file(key).map_err(|e| failed(key, e.to_string()))?;
    let mut made = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(|e| failed(key, e.to_string()))?;
    made.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Some(TlsAcceptor::from(Arc::new(made))))
}
