//! What to tell about an error: what was being done, why it was not, whether anything is
//! damaged, and what to do next.
//!
//! ```text
//! error: cannot open the repository at /srv/backup
//!   cause: the password opens none of the 2 key slots of /srv/backup
//!   hint: check where the password comes from; nothing was changed
//! ```
//!
//! The matches are exhaustive: a new error does not compile until somebody has decided what to
//! advise.

mod destination;
mod pool;
mod recovery;
mod repository;

use std::error::Error;
use std::fmt::Write as _;
use std::io::{self, Write as _};

use engine::backup::BackupError;
use engine::catalog::CatalogError;
use engine::key_slots::KeyError;
use engine::parallel::WorkersError;
use engine::reader::ContentReadError;
use engine::repository::{OpenError, ReadError};
use engine::session::SessionError;
use engine::snapshots::FindError;
use engine::source::{ContentError, SourceError};
use engine::storage::StorageError;
use serde::Serialize;
use xen_source::xapi::XapiError;

use crate::config::ConfigError;
use crate::exit::Exit;
use crate::hooks::HookError;
use crate::password::{PasswordError, Whose};
use crate::text::{Form, printable};
use destination::ObjectionMessage;
pub use destination::{Objections, Unrestored};

/// Something that was not done.
#[derive(Debug)]
pub struct Failure {
    doing: String,
    fault: Fault,
}

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// A repository could not be made or opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A snapshot could not be made.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// The index could not be loaded.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// An object could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A disk could not be delivered.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// A disk could not be read.
    #[error(transparent)]
    ContentRead(#[from] ContentReadError),
    /// The storage failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// A snapshot was not found.
    #[error(transparent)]
    Find(#[from] FindError),
    /// Key slots could not be changed.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A pool did not do what was asked.
    #[error(transparent)]
    Pool(#[from] XapiError),
    /// Something stands against a restore into a pool.
    #[error(transparent)]
    Objections(#[from] Objections),
    /// A restore into a pool did not succeed.
    #[error(transparent)]
    Restore(#[from] Unrestored),
    /// The configuration file is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// There is no password.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// Threads could not be started.
    #[error(transparent)]
    Workers(#[from] WorkersError),
    /// Signals could not be caught.
    #[error("cannot catch signals")]
    Signals(#[from] ctrlc::Error),
    /// It cannot be done as it was asked for; nothing was tried.
    #[error("{what}")]
    Refused {
        /// Why.
        what: String,
        /// What to do instead.
        hint: String,
    },
    /// A file of the user could not be written or read.
    #[error(transparent)]
    File(io::Error),
    /// Results could not be printed.
    #[error("cannot write to standard output")]
    Print(#[source] io::Error),
}

impl From<SourceError> for Fault {
    fn from(error: SourceError) -> Self {
        Self::Backup(error.into())
    }
}

/// Says what was being done when an error came.
pub trait Doing<T> {
    /// `doing` reads on after "error: ", such as "cannot open the repository at /x".
    fn doing(self, doing: impl FnOnce() -> String) -> Result<T, Failure>;
}

impl<T, E: Into<Fault>> Doing<T> for Result<T, E> {
    fn doing(self, doing: impl FnOnce() -> String) -> Result<T, Failure> {
        self.map_err(|error| Failure { doing: doing(), fault: error.into() })
    }
}

/// A request that cannot be done as it was asked for.
pub fn refused<T>(
    doing: impl Into<String>,
    what: impl Into<String>,
    hint: impl Into<String>,
) -> Result<T, Failure> {
    Err(Failure::refusal(doing, what, hint))
}

/// An error and its causes.
pub fn in_words(error: &dyn Error) -> String {
    causes(error).join(": ")
}

/// What to do about an error, and how the program ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advice {
    /// The exit code.
    pub exit: Exit,
    /// What to do next.
    pub hint: String,
}

/// An error, as JSON.
#[derive(Debug, Serialize)]
pub struct ErrorMessage {
    message_type: &'static str,
    /// The exit code that the error alone would have.
    code: u8,
    /// What was being done, and why it was not.
    pub message: String,
    /// What to do next.
    pub hint: String,
    /// What stands against a restore, one by one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    objections: Vec<ObjectionMessage>,
    /// What a restore that failed could not put in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    left: Vec<String>,
}

impl Failure {
    /// A request that cannot be done as it was asked for.
    pub fn refusal(
        doing: impl Into<String>,
        what: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        let fault = Fault::Refused { what: what.into(), hint: hint.into() };
        Self { doing: doing.into(), fault }
    }

    /// How the program ends.
    pub fn exit(&self) -> Exit {
        self.advice().exit
    }

    /// Whether the same backup may succeed if its input is read once more.
    pub const fn is_fenced(&self) -> bool {
        let error = &self.fault;
        matches!(error, Fault::Backup(BackupError::Session(SessionError::Fenced { .. })))
    }

    /// Prints it on standard error.
    pub fn tell(self, form: Form) -> Exit {
        let exit = self.exit();
        let text = match form {
            Form::Json => serde_json::to_string(&self.message()).expect("texts are JSON") + "\n",
            Form::Text => printable(&self.text()),
        };
        // If nobody can be told, the exit code remains.
        let _ = io::stderr().write_all(text.as_bytes());
        exit
    }

    /// As JSON.
    pub fn message(&self) -> ErrorMessage {
        let Advice { exit, hint } = self.advice();
        let message = self.line();
        let objections = self.objections();
        let (message_type, code, left) = ("error", exit.code(), self.left().to_vec());
        ErrorMessage { message_type, code, message, hint, objections, left }
    }

    /// What failed and why, in a line.
    pub fn line(&self) -> String {
        let causes = self.causes();
        causes.iter().fold(self.doing.clone(), |line, cause| format!("{line}: {cause}"))
    }

    /// What is behind it, in a few words.
    pub fn cause(&self) -> String {
        self.causes().pop().unwrap_or_default()
    }

    fn text(&self) -> String {
        let mut text = format!("error: {}\n", self.doing);
        for ObjectionMessage { message, hint } in self.objections() {
            text += &format!("  cause: {message}\n  hint: {hint}\n");
        }
        if matches!(self.fault, Fault::Objections(_)) {
            return text + "nothing was changed\n";
        }
        for cause in self.causes() {
            // Writing to a string does not fail.
            let _ = writeln!(text, "  cause: {cause}");
        }
        for left in self.left() {
            let _ = writeln!(text, "  note: {left}");
        }
        let _ = writeln!(text, "  hint: {}", self.advice().hint);
        text
    }

    /// The error and what caused it, outermost first.
    fn causes(&self) -> Vec<String> {
        causes(&self.fault)
    }

    fn objections(&self) -> Vec<ObjectionMessage> {
        match &self.fault {
            Fault::Objections(objections) => objections.messages(),
            _ => Vec::new(),
        }
    }

    fn left(&self) -> &[String] {
        match &self.fault {
            Fault::Restore(failed) => &failed.left,
            _ => &[],
        }
    }

    fn advice(&self) -> Advice {
        match &self.fault {
            Fault::Open(error) => repository::on_open(error),
            Fault::Backup(error) => on_backup(error),
            Fault::Catalog(error) => failed(repository::on_catalog(error)),
            Fault::Read(error) => failed(repository::on_read(error)),
            Fault::Content(error) => failed(on_content(error)),
            Fault::ContentRead(error) => failed(repository::on_content_read(error)),
            Fault::Storage(error) => failed(repository::on_storage(error)),
            Fault::Find(error) => failed(on_find(error)),
            Fault::Key(error) => failed(repository::on_key(error)),
            Fault::Pool(error) => failed(pool::on_pool(error)),
            Fault::Objections(objections) => objections.advice(),
            Fault::Restore(failed) => destination::on_restore(failed),
            Fault::Config(error) => failed(on_config(error)),
            Fault::Password(error) => failed(on_password(error)),
            Fault::Workers(_) => failed("name fewer with --threads; nothing was done"),
            Fault::Signals(_) => failed("this is a fault of xenith; nothing was done"),
            Fault::Refused { hint, .. } => failed(hint),
            Fault::File(error) => failed(on_file(error)),
            Fault::Print(_) => {
                failed("the repository is as it should be; see where the output goes")
            }
        }
    }
}

fn causes(error: &dyn Error) -> Vec<String> {
    let mut causes = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        causes.push(error.to_string().replace('\n', " "));
        next = error.source();
    }
    causes
}

fn failed(hint: impl Into<String>) -> Advice {
    Advice { exit: Exit::Failed, hint: hint.into() }
}

fn on_backup(error: &BackupError) -> Advice {
    match error {
        BackupError::Source(error) => on_source(error),
        BackupError::Session(error) => failed(repository::on_session(error)),
        BackupError::Shared(Some(error)) => failed(repository::on_session(error)),
        BackupError::Shared(None) => failed(
            "nothing in the repository is damaged; run it again: what is stored already is not \
             stored twice",
        ),
        BackupError::Lookup(error) => failed(repository::on_lookup(error)),
        BackupError::Catalog(error) => failed(repository::on_catalog(error)),
        BackupError::Read(error) => failed(repository::on_read(error)),
        BackupError::TooLarge { .. } | BackupError::Description(_) => {
            failed("nothing was saved, nothing is damaged; the limits are in SPEC.md, chapter 13")
        }
    }
}

fn on_source(error: &SourceError) -> Advice {
    let again = "nothing was saved and nothing in the repository is damaged; \
                 export again, what is stored already is not stored twice. If it happens again, \
                 /var/log/xensource.log on the host that exported it says more";
    match error {
        SourceError::Unrecognised { .. } => failed(
            "nothing was saved; check what was given, or say what it is with --type (file keeps \
             anything as it is)",
        ),
        SourceError::Cut { .. } | SourceError::Damaged { .. } => {
            Advice { exit: Exit::Partly, hint: again.to_owned() }
        }
        SourceError::Io { source, .. } if pool::behind(source).is_some() => {
            failed(pool::behind(source).map_or_else(String::new, pool::on_backup))
        }
        SourceError::Io { source, .. }
            if source.get_ref().is_some_and(|it| it.is::<HookError>()) =>
        {
            failed(
                "nothing of it was saved and nothing is damaged; run the command by hand to see why",
            )
        }
        SourceError::Io { place, source } => failed(match source.kind() {
            // Who types vm:NAME and no pool is told that there is no such file.
            io::ErrorKind::NotFound if place.contains(':') => {
                "nothing was saved; check the path. If VMs are meant: name their pool with --pool"
            }
            io::ErrorKind::NotFound => "nothing was saved; check the path",
            io::ErrorKind::Interrupted => {
                "nothing of it was saved and nothing is damaged; run it again, what is stored \
                 already is not stored twice"
            }
            io::ErrorKind::PermissionDenied => {
                "nothing was saved; run it as someone who may read it"
            }
            _ => again,
        }),
    }
}

fn on_content(error: &ContentError) -> String {
    match error {
        ContentError::Repository(error) => match error.downcast_ref::<ContentReadError>() {
            Some(error) => repository::on_content_read(error),
            None => "run `xenith check --read-data`".to_owned(),
        },
        ContentError::Output(error) => on_file(error).to_owned(),
        ContentError::Invalid { .. } => {
            "the disks can be written one by one with --format raw; run `xenith check` too"
                .to_owned()
        }
    }
}

const fn on_find(error: &FindError) -> &'static str {
    match error {
        FindError::None { .. } => "`xenith snapshots` lists what there is",
        FindError::Ambiguous { .. } => {
            "type more digits of the id; `xenith snapshots` lists what there is"
        }
    }
}

const fn on_config(error: &ConfigError) -> &'static str {
    match error {
        ConfigError::Read { .. } => {
            "check --config and XENITH_CONFIG, and who may read it; --config /dev/null does \
             without. Nothing was done"
        }
        ConfigError::Line { .. } | ConfigError::Key { .. } => {
            "`xenith help` says where the file is looked for, and cli/CONFIG.md what may stand in \
             it; nothing was done"
        }
    }
}

const fn on_password(error: &PasswordError) -> &'static str {
    match error {
        PasswordError::File { whose, .. } => match whose {
            Whose::Repository => "check --password-file and XENITH_PASSWORD_FILE; nothing was done",
            Whose::New => "check --new-password-file; nothing was done",
            Whose::PoolUser => {
                "check --xapi-password-file, XENITH_XAPI_PASSWORD_FILE and what the configuration \
                 says of the pool; nothing was done"
            }
        },
        PasswordError::Command(_) | PasswordError::Status { .. } => {
            "run the command by hand to see why; nothing was done"
        }
        PasswordError::NoTerminal { whose } | PasswordError::Terminal { whose, .. } => {
            on_nobody_to_ask(*whose)
        }
        PasswordError::Differ => "nothing was done; type the same password twice",
        PasswordError::Empty => "nothing was done; an empty password protects nothing",
    }
}

const fn on_nobody_to_ask(whose: Whose) -> &'static str {
    match whose {
        Whose::Repository => {
            "use --password-file, --password-command or XENITH_PASSWORD_FILE; nothing was done"
        }
        Whose::New => "use --new-password-file or --new-password-command; nothing was done",
        Whose::PoolUser => {
            "use --xapi-password-file, --xapi-password-command or XENITH_XAPI_PASSWORD_FILE, or \
             name a pool of the configuration, which says where its password is; nothing was done"
        }
    }
}

fn on_file(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "make room there and run it again; nothing in the repository is damaged"
        }
        io::ErrorKind::PermissionDenied => {
            "run it as someone who may write there; nothing in the repository is damaged"
        }
        io::ErrorKind::BrokenPipe => {
            "whatever read the output stopped before its end; nothing in the repository is damaged"
        }
        io::ErrorKind::NotFound | io::ErrorKind::IsADirectory | io::ErrorKind::NotADirectory => {
            "check the path, and that its directory exists; nothing in the repository is damaged"
        }
        _ => "nothing in the repository is damaged; check the place and run it again",
    }
}

#[cfg(test)]
mod tests;
