//! Key slots: who may open the repository. Changing them touches no data.

use repo_format::FormatError;
use repo_format::id::SlotId;
use repo_format::keys::{Epoch, Keys, Role};
use repo_format::object_name::{ObjectName, ROOTS};
use repo_format::slot::{Bundle, KdfCost, SlotInfo};

use crate::repository::{Repository, new_slot, read_slots, store_slot};
use crate::storage::StorageError;
use crate::surroundings::random_secret;

/// A slot as `key list` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedSlot {
    /// Its id.
    pub id: SlotId,
    /// What it says of itself; an error when it is damaged.
    pub info: Result<SlotInfo, FormatError>,
    /// Whether it is the one that the password opened.
    pub current: bool,
}

/// Why slots could not be changed.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The backup role cannot make slots of the full role.
    #[error("this password opens the backup role, which cannot make a key of the full role")]
    BackupRole,
    /// There is no such slot.
    #[error("there is no key slot `{text}`")]
    NotFound {
        /// What was asked for.
        text: String,
    },
    /// The slot in use, or the last one of the full role, would go.
    #[error("key slot {id} cannot be removed: {reason}")]
    Needed {
        /// The slot.
        id: SlotId,
        /// Why.
        reason: &'static str,
    },
    /// Storage failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Every slot that can be read, in the order of their ids.
pub fn list(repository: &Repository) -> Result<Vec<ListedSlot>, KeyError> {
    let slots = read_slots(&**repository.storage())?;
    let listed = slots.into_iter().flatten().map(|slot| ListedSlot {
        id: slot.id,
        info: slot.info(repository.keys()),
        current: slot.id == repository.slot(),
    });
    Ok(listed.collect())
}

/// Adds a slot of `role` that `password` opens.
pub fn add(
    repository: &Repository,
    role: Role,
    password: &[u8],
    cost: KdfCost,
    label: &str,
) -> Result<SlotId, KeyError> {
    if role == Role::Full && repository.bundle().role == Role::Backup {
        return Err(KeyError::BackupRole);
    }
    let world = repository.surroundings();
    let keys = keys_of_role(repository.keys(), role);
    let bundle = Bundle { role, keys, signing_seed: random_secret(world) };
    let info = SlotInfo { role, label: label.to_owned(), created: world.now() };
    let (id, object) = new_slot(world, &bundle, password, cost, &info);
    store_slot(&**repository.storage(), id, &object)?;
    Ok(id)
}

/// Replaces the slot in use by one that `password` opens; the old one goes when the new one is durable.
pub fn change_password(
    repository: &Repository,
    password: &[u8],
    cost: KdfCost,
) -> Result<SlotId, KeyError> {
    let current = list(repository)?.into_iter().find(|slot| slot.current);
    let label = current.and_then(|slot| slot.info.ok()).map_or(String::new(), |info| info.label);
    let id = add(repository, repository.bundle().role, password, cost, &label)?;
    delete(repository, repository.slot())?;
    Ok(id)
}

/// Removes the slot whose id begins with `text`. An old copy of it still opens with its old password.
pub fn remove(repository: &Repository, text: &str) -> Result<SlotId, KeyError> {
    let slots = list(repository)?;
    let matching: Vec<_> =
        slots.iter().filter(|slot| slot.id.to_string().starts_with(text)).collect();
    let [slot] = matching.as_slice() else {
        return Err(KeyError::NotFound { text: text.to_owned() });
    };
    let id = slot.id;
    if slot.current {
        return Err(KeyError::Needed { id, reason: "it is the one that is in use" });
    }
    let is_full = |slot: &ListedSlot| slot.info.as_ref().is_ok_and(|info| info.role == Role::Full);
    if is_full(slot) && slots.iter().filter(|slot| is_full(slot)).count() == 1 {
        return Err(KeyError::Needed { id, reason: "it is the last one of the full role" });
    }
    delete(repository, id)?;
    Ok(id)
}

fn delete(repository: &Repository, id: SlotId) -> Result<(), KeyError> {
    for copy in ROOTS {
        repository.storage().delete(ObjectName::KeySlot { copy, id })?;
    }
    Ok(())
}

/// The same secrets, without the private keys for the backup role.
fn keys_of_role(keys: &Keys, role: Role) -> Keys {
    let without_private = |epoch: &Epoch| Epoch { private: None, ..epoch.clone() };
    let epochs = match role {
        Role::Full => keys.epochs().to_vec(),
        Role::Backup => keys.epochs().iter().map(without_private).collect(),
    };
    Keys::new(keys.repository(), keys.identity().clone(), epochs).expect("the epochs stay the same")
}
