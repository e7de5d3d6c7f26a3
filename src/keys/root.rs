//! The root key of an installation, in its store.

use zeroize::Zeroizing;

use super::KeysError;
use crate::entropy::Entropy;
use crate::secret::seal::{KeyRing, RootKey};
use crate::store::{Store, Unavailable};

/// What is sealed with it, so that it opens as nothing else.
const CONTEXT: &[u8] = b"root key";

/// How often somebody else may be faster before we give up.
const ATTEMPTS: u32 = 3;

/// Reads the root key, or puts a fresh one there.
pub(super) async fn read(store: &dyn Store, kek: &KeyRing, entropy: &dyn Entropy) -> Result<RootKey, KeysError> {
    let wrong = || KeysError::WrongEncryptionKey("the root key".into());
    let sealing = sealing(kek);
    let fresh = Zeroizing::new(entropy.draw::<32>());
    let stored = store.root_key(&sealing.seal(CONTEXT, &*fresh)).await?;
    let opened = sealing.open(CONTEXT, &stored).map(Zeroizing::new).map_err(|_| wrong())?;
    let bytes = <[u8; 32]>::try_from(opened.as_slice()).map_err(|_| wrong())?;
    Ok(RootKey::from_bytes(bytes))
}

/// Seals the root key under the newest key of `kek`; `false` if it is so already.
pub(super) async fn rewrap(store: &dyn Store, kek: &KeyRing, root: &RootKey) -> Result<bool, KeysError> {
    let sealing = sealing(kek);
    for _ in 0..ATTEMPTS {
        let next = sealing.seal(CONTEXT, root.expose());
        let stored = store.root_key(&next).await?;
        if sealing.newest().open(CONTEXT, &stored).map(Zeroizing::new).is_ok() {
            return Ok(false);
        }
        if store.reseal_root_key(&stored, &next).await? {
            return Ok(true);
        }
    }
    Err(Unavailable::Down.into())
}

fn sealing(kek: &KeyRing) -> KeyRing {
    kek.derive("root key")
}
