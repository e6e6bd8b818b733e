//! `cat`: objects of the repository, as JSON whatever the form of results is.

mod entries;

use engine::catalog::newest_state;
use engine::repository::{Repository, read_index};
use engine::snapshots::Filter;
use engine::storage::Storage;
use repo_format::id::to_hex;
use repo_format::limits::{CATALOG_LEN_MAX, PACK_LEN_MAX};
use repo_format::object_name::{Directory, ObjectName};
use repo_format::session::SessionRecord;
use serde_json::{Value, json};

use super::key;
use crate::advice::{Doing as _, Failure, refused};
use crate::args::{CatArgs, CatObject};
use crate::clock;
use crate::exit::Exit;
use crate::job::{Job, Writes};
use crate::report::{self, SnapshotEntry};
use crate::selection;

/// Prints an object.
pub fn run(job: &Job, args: CatArgs) -> Result<Exit, Failure> {
    let repository = job.open(Writes::Kept)?;
    let value = match args.object {
        CatObject::Config => config(&repository),
        CatObject::Snapshot { id } => {
            let snapshot = selection::one(&repository, &id, &Filter::default())?;
            json!(SnapshotEntry::of(&snapshot))
        }
        CatObject::State => state(&repository)?,
        CatObject::Index { name: None } => list(&**repository.storage(), Directory::Index)?,
        CatObject::Prints { name: None } => list(&**repository.storage(), Directory::Prints)?,
        CatObject::Index { name: Some(text) } => index(&repository, Directory::Index, &text)?,
        CatObject::Prints { name: Some(text) } => index(&repository, Directory::Prints, &text)?,
        CatObject::Session => sessions(&repository)?,
        CatObject::Pack { id } => pack(&repository, &id)?,
        CatObject::Key => json!(key::entries(&repository)?),
    };
    let text = serde_json::to_string_pretty(&value).expect("a value is JSON");
    report::print(&(text + "\n"))?;
    Ok(Exit::Done)
}

fn config(repository: &Repository) -> Value {
    let config = repository.config();
    json!({
        "version": config.version(),
        "id": config.repository.to_string(),
        "created": clock::rfc3339(config.created, 0),
    })
}

fn state(repository: &Repository) -> Result<Value, Failure> {
    let state = newest_state(repository).doing(|| "cannot read the newest state".to_owned())?;
    Ok(entries::state(&state))
}

fn sessions(repository: &Repository) -> Result<Value, Failure> {
    let storage = repository.storage();
    let doing = || "cannot list the sessions".to_owned();
    let mut sessions = Vec::new();
    for (name, _) in storage.list(Directory::Sessions).doing(doing)? {
        let bytes = match storage.read(name, CATALOG_LEN_MAX) {
            // It ended just now.
            Err(engine::storage::StorageError::NotFound { .. }) => continue,
            bytes => bytes.doing(doing)?,
        };
        let session = SessionRecord::open(repository.keys(), &bytes);
        sessions.push(entries::session(name, &session));
    }
    Ok(json!(sessions))
}

fn index(repository: &Repository, directory: Directory, text: &str) -> Result<Value, Failure> {
    let storage = &**repository.storage();
    let (name, len) = find(storage, directory, text)?;
    let object = read_index(storage, repository.keys(), name);
    let object = object.doing(|| format!("cannot read {name}"))?;
    Ok(entries::index(name, len, &object))
}

fn pack(repository: &Repository, text: &str) -> Result<Value, Failure> {
    let (name, _) = find(&**repository.storage(), Directory::Packs, text)?;
    let doing = || format!("cannot read {name}");
    let bytes = repository.storage().read(name, PACK_LEN_MAX).doing(doing)?;
    let contents = entries::open_contents(repository.keys(), &bytes);
    let damaged = |source| engine::repository::ReadError::Damaged { name, source };
    let (kind, contents) = contents.map_err(damaged).doing(doing)?;
    Ok(entries::pack(name, bytes.len(), kind, &contents))
}

fn list(storage: &dyn Storage, directory: Directory) -> Result<Value, Failure> {
    let objects = storage.list(directory).doing(|| format!("cannot list {}", directory.path()))?;
    let entry =
        |(name, len): &(ObjectName, u64)| json!({ "name": short_name(*name), "bytes": len });
    Ok(objects.iter().map(entry).collect())
}

/// The object whose name, without its directory, begins with `text`.
fn find(
    storage: &dyn Storage,
    directory: Directory,
    text: &str,
) -> Result<(ObjectName, u64), Failure> {
    let text = text.to_ascii_lowercase();
    let doing = || format!("cannot find {} in {}", text, directory.path());
    let mut objects = storage.list(directory).doing(doing)?;
    objects.retain(|(name, _)| short_name(*name).starts_with(&text));
    match objects.as_slice() {
        [object] => Ok(*object),
        [] => refused(
            doing(),
            "there is no such object",
            "see what there is with `xenith cat index` and `xenith cat prints`",
        ),
        several => {
            refused(doing(), format!("{} objects begin so", several.len()), "type more digits")
        }
    }
}

/// The name without its directory.
fn short_name(name: ObjectName) -> String {
    match name {
        ObjectName::Pack(id) => to_hex(id.as_bytes()),
        name => name.to_string().rsplit('/').next().unwrap_or_default().to_owned(),
    }
}
