//! Fixed secrets and noise: everything is the BLAKE3 output of a text, so that any language can make it again.

use repo_format::id::RepositoryId;
use repo_format::keys::{Epoch, Keys, Role, Secret};
use repo_format::slot::Bundle;

/// The first `len` bytes of the BLAKE3 output of `seed`.
#[must_use]
pub fn noise(seed: &str, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(seed.as_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// The first `N` bytes of the BLAKE3 output of `seed`: for ids.
#[must_use]
pub fn array<const N: usize>(seed: &str) -> [u8; N] {
    noise(seed, N).try_into().expect("noise is as long as asked")
}

/// The first 32 bytes of the BLAKE3 output of `seed`: for secrets, salts and randomness.
#[must_use]
pub fn secret(seed: &str) -> Secret {
    Secret::from_bytes(array(seed))
}

/// R of the fixed repository.
#[must_use]
pub fn repository() -> RepositoryId {
    RepositoryId::from_bytes(array("repository"))
}

/// An epoch whose secrets are made of its number.
#[must_use]
pub fn epoch(number: u32) -> Epoch {
    let catalog = secret(&format!("catalog {number}"));
    Epoch::generate(number, catalog, &secret(&format!("key material {number}")))
}

/// Keys of the full role with these epochs.
#[must_use]
pub fn full_keys_of(epochs: Vec<Epoch>) -> Keys {
    Keys::new(repository(), secret("identity"), epochs).expect("tests ask for rising epochs")
}

/// Keys of the full role; one epoch, number 3.
#[must_use]
pub fn full_keys() -> Keys {
    full_keys_of(vec![epoch(3)])
}

/// The same without private keys.
#[must_use]
pub fn without_private(keys: &Keys) -> Keys {
    let strip = |epoch: &Epoch| Epoch { private: None, ..epoch.clone() };
    full_keys_of(keys.epochs().iter().map(strip).collect())
}

/// Keys of the backup role of the same repository.
#[must_use]
pub fn backup_keys() -> Keys {
    without_private(&full_keys())
}

/// Keys of another repository.
#[must_use]
pub fn foreign_keys() -> Keys {
    let other = RepositoryId::from_bytes(array("another repository"));
    Keys::new(other, secret("another identity"), vec![epoch(3)]).expect("one epoch rises")
}

/// What a slot of `role` holds.
#[must_use]
pub fn bundle(role: Role) -> Bundle {
    let keys = match role {
        Role::Full => full_keys(),
        Role::Backup => backup_keys(),
    };
    Bundle { role, keys, signing_seed: secret("signing seed") }
}
