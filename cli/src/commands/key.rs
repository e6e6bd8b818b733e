//! `key`: who may open the repository.

use engine::key_slots::{self, ListedSlot};
use engine::repository::Repository;
use repo_format::keys::Role;
use repo_format::limits::TEXT_MAX;
use serde::Serialize;

use crate::advice::{Doing as _, Failure, refused};
use crate::args::{KeyAction, KeyAddArgs, KeyArgs, KeyRole, NewPasswordArgs};
use crate::clock;
use crate::exit::Exit;
use crate::job::{Job, Writes, kdf_cost};
use crate::password::{Ask, Password, PasswordSource, Whose};
use crate::report::short_id;
use crate::text::{Align, Table};

/// A key slot, as JSON.
#[derive(Debug, Serialize)]
pub struct SlotEntry {
    id: String,
    current: bool,
    role: Option<&'static str>,
    label: Option<String>,
    created: Option<String>,
    error: Option<String>,
}

/// A change of key slots, as JSON.
#[derive(Debug, Serialize)]
struct Changed {
    message_type: &'static str,
    id: String,
}

/// Lists or changes key slots.
pub fn run(job: &Job, args: KeyArgs) -> Result<Exit, Failure> {
    let repository = job.open(Writes::Kept)?;
    match args.action {
        KeyAction::List => list(job, &repository)?,
        KeyAction::Add(args) => add(job, &repository, args)?,
        KeyAction::Remove { id } => {
            let doing = || format!("cannot remove the key slot {id}");
            let removed = key_slots::remove(&repository, &id).doing(doing)?;
            let text = format!(
                "removed key slot {}; what has a copy of it still opens with its password\n",
                short_id(&removed)
            );
            job.report.outcome(&text, &changed("key_removed", removed))?;
        }
        KeyAction::Passwd(args) => {
            let doing = || "cannot replace the password".to_owned();
            let (cost, password) = (kdf_cost(args.kdf), new_password(args)?);
            let id = key_slots::change_password(&repository, &password, cost).doing(doing)?;
            let text = format!("the password is replaced; its key slot is {}\n", short_id(&id));
            job.report.outcome(&text, &changed("key_replaced", id))?;
        }
    }
    Ok(Exit::Done)
}

/// The key slots, for `key list` and `cat key`.
pub fn entries(repository: &Repository) -> Result<Vec<SlotEntry>, Failure> {
    let slots = key_slots::list(repository).doing(|| "cannot list the key slots".to_owned())?;
    Ok(slots.iter().map(SlotEntry::of).collect())
}

fn list(job: &Job, repository: &Repository) -> Result<(), Failure> {
    let slots = entries(repository)?;
    let columns = ["", "ID", "Role", "Created", "Label"].map(|name| (name, Align::Left));
    let mut table = Table::new(&columns);
    for slot in &slots {
        let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "?".to_owned());
        table.row([
            if slot.current { "*" } else { "" }.to_owned(),
            short_id(&slot.id),
            slot.role.unwrap_or("?").to_owned(),
            text(&slot.created),
            match &slot.error {
                None => text(&slot.label),
                Some(error) => format!("damaged: {error}"),
            },
        ]);
    }
    job.report.answer(&table.lines(""), &slots)
}

fn add(job: &Job, repository: &Repository, args: KeyAddArgs) -> Result<(), Failure> {
    let doing = || "cannot add a password".to_owned();
    if args.label.len() > TEXT_MAX {
        return refused(doing(), "the label is too long", format!("use up to {TEXT_MAX} bytes"));
    }
    let role = match args.role {
        KeyRole::Full => Role::Full,
        KeyRole::Backup => Role::Backup,
    };
    let (cost, password) = (kdf_cost(args.new_password.kdf), new_password(args.new_password)?);
    let id = key_slots::add(repository, role, &password, cost, &args.label).doing(doing)?;
    let text = format!("added key slot {} of the {} role\n", short_id(&id), role_name(role));
    job.report.outcome(&text, &changed("key_added", id))
}

fn new_password(args: NewPasswordArgs) -> Result<Password, Failure> {
    let source = PasswordSource::of_new(args.new_password_file, args.new_password_command);
    let password = source.get(Whose::New, "new password", Ask::Twice);
    password.doing(|| "cannot get the new password".to_owned())
}

fn changed(message_type: &'static str, id: impl std::fmt::Display) -> Changed {
    Changed { message_type, id: id.to_string() }
}

const fn role_name(role: Role) -> &'static str {
    match role {
        Role::Full => "full",
        Role::Backup => "backup",
    }
}

impl SlotEntry {
    fn of(slot: &ListedSlot) -> Self {
        let info = slot.info.as_ref();
        Self {
            id: slot.id.to_string(),
            current: slot.current,
            role: info.ok().map(|info| role_name(info.role)),
            label: info.ok().map(|info| info.label.clone()),
            created: info.ok().map(|info| clock::rfc3339(info.created, 0)),
            error: info.err().map(ToString::to_string),
        }
    }
}
