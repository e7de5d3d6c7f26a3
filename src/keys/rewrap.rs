//! Sealing everything anew under the newest key-encryption key, beside processes that use it.

use zeroize::Zeroizing;

use super::{KeysError, SigningKeys, root};
use crate::secret::seal::KeyRing;
use crate::store::KeyRecord;

/// What was sealed anew; the rest was sealed under the newest key before.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Rewrapped {
    /// How many signing keys.
    pub signing_keys: usize,
    /// How many of the secrets beside them.
    pub secrets: usize,
    /// Whether the root key was.
    pub root_key: bool,
}

impl SigningKeys {
    /// Seals the signing keys, the withdrawn ones included, their secrets, and the root key under the newest key-encryption
    /// key, if they were sealed under an earlier one. Everything else about them stays: processes that have read them notice
    /// nothing.
    ///
    /// # Errors
    /// [`KeysError`]; what was sealed anew by then stays so, and the next call goes on.
    pub async fn rewrap(&self) -> Result<Rewrapped, KeysError> {
        let mut rewrapped = Rewrapped::default();
        for record in self.reread().await? {
            let key = anew(&self.sealing, &record, &record.sealed)?;
            let secret = match &record.secret {
                Some(secret) => anew(&self.sealing_secrets, &record, secret)?,
                None => None,
            };
            let number = (usize::from(key.is_some()), usize::from(secret.is_some()));
            if number == (0, 0) {
                continue;
            }
            let next = KeyRecord {
                sealed: key.unwrap_or_else(|| record.sealed.clone()),
                secret: secret.or_else(|| record.secret.clone()),
                ..record.clone()
            };
            // Whoever was first has sealed the same key under the same newest key, or has swept it.
            if self.store.reseal_signing_key(&record, &next).await? {
                rewrapped.signing_keys += number.0;
                rewrapped.secrets += number.1;
            }
        }
        rewrapped.root_key = root::rewrap(&*self.store, &self.kek, &self.root).await?;
        Ok(rewrapped)
    }
}

/// What is `sealed` in a record, under the newest key; `None` if it is so already.
fn anew(sealing: &KeyRing, record: &KeyRecord, sealed: &[u8]) -> Result<Option<Vec<u8>>, KeysError> {
    let name = record.kid.as_bytes();
    if sealing.newest().open(name, sealed).map(Zeroizing::new).is_ok() {
        return Ok(None);
    }
    let wrong = |_| KeysError::WrongEncryptionKey(format!("the signing key `{}`", record.kid));
    let opened = sealing.open(name, sealed).map(Zeroizing::new).map_err(wrong)?;
    Ok(Some(sealing.seal(name, &opened)))
}
