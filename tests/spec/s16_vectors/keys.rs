//! `keys.json`: derivations, HPKE and key slots (SPEC 4).

use argon2::{Algorithm, Argon2, Params, Version};
use repo_format::header::Kind;
use repo_format::id::SlotId;
use repo_format::keys::{Role, Secret, commitment, derive};
use repo_format::seal::Sealer;
use repo_format::slot::{self, KdfCost, Slot, SlotInfo, SlotParts};
use repo_tests::fixed::{array, backup_keys, bundle, full_keys, secret};
use serde_json::{Value, json};

use super::{hex, unhex, unhex_array};

/// Role, label, password, and cost as (m, t, p).
type SlotCase = (Role, &'static str, &'static str, (u32, u8, u8));

const SLOTS: [SlotCase; 2] = [
    (Role::Full, "full", "correct horse \u{1f40e}", (8192, 1, 1)),
    (Role::Backup, "backup", "", (8193, 2, 3)),
];

/// The file, made anew.
pub fn made() -> Value {
    let keys = full_keys();
    let epoch = keys.current();
    let gear = keys.gear().map(u64::to_le_bytes).concat();
    let private = epoch.private.as_ref().expect("the full role").expose();
    json!({
        "identity": hex(keys.identity().expose()),
        "repository": hex(keys.repository().as_bytes()),
        "epoch": epoch.number,
        "catalog_secret": hex(epoch.catalog.expose()),
        "key_material": hex(secret("key material 3").expose()),
        "public_key": hex(epoch.public),
        "private_key": hex(private),
        "segment_key": hex(keys.segment.expose()),
        "chunk_key": hex(keys.chunk.expose()),
        "fingerprint_key": hex(keys.fingerprint.expose()),
        "node_key": hex(keys.node.expose()),
        "disk_key": hex(keys.disk.expose()),
        "gear_table": hex(&gear),
        "gear_table_hash": hex(blake3::hash(&gear).as_bytes()),
        "gear_first": keys.gear()[..4].iter().map(u64::to_string).collect::<Vec<_>>(),
        "catalog_object": ([2, 4, 5, 8, 9, 11, 3 + 128, 4 + 128, 5 + 128].map(catalog_object)),
        "hpke_psk": hex(hpke_psk()),
        "hpke": [hpke()],
        "slot": SLOTS.map(slot),
    })
}

fn catalog_object(kind: u8) -> Value {
    let keys = full_keys();
    let salt = array::<32>(&format!("salt {kind}"));
    let key = keys.catalog_key(keys.current(), kind, &salt);
    json!({
        "kind": kind,
        "salt": hex(salt),
        "key": hex(key.expose()),
        "commitment": hex(commitment(&key)),
        "nonce_key": hex(derive("xenith v1 frame nonce", &[key.expose()]).expose()),
    })
}

fn hpke_psk() -> [u8; 32] {
    let keys = full_keys();
    let material = [&keys.current().catalog.expose()[..], keys.repository().as_bytes()].concat();
    blake3::derive_key("xenith v1 hpke psk", &material)
}

fn hpke() -> Value {
    let keys = backup_keys();
    let (header, key) = keys.seal_header(Kind::DataPack, &secret("hpke seed"));
    let repository = keys.repository();
    let number = header.epoch.to_le_bytes();
    let info = [&b"xenith v1"[..], repository.as_bytes(), &number, &[3]].concat();
    json!({
        "kind": 3,
        "info": hex(info),
        "psk_id": hex([&repository.as_bytes()[..], &number].concat()),
        "exporter_context": hex("xenith v1 pack key"),
        "seed": hex(secret("hpke seed").expose()),
        "enc": hex(header.salt),
        "pack_key": hex(key.expose()),
        "commitment": hex(header.commitment),
        "header": hex(header.encode()),
    })
}

fn slot((role, label, password, cost): SlotCase) -> Value {
    let info = SlotInfo { role, label: label.to_owned(), created: 1_700_000_000 };
    let (id, salt) = (array::<16>("slot"), array::<16>("slot salt"));
    let (m, t, p) = cost;
    let cost = KdfCost::new(m, t, p).expect("within the bounds");
    let parts = SlotParts { id: SlotId::from_bytes(id), salt, cost, info: &info };
    let object = slot::encode(&bundle(role), password.as_bytes(), &parts);
    let wrap = wrap_key(password.as_bytes(), &salt, (m, t, p));
    let prefix = &object[..104];
    let len =
        |at: usize| u32::from_le_bytes(object[at..at + 4].try_into().expect("4 bytes")) as usize;
    let sealed_bundle = &object[108..108 + len(104)];
    let sealed_info = &object[112 + len(104)..object.len() - 32];
    let info_salt: [u8; 32] = [id, salt].concat().try_into().expect("32 bytes");
    let info_key = full_keys().catalog_key(full_keys().current(), 2, &info_salt);
    let open = |key: &Secret, number, sealed: &[u8]| {
        Sealer::new(key, prefix).open("slot", number, sealed).expect("SPEC 4.3 opens it")
    };
    json!({
        "role": label,
        "label": label,
        "password": password,
        "id": hex(id),
        "salt": hex(salt),
        "m": m, "t": t, "p": p,
        "wrap_key": hex(wrap.expose()),
        "info_key": hex(info_key.expose()),
        "bundle": hex(open(&wrap, 0, sealed_bundle)),
        "info": hex(open(&info_key, 1, sealed_info)),
        "object": hex(&object),
    })
}

fn wrap_key(password: &[u8], salt: &[u8; 16], (m, t, p): (u32, u8, u8)) -> Secret {
    let mut output = [0; 32];
    let params = Params::new(m, t.into(), p.into(), Some(32)).expect("allowed parameters");
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(password, salt, &mut output)
        .expect("allowed lengths");
    derive("xenith v1 slot", &[&output])
}

/// Opens what the committed file holds.
#[track_caller]
pub fn check_read(file: &Value) {
    let header = unhex(&file["hpke"][0]["header"]);
    let header = repo_format::header::SealedHeader::parse(&header).expect("a sound header");
    let pack_key = Secret::from_bytes(unhex_array(&file["hpke"][0]["pack_key"]));
    assert_eq!(full_keys().open_header(&header), Ok(pack_key));
    for (entry, role) in
        file["slot"].as_array().expect("a list").iter().zip([Role::Full, Role::Backup])
    {
        let slot = Slot::parse(&unhex(&entry["object"])).expect("a sound slot");
        let password = entry["password"].as_str().expect("a text");
        let found = slot.open(password.as_bytes()).expect("sound").expect("its password");
        assert_eq!((found.role, found.keys.role()), (role, role));
        assert_eq!(hex(found.keys.identity().expose()), file["identity"]);
        let info = slot.info(&found.keys).expect("sound");
        assert_eq!(
            (info.role, info.label.as_str()),
            (role, entry["label"].as_str().expect("a text"))
        );
    }
}
