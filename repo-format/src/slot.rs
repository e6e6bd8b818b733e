//! Key slots: a password opens the bundle of a role (SPEC 4.3).

use argon2::{Algorithm, Argon2, Params, Version};
use minicbor::bytes::ByteArray;
use minicbor::{Decode, Encode};
use zeroize::Zeroizing;

use crate::cbor;
use crate::error::FormatError;
use crate::header::{Kind, read_clear, write_clear};
use crate::id::{RepositoryId, SlotId};
use crate::keys::{Epoch, Keys, Role, Secret, commitment, derive};
use crate::limits::SLOT_PART_MAX;
use crate::seal::Sealer;
use crate::wire::{Reader, Writer, strip_final_hash, with_final_hash};

const ARGON2ID: u8 = 1;
const FIXED_LEN: usize = 104;
const MEMORY_KIB_MIN: u32 = 8 << 10;
const MEMORY_KIB_MAX: u32 = 2 << 20;

/// Cost of trying one password. Checked: parameters outside the bounds of SPEC 4.3 cannot be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KdfCost {
    memory_kib: u32,
    passes: u8,
    lanes: u8,
}

impl KdfCost {
    /// 64 MiB, 3 passes, 4 lanes (RFC 9106, second choice): some tenths of a second.
    pub const DEFAULT: Self = Self { memory_kib: 64 << 10, passes: 3, lanes: 4 };
    /// 1 GiB, 3 passes, 4 lanes: some seconds.
    pub const STRONG: Self = Self { memory_kib: 1 << 20, passes: 3, lanes: 4 };
    /// The cheapest that is accepted, for tests.
    pub const CHEAPEST: Self = Self { memory_kib: MEMORY_KIB_MIN, passes: 1, lanes: 1 };

    /// Checks the bounds: 8 MiB to 2 GiB, 1 to 16 passes, 1 to 16 lanes.
    pub fn new(memory_kib: u32, passes: u8, lanes: u8) -> Result<Self, FormatError> {
        let fits = (MEMORY_KIB_MIN..=MEMORY_KIB_MAX).contains(&memory_kib)
            && (1..=16).contains(&passes)
            && (1..=16).contains(&lanes);
        match fits {
            true => Ok(Self { memory_kib, passes, lanes }),
            false => Err(FormatError::Invalid { what: "cost of the key derivation" }),
        }
    }
}

/// What is known of a slot without its password, but with any other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotInfo {
    /// What the slot's password opens.
    pub role: Role,
    /// What its maker called it.
    pub label: String,
    /// Seconds since 1970.
    pub created: u64,
}

/// The secrets of a role, as a slot holds them.
#[derive(Debug, Clone)]
pub struct Bundle {
    /// The role.
    pub role: Role,
    /// The secrets.
    pub keys: Keys,
    /// Ed25519 seed of this slot; reserved for signatures.
    pub signing_seed: Secret,
}

/// What `encode` needs besides bundle and password; the random parts come from the caller.
pub struct SlotParts<'a> {
    /// Name of the slot, random.
    pub id: SlotId,
    /// Salt of the password, random.
    pub salt: [u8; 16],
    /// Cost of trying a password.
    pub cost: KdfCost,
    /// Shown by `key list`.
    pub info: &'a SlotInfo,
}

/// A slot as it was read; its password is not known yet.
pub struct Slot {
    /// Its name.
    pub id: SlotId,
    /// Its repository.
    pub repository: RepositoryId,
    epoch: u32,
    cost: KdfCost,
    salt: [u8; 16],
    commitment: [u8; 32],
    fixed: Vec<u8>,
    bundle: Vec<u8>,
    info: Vec<u8>,
}

/// Makes the object of a slot that opens `bundle` with `password`.
#[must_use]
pub fn encode(bundle: &Bundle, password: &[u8], parts: &SlotParts<'_>) -> Vec<u8> {
    let wrap = wrap_key(password, &parts.salt, parts.cost);
    let keys = &bundle.keys;
    let mut w = Writer::default();
    write_clear(&mut w, Kind::KeySlot, keys.current().number, keys.repository());
    w.bytes(parts.id.as_bytes()).u8(ARGON2ID);
    w.u8(parts.cost.passes).u8(parts.cost.lanes).u8(0).u32(parts.cost.memory_kib);
    w.bytes(&parts.salt).bytes(&commitment(&wrap));
    let mut object = w.finish();
    assert_eq!(object.len(), FIXED_LEN);

    let info_key = info_key(keys, keys.current(), parts.id, &parts.salt);
    let text = Zeroizing::new(cbor::encode(&BundleText::from(bundle)));
    let sealed = Sealer::new(&wrap, &object).seal(0, &text);
    let info = cbor::encode(&InfoText::from(parts.info));
    let info = Sealer::new(&info_key, &object).seal(1, &info);
    let mut w = Writer::default();
    w.length(sealed.len()).bytes(&sealed).length(info.len()).bytes(&info);
    object.extend_from_slice(&w.finish());
    with_final_hash(object)
}

impl Slot {
    /// Reads a slot and checks its hash and bounds.
    pub fn parse(object: &[u8]) -> Result<Self, FormatError> {
        let body = strip_final_hash("key slot", object)?;
        let mut r = Reader::new("key slot", body);
        let (epoch, repository) = read_clear(&mut r, Kind::KeySlot)?;
        let id = SlotId::from_bytes(r.array()?);
        if r.u8()? != ARGON2ID {
            return Err(FormatError::Invalid { what: "key derivation" });
        }
        let (passes, lanes) = (r.u8()?, r.u8()?);
        r.zeros(1)?;
        let cost = KdfCost::new(r.u32()?, passes, lanes)?;
        let (salt, commitment) = (r.array()?, r.array()?);
        let len = r.length("sealed bundle", SLOT_PART_MAX)?;
        let bundle = r.bytes(len)?.to_vec();
        let len = r.length("sealed info", SLOT_PART_MAX)?;
        let info = r.bytes(len)?.to_vec();
        r.end()?;
        let fixed = body[..FIXED_LEN].to_vec();
        Ok(Self { id, repository, epoch, cost, salt, commitment, fixed, bundle, info })
    }

    /// The bundle, if this is the slot's password; `None` if it is another slot's or wrong.
    pub fn open(&self, password: &[u8]) -> Result<Option<Bundle>, FormatError> {
        let wrap = wrap_key(password, &self.salt, self.cost);
        if commitment(&wrap) != self.commitment {
            return Ok(None);
        }
        let text = Sealer::new(&wrap, &self.fixed).open("key slot", 0, &self.bundle)?;
        let text = Zeroizing::new(text);
        let text: BundleText = cbor::decode("key bundle", &text)?;
        let bundle = text.into_bundle(self.repository)?;
        bundle.keys.epoch(self.epoch)?;
        Ok(Some(bundle))
    }

    /// What `key list` shows.
    pub fn info(&self, keys: &Keys) -> Result<SlotInfo, FormatError> {
        let key = info_key(keys, keys.epoch(self.epoch)?, self.id, &self.salt);
        let text = Sealer::new(&key, &self.fixed).open("key slot info", 1, &self.info)?;
        let text: InfoText = cbor::decode("key slot info", &text)?;
        Ok(SlotInfo { role: parse_role(text.role)?, label: text.label, created: text.created })
    }
}

fn wrap_key(password: &[u8], salt: &[u8; 16], cost: KdfCost) -> Secret {
    let params =
        Params::new(cost.memory_kib, u32::from(cost.passes), u32::from(cost.lanes), Some(32))
            .expect("KdfCost has checked the bounds");
    let mut output = Zeroizing::new([0; 32]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(password, salt, output.as_mut_slice())
        .expect("lengths of salt and output are allowed");
    derive("xenith v1 slot", &[output.as_slice()])
}

fn info_key(keys: &Keys, epoch: &Epoch, id: SlotId, password_salt: &[u8; 16]) -> Secret {
    let mut salt = [0; 32];
    salt[..16].copy_from_slice(id.as_bytes());
    salt[16..].copy_from_slice(password_salt);
    keys.catalog_key(epoch, Kind::KeySlot as u8, &salt)
}

const fn role_number(role: Role) -> u8 {
    match role {
        Role::Full => 0,
        Role::Backup => 1,
    }
}

const fn parse_role(number: u8) -> Result<Role, FormatError> {
    match number {
        0 => Ok(Role::Full),
        1 => Ok(Role::Backup),
        _ => Err(FormatError::Invalid { what: "role" }),
    }
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct BundleText {
    #[n(0)]
    role: u8,
    #[n(1)]
    identity: ByteArray<32>,
    #[n(2)]
    epochs: Vec<EpochText>,
    #[n(3)]
    signing_seed: ByteArray<32>,
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct EpochText {
    #[n(0)]
    number: u32,
    #[n(1)]
    catalog: ByteArray<32>,
    #[n(2)]
    public: ByteArray<32>,
    #[n(3)]
    private: Option<ByteArray<32>>,
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct InfoText {
    #[n(0)]
    role: u8,
    #[n(1)]
    label: String,
    #[n(2)]
    created: u64,
}

impl From<&SlotInfo> for InfoText {
    fn from(info: &SlotInfo) -> Self {
        let (label, created) = (info.label.clone(), info.created);
        Self { role: role_number(info.role), label, created }
    }
}

impl From<&Bundle> for BundleText {
    fn from(bundle: &Bundle) -> Self {
        let private = |epoch: &Epoch| match bundle.role {
            Role::Full => epoch.private.as_ref().map(|key| (*key.expose()).into()),
            Role::Backup => None,
        };
        let epoch = |epoch: &Epoch| EpochText {
            number: epoch.number,
            catalog: (*epoch.catalog.expose()).into(),
            public: epoch.public.into(),
            private: private(epoch),
        };
        Self {
            role: role_number(bundle.role),
            identity: (*bundle.keys.identity().expose()).into(),
            epochs: bundle.keys.epochs().iter().map(epoch).collect(),
            signing_seed: (*bundle.signing_seed.expose()).into(),
        }
    }
}

impl BundleText {
    fn into_bundle(self, repository: RepositoryId) -> Result<Bundle, FormatError> {
        let role = parse_role(self.role)?;
        let holds_private = self.epochs.iter().all(|epoch| epoch.private.is_some());
        let holds_none = self.epochs.iter().all(|epoch| epoch.private.is_none());
        let agrees = match role {
            Role::Full => holds_private,
            Role::Backup => holds_none,
        };
        if !agrees {
            return Err(FormatError::Invalid { what: "role of the key bundle" });
        }
        let epoch = |epoch: EpochText| Epoch {
            number: epoch.number,
            catalog: Secret::from_bytes(epoch.catalog.into()),
            public: epoch.public.into(),
            private: epoch.private.map(|key| Secret::from_bytes(key.into())),
        };
        let identity = Secret::from_bytes(self.identity.into());
        let epochs = self.epochs.into_iter().map(epoch).collect();
        let keys = Keys::new(repository, identity, epochs)?;
        Ok(Bundle { role, keys, signing_seed: Secret::from_bytes(self.signing_seed.into()) })
    }
}
