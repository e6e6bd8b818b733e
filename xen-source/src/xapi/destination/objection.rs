//! What speaks against a restore, as facts.

/// Why a plan cannot be made. Sizes are in bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Objection {
    /// No SR was named, and the pool has no default.
    #[error("the pool has no default SR")]
    NoDefaultSr {
        /// Names of SRs that would do, and what is free there.
        candidates: Vec<(String, u64)>,
    },
    /// The pool has no SR of this name or uuid.
    #[error("the pool has no SR {sr}")]
    NoSr {
        /// As it was named.
        sr: String,
        /// Names of SRs that would do, and what is free there.
        candidates: Vec<(String, u64)>,
    },
    /// Several SRs, networks or VMs have the name.
    #[error("{count} {class}s are called {name}")]
    Ambiguous {
        /// `SR`, `network` or `VM`.
        class: &'static str,
        /// The name.
        name: String,
        /// How many.
        count: usize,
    },
    /// An SR for CDs.
    #[error("SR {sr} is for CDs, not for disks")]
    IsoSr {
        /// Its name.
        sr: String,
    },
    /// An SR that no host has attached.
    #[error("SR {sr} is not attached to any host")]
    NotAttached {
        /// Its name.
        sr: String,
    },
    /// An SR has no room.
    #[error("the disks need {needs_bytes} bytes, SR {sr} has {has_bytes}")]
    NoRoom {
        /// Its name.
        sr: String,
        /// What has to be free.
        needs_bytes: u64,
        /// What is free.
        has_bytes: u64,
    },
    /// The disks would lie on SRs that no single host sees.
    #[error("no host sees all of {}", srs.join(", "))]
    NoCommonHost {
        /// The SRs' names.
        srs: Vec<String>,
    },
    /// A disk is larger than a VHD can be.
    #[error("disk {disk} has {size_bytes} bytes, more than a VHD on SR {sr} holds")]
    TooLargeForVhd {
        /// The disk's name.
        disk: String,
        /// The SR's name.
        sr: String,
        /// The disk's virtual size.
        size_bytes: u64,
    },
    /// A disk that is to be sent as VHD is larger than a VHD can be.
    #[error("disk {disk} has {size_bytes} bytes, more than a VHD holds")]
    TooLargeAsVhd {
        /// The disk's name.
        disk: String,
        /// The disk's virtual size.
        size_bytes: u64,
    },
    /// An SR that takes no VHDs, since its new disks are not zero (contract 4.4).
    #[error("SR {sr} does not take disk {disk} as a VHD")]
    TakesNoVhd {
        /// The disk's name.
        disk: String,
        /// The SR's name.
        sr: String,
    },
    /// The snapshot has no such disk.
    #[error("the snapshot has no disk {disk}")]
    NoDisk {
        /// As it was named.
        disk: String,
        /// The disks that it has.
        candidates: Vec<String>,
    },
    /// A network of the VM is not here, and was not mapped.
    #[error("the pool has no network {name}")]
    NoNetwork {
        /// Its name where the VM was, or as it was named in the mapping.
        name: String,
        /// Names of networks that are here.
        candidates: Vec<String>,
    },
    /// A mapping of a network that the VM does not have.
    #[error("the VM has no network {name}")]
    UnknownMapping {
        /// As it was named.
        name: String,
    },
    /// There is a VM of this uuid.
    #[error("the pool has a VM of the uuid {uuid}: {vm}")]
    TakenUuid {
        /// The uuid.
        uuid: String,
        /// The VM's name.
        vm: String,
    },
    /// Another VM makes its addresses from the same seed.
    #[error("VM {vm} has the same seed for addresses")]
    TakenMacSeed {
        /// Its name.
        vm: String,
        /// The seed.
        seed: String,
    },
    /// Another VM that stays has this address.
    #[error("VM {vm} has the address {mac}")]
    TakenMac {
        /// Its name.
        vm: String,
        /// The address.
        mac: String,
    },
    /// There is a VM of this name.
    #[error("the pool has a VM called {name}")]
    TakenName {
        /// The name.
        name: String,
    },
    /// A VM is to be replaced, and is not there.
    #[error("the pool has no VM {name} to be replaced")]
    NothingToReplace {
        /// The name of the VM that was stored.
        name: String,
    },
    /// The VM to be replaced is not off.
    #[error("VM {name} is {state}")]
    NotOff {
        /// Its name.
        name: String,
        /// Such as `running`.
        state: &'static str,
    },
    /// Something is being done with the VM to be replaced.
    #[error("VM {name} is busy: {operation}")]
    Busy {
        /// Its name.
        name: String,
        /// What is being done.
        operation: String,
    },
    /// A VM that is replaced has its own name.
    #[error("a VM that replaces another cannot have another name")]
    NameAndOverwrite,
    /// The VM comes from a newer xapi than the pool has (contract 0.9).
    #[error("the VM comes from xapi {stored}, the pool has {pool}")]
    NewerVersion {
        /// Where the VM was.
        stored: String,
        /// Here.
        pool: String,
    },
    /// A memory image comes only with all disks on one SR.
    #[error("the VM's memory can be restored only with all disks on one SR")]
    MemoryNeedsOneSr,
    /// The snapshot holds no VM.
    #[error("the snapshot holds no VM")]
    NoVm,
    /// A VM without disks cannot be disks only.
    #[error("no disk is chosen")]
    NothingChosen,
}

impl Objection {
    /// Whether [`Wish::force`](super::Wish::force) passes over it.
    pub fn may_be_wrong(&self) -> bool {
        matches!(
            self,
            Self::NoRoom { .. }
                | Self::NewerVersion { .. }
                | Self::TooLargeForVhd { .. }
                | Self::NoCommonHost { .. }
                | Self::TakenMac { .. }
                | Self::TakenName { .. }
        )
    }
}
