//! The derivation tree (SPEC 4): every secret, and what it opens.

use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::{Deserializable, Kem, OpModeR, OpModeS, PskBundle, Serializable};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::error::FormatError;
use crate::header::{Kind, SealedHeader, Suite};
use crate::id::RepositoryId;

type DataKem = X25519HkdfSha256;

/// A 32-byte secret. Leaves memory when dropped, and has no way to be printed.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Secret([u8; 32]);

impl Secret {
    /// Takes bytes from a random source, a bundle or a derivation.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes, for hashing and sealing.
    #[must_use]
    pub const fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// BLAKE3 derive_key over parts put together.
#[must_use]
pub fn derive(context: &str, parts: &[&[u8]]) -> Secret {
    let mut hasher = blake3::Hasher::new_derive_key(context);
    for part in parts {
        hasher.update(part);
    }
    Secret(*hasher.finalize().as_bytes())
}

/// The commitment of a key (SPEC 4.2).
#[must_use]
pub fn commitment(key: &Secret) -> [u8; 32] {
    *derive("xenith v1 commitment", &[key.expose()]).expose()
}

/// What a password opens (SPEC 4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Reads and writes everything.
    Full,
    /// Adds snapshots; cannot open disks, VM records or layouts.
    Backup,
}

/// The secrets of one epoch.
#[derive(Debug, Clone)]
pub struct Epoch {
    /// Counts from 0.
    pub number: u32,
    /// C: seals the catalog.
    pub catalog: Secret,
    /// P: data packs are sealed to it.
    pub public: [u8; 32],
    /// S: opens data packs. Absent in the backup role.
    pub private: Option<Secret>,
}

impl Epoch {
    /// A new epoch from 32 random bytes for each secret.
    #[must_use]
    pub fn generate(number: u32, catalog: Secret, key_material: &Secret) -> Self {
        let (private, public) = DataKem::derive_keypair(key_material.expose());
        let private = Secret(private.to_bytes().into());
        Self { number, catalog, public: public.to_bytes().into(), private: Some(private) }
    }
}

/// All secrets that a role holds, with the keys that every object needs already derived.
#[derive(Debug, Clone)]
pub struct Keys {
    repository: RepositoryId,
    identity: Secret,
    epochs: Vec<Epoch>,
    /// Names segments (SPEC 2).
    pub segment: Secret,
    /// Names chunks (SPEC 7.1).
    pub chunk: Secret,
    /// Recognises blocks (SPEC 7.4).
    pub fingerprint: Secret,
    /// Names nodes (SPEC 7.2).
    pub node: Secret,
    /// Names disks (SPEC 7.3).
    pub disk: Secret,
}

impl Keys {
    /// Derives everything from an identity and its epochs, which rise and are not empty.
    pub fn new(
        repository: RepositoryId,
        identity: Secret,
        epochs: Vec<Epoch>,
    ) -> Result<Self, FormatError> {
        let rising = epochs.windows(2).all(|pair| pair[0].number < pair[1].number);
        if epochs.is_empty() || !rising {
            return Err(FormatError::Invalid { what: "list of epochs" });
        }
        let named = |context| derive(context, &[identity.expose(), repository.as_bytes()]);
        Ok(Self {
            segment: named("xenith v1 segment id"),
            chunk: named("xenith v1 chunk id"),
            fingerprint: named("xenith v1 fingerprint"),
            node: named("xenith v1 node id"),
            disk: named("xenith v1 disk id"),
            repository,
            identity,
            epochs,
        })
    }

    /// R.
    #[must_use]
    pub const fn repository(&self) -> RepositoryId {
        self.repository
    }

    /// I.
    #[must_use]
    pub const fn identity(&self) -> &Secret {
        &self.identity
    }

    /// All epochs, oldest first.
    #[must_use]
    pub fn epochs(&self) -> &[Epoch] {
        &self.epochs
    }

    /// The epoch that new data is sealed with.
    #[must_use]
    pub fn current(&self) -> &Epoch {
        self.epochs.last().expect("Keys::new refuses an empty list")
    }

    /// Whether the private keys are here.
    #[must_use]
    pub fn role(&self) -> Role {
        match self.current().private {
            Some(_) => Role::Full,
            None => Role::Backup,
        }
    }

    /// The 256 entries of the chunker's gear table (SPEC 4.2, 6).
    #[must_use]
    pub fn gear(&self) -> [u64; 256] {
        let mut hasher = blake3::Hasher::new_derive_key("xenith v1 gear table");
        hasher.update(self.identity.expose()).update(self.repository.as_bytes());
        let mut output = hasher.finalize_xof();
        std::array::from_fn(|_| {
            let mut entry = [0; 8];
            output.fill(&mut entry);
            u64::from_le_bytes(entry)
        })
    }

    /// A new object key and the header that leads to it. `seed` is 32 fresh random bytes, used once.
    #[must_use]
    pub fn seal_header(&self, kind: Kind, seed: &Secret) -> (SealedHeader, Secret) {
        let epoch = self.current();
        let (suite, salt, key) = match kind {
            Kind::DataPack => {
                let (share, key) = self.encapsulate(epoch, kind, seed);
                (Suite::Hpke, share, key)
            }
            _ => {
                let salt = *seed.expose();
                (Suite::Catalog, salt, self.catalog_key(epoch, kind as u8, &salt))
            }
        };
        let (repository, commitment) = (self.repository, commitment(&key));
        let epoch = epoch.number;
        (SealedHeader { kind, suite, epoch, repository, salt, commitment }, key)
    }

    /// The object key that `header` leads to, compared with the commitment.
    pub fn open_header(&self, header: &SealedHeader) -> Result<Secret, FormatError> {
        let epoch = self.epoch(header.epoch)?;
        let key = match header.suite {
            Suite::Hpke => self.decapsulate(epoch, header)?,
            _ => self.catalog_key(epoch, header.kind as u8, &header.salt),
        };
        match commitment(&key) == header.commitment {
            true => Ok(key),
            false => Err(FormatError::Seal { what: "header" }),
        }
    }

    /// The key of a pack's contents (SPEC 4.2, 8.1).
    pub fn contents_key(&self, header: &SealedHeader) -> Result<Secret, FormatError> {
        let epoch = self.epoch(header.epoch)?;
        Ok(self.catalog_key(epoch, header.kind as u8 + 128, &header.salt))
    }

    /// The catalog object key for a kind number and salt (SPEC 4.2).
    #[must_use]
    pub fn catalog_key(&self, epoch: &Epoch, kind: u8, salt: &[u8; 32]) -> Secret {
        let parts: [&[u8]; 4] = [epoch.catalog.expose(), self.repository.as_bytes(), &[kind], salt];
        derive("xenith v1 catalog object", &parts)
    }

    /// The epoch with this number, if the bundle has it.
    pub fn epoch(&self, number: u32) -> Result<&Epoch, FormatError> {
        let found = self.epochs.iter().find(|epoch| epoch.number == number);
        found.ok_or(FormatError::Invalid { what: "epoch: this password's bundle does not have it" })
    }

    fn encapsulate(&self, epoch: &Epoch, kind: Kind, seed: &Secret) -> ([u8; 32], Secret) {
        let public = <DataKem as Kem>::PublicKey::from_bytes(&epoch.public)
            .expect("any 32 bytes are an X25519 key");
        let psk = self.psk(epoch);
        let psk_id = self.psk_id(epoch);
        let mode =
            OpModeS::Psk(PskBundle::new(psk.expose(), &psk_id).expect("neither part is empty"));
        let (share, context) =
            hpke::setup_sender_with_rng::<hpke::aead::ExportOnlyAead, HkdfSha256, DataKem>(
                &mode,
                &public,
                &self.hpke_info(epoch, kind),
                &mut SeedRng::new(seed),
            )
            .expect("the public key is not of small order: we made it");
        let mut key = [0; 32];
        context.export(PACK_KEY_CONTEXT, &mut key).expect("32 bytes can be exported");
        (share.to_bytes().into(), Secret(key))
    }

    fn decapsulate(&self, epoch: &Epoch, header: &SealedHeader) -> Result<Secret, FormatError> {
        let refuse = |_| FormatError::Seal { what: "header" };
        let private = epoch
            .private
            .as_ref()
            .ok_or(FormatError::Invalid { what: "role: the backup role cannot open data packs" })?;
        let private = <DataKem as Kem>::PrivateKey::from_bytes(private.expose()).map_err(refuse)?;
        let share = <DataKem as Kem>::EncappedKey::from_bytes(&header.salt).map_err(refuse)?;
        let (psk, psk_id) = (self.psk(epoch), self.psk_id(epoch));
        let mode = OpModeR::Psk(PskBundle::new(psk.expose(), &psk_id).map_err(refuse)?);
        let context = hpke::setup_receiver::<hpke::aead::ExportOnlyAead, HkdfSha256, DataKem>(
            &mode,
            &private,
            &share,
            &self.hpke_info(epoch, header.kind),
        )
        .map_err(refuse)?;
        let mut key = [0; 32];
        context.export(PACK_KEY_CONTEXT, &mut key).map_err(refuse)?;
        Ok(Secret(key))
    }

    fn psk(&self, epoch: &Epoch) -> Secret {
        derive("xenith v1 hpke psk", &[epoch.catalog.expose(), self.repository.as_bytes()])
    }

    fn psk_id(&self, epoch: &Epoch) -> Vec<u8> {
        [self.repository.as_bytes().as_slice(), &epoch.number.to_le_bytes()].concat()
    }

    fn hpke_info(&self, epoch: &Epoch, kind: Kind) -> Vec<u8> {
        let number = epoch.number.to_le_bytes();
        [b"xenith v1".as_slice(), self.repository.as_bytes(), &number, &[kind as u8]].concat()
    }
}

const PACK_KEY_CONTEXT: &[u8] = b"xenith v1 pack key";

/// Hands a random seed to HPKE, which asks for a generator and draws one key from it.
/// Expanding the seed keeps this crate free of randomness, and vectors repeatable.
struct SeedRng(blake3::OutputReader);

impl SeedRng {
    fn new(seed: &Secret) -> Self {
        Self(blake3::Hasher::new_keyed(seed.expose()).finalize_xof())
    }
}

impl hpke::rand_core::TryRng for SeedRng {
    type Error = std::convert::Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        let mut bytes = [0; 4];
        self.0.fill(&mut bytes);
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Self::Error> {
        self.0.fill(bytes);
        Ok(())
    }
}

impl hpke::rand_core::TryCryptoRng for SeedRng {}
