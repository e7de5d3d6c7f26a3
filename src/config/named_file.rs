//! Files that the configuration names: secrets, and the people who may sign in.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject as _;
use secrecy::SecretString;
use zeroize::Zeroizing;

use super::check::Judge;
use super::document::FILE_LIMIT;
use super::given::Given;
use super::mistake::Mistake;
use crate::certificate::Authorities;
use crate::jose::{Algorithm, SigningKey};
use crate::secret::ClientSecretHash;
use crate::secret::seal::RootKey;
use crate::web::Logo;

/// The largest secret file, in bytes.
const SECRET_LIMIT: u64 = 4 * 1024;

/// The shortest client secret, in characters: less could be guessed, as secrets are hashed only once.
const SHORTEST_SECRET: usize = 32;

/// A name of so many characters could be a secret.
const SHORTEST_KEY: usize = 16;

/// Reads a client secret: printable ASCII (RFC 6749 Appendix A.2). A line break at its end does not count.
pub(super) fn client_secret(judge: &mut Judge<'_>, given: &Given<String>) -> Option<ClientSecretHash> {
    let secret = read(judge, given, SECRET_LIMIT)?;
    let fault = if secret.len() < SHORTEST_SECRET {
        "names a file whose secret is shorter than 32 characters"
    } else if !secret.bytes().all(|byte| (0x20..=0x7e).contains(&byte)) {
        "names a file whose secret is not printable ASCII on one line"
    } else {
        return Some(ClientSecretHash::of(&secret));
    };
    judge.report(Mistake::about(&given.place, fault).help("make one with `openssl rand -hex 32`"));
    None
}

/// Reads a secret of ours at somebody else's: printable ASCII, of whatever length they have chosen.
pub(super) fn secret(judge: &mut Judge<'_>, given: &Given<String>) -> Option<SecretString> {
    let secret = read(judge, given, SECRET_LIMIT)?;
    if secret.is_empty() || !secret.bytes().all(|byte| (0x20..=0x7e).contains(&byte)) {
        let fault = "names a file whose secret is empty, or not printable ASCII on one line";
        judge.report(Mistake::about(&given.place, fault));
        return None;
    }
    Some(SecretString::from(secret.as_str()))
}

/// Reads a connection URL, which may hold a secret.
pub(super) fn postgres_url(judge: &mut Judge<'_>, given: &Given<String>) -> Option<Zeroizing<String>> {
    read(judge, given, SECRET_LIMIT)
}

/// Reads a private key in PEM (RFC 7468 §10).
pub(super) fn signing_key(judge: &mut Judge<'_>, given: &Given<String>, algorithm: Algorithm) -> Option<SigningKey> {
    let text = read(judge, given, SECRET_LIMIT)?;
    let der = PrivatePkcs8KeyDer::from_pem_slice(text.as_bytes()).ok();
    let key = der.and_then(|der| SigningKey::from_pkcs8(algorithm, der.secret_pkcs8_der()).ok());
    if key.is_none() {
        let fault = format!("names a file that holds no PKCS #8 private key for {algorithm} in PEM");
        judge.report(Mistake::about(&given.place, fault).help("it begins with `-----BEGIN PRIVATE KEY-----`"));
    }
    key
}

/// Reads 32 bytes in base64.
pub(super) fn key(judge: &mut Judge<'_>, given: &Given<String>) -> Option<RootKey> {
    let text = read(judge, given, SECRET_LIMIT)?;
    let key = parse_key(text.trim());
    if key.is_none() {
        let mistake = Mistake::about(&given.place, "names a file that does not hold 32 bytes in base64");
        judge.report(mistake.help(format!("make one with `openssl rand -base64 32 > {}`", given.value)));
    }
    key
}

/// How many keys a file may hold: the one in use, the next one, and some that are on their way out.
const KEYS_LIMIT: usize = 4;

/// Reads keys, each of 32 bytes in base64 on a line of its own.
pub(super) fn keys(judge: &mut Judge<'_>, given: &Given<String>) -> Option<Vec<RootKey>> {
    let text = read(judge, given, SECRET_LIMIT)?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let keys: Option<Vec<_>> = lines.map(parse_key).collect();
    let keys = keys.filter(|keys| (1..=KEYS_LIMIT).contains(&keys.len()));
    if keys.is_none() {
        let fault = format!("names a file that does not hold 1 to {KEYS_LIMIT} lines of 32 bytes in base64");
        judge.report(
            Mistake::about(&given.place, fault)
                .help(format!("make a line with `openssl rand -base64 32 > {}`", given.value)),
        );
    }
    keys
}

fn parse_key(text: &str) -> Option<RootKey> {
    let bytes = Zeroizing::new(STANDARD.decode(text).ok()?);
    bytes.as_slice().try_into().ok().map(RootKey::from_bytes)
}

/// Reads the users file.
pub(super) fn users(judge: &mut Judge<'_>, given: &Given<String>) -> Option<Zeroizing<String>> {
    read(judge, given, FILE_LIMIT)
}

/// Reads a picture.
pub(super) fn logo(judge: &mut Judge<'_>, given: &Given<String>) -> Option<Logo> {
    let mut bytes = Vec::new();
    let read = open(&judge.file(&given.value))
        .and_then(|file| file.take(Logo::LIMIT + 1).read_to_end(&mut bytes).map_err(|error| error.to_string()));
    if let Err(reason) = read {
        report_unreadable(judge, given, &reason);
        return None;
    }
    if bytes.len() as u64 > Logo::LIMIT {
        let mistake = Mistake::about(&given.place, format!("names a file larger than {} KiB", Logo::LIMIT / 1024));
        judge.report(mistake.help("every page shows it at 144 by 40 pixels at most: make it smaller"));
        return None;
    }
    match Logo::new(bytes) {
        Ok(logo) => Some(logo),
        Err(fault) => {
            judge.report(Mistake::about(&given.place, format!("names a file that {fault}")));
            None
        }
    }
}

/// The largest file with certificates, in bytes.
const CERTIFICATES_LIMIT: u64 = 256 * 1024;

/// Reads the certificates of authorities.
pub(super) fn authorities(judge: &mut Judge<'_>, given: &Given<String>) -> Option<Authorities> {
    let text = read(judge, given, CERTIFICATES_LIMIT)?;
    match Authorities::from_pem(&text) {
        Ok(authorities) => Some(authorities),
        Err(fault) => {
            judge.report(Mistake::about(&given.place, format!("names a file that {fault}")));
            None
        }
    }
}

/// Reads the certificates of authorities as they are written, after a look at whether they are such.
pub(super) fn authority_text(judge: &mut Judge<'_>, given: &Given<String>) -> Option<Vec<u8>> {
    authorities(judge, given)?;
    read(judge, given, CERTIFICATES_LIMIT).map(|text| text.as_bytes().to_vec())
}

/// Reads the certificates of authorities, for who wants them in PEM.
pub(super) fn authorities_pem(judge: &mut Judge<'_>, given: &Given<String>) -> Option<String> {
    authorities(judge, given)?;
    read(judge, given, CERTIFICATES_LIMIT).map(|text| text.as_str().to_owned())
}

/// Reads lines of which each may hold a secret.
pub(super) fn lines(judge: &mut Judge<'_>, given: &Given<String>) -> Option<Zeroizing<String>> {
    read(judge, given, SECRET_LIMIT)
}

fn read(judge: &mut Judge<'_>, given: &Given<String>, limit: u64) -> Option<Zeroizing<String>> {
    match read_text(&judge.file(&given.value), limit) {
        Ok(text) => Some(text),
        Err(reason) => {
            report_unreadable(judge, given, &reason);
            None
        }
    }
}

fn report_unreadable(judge: &mut Judge<'_>, given: &Given<String>, reason: &str) {
    let mistake = Mistake::about(&given.place, format!("names a file that cannot be read: {reason}"));
    let help = if is_likely_secret(&given.value) {
        "this looks like a secret itself: write it to a file, and the path of the file here".to_owned()
    } else {
        format!("looked for {}", judge.path(&given.value).display())
    };
    judge.report(mistake.help(help));
}

/// Whether a text looks like a secret and not like a path: a long name with digits and no extension, or the end of base64.
pub(super) fn is_likely_secret(text: &str) -> bool {
    let random = |name: &str| {
        name.len() >= SHORTEST_KEY && !name.contains('.') && name.bytes().any(|byte| byte.is_ascii_digit())
    };
    text.ends_with('=') || text.contains(char::is_whitespace) || text.split('/').any(random)
}

fn read_text(path: &Path, limit: u64) -> Result<Zeroizing<String>, String> {
    let mut text = Zeroizing::new(String::new());
    let read = open(path)?.take(limit + 1).read_to_string(&mut text);
    read.map_err(|error| error.to_string())?;
    if text.len() as u64 > limit {
        return Err(format!("it is larger than {} KiB", limit / 1024));
    }
    let end = text.trim_end_matches(['\r', '\n']).len();
    text.truncate(end);
    Ok(text)
}

/// Opens a regular file; anything else, such as a pipe, could keep us waiting for ever.
fn open(path: &Path) -> Result<File, String> {
    let metadata = std::fs::metadata(path).map_err(|error| error.to_string())?;
    if !metadata.is_file() {
        return Err("it is no regular file".to_owned());
    }
    File::open(path).map_err(|error| error.to_string())
}
