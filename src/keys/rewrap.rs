//! Sealing everything anew under the newest key-encryption key, beside processes that use it.

use zeroize::Zeroizing;

use super::{KeysError, SigningKeys, root};

/// What was sealed anew; the rest was sealed under the newest key before.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Rewrapped {
    /// How many signing keys.
    pub signing_keys: usize,
    /// Whether the root key was.
    pub root_key: bool,
}

impl SigningKeys {
    /// Seals the signing keys, the withdrawn ones included, and the root key under the newest key-encryption key, if they
    /// were sealed under an earlier one. Everything else about them stays: processes that have read them notice nothing.
    ///
    /// # Errors
    /// [`KeysError`]; what was sealed anew by then stays so, and the next call goes on.
    pub async fn rewrap(&self) -> Result<Rewrapped, KeysError> {
        let mut rewrapped = Rewrapped::default();
        for record in self.reread().await? {
            let name = record.kid.as_bytes();
            if self.sealing.newest().open(name, &record.sealed).map(Zeroizing::new).is_ok() {
                continue;
            }
            let wrong = |_| KeysError::WrongEncryptionKey(format!("the signing key `{}`", record.kid));
            let private = self.sealing.open(name, &record.sealed).map(Zeroizing::new).map_err(wrong)?;
            // Whoever was first has sealed the same key under the same newest key, or has swept it.
            let sealed = self.sealing.seal(name, &private);
            rewrapped.signing_keys += usize::from(self.store.reseal_signing_key(&record, &sealed).await?);
        }
        rewrapped.root_key = root::rewrap(&*self.store, &self.kek, &self.root).await?;
        Ok(rewrapped)
    }
}
