//! Where a repository is, and who opens it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use engine::repository::{OpenError, OpenOptions, Repository};
use engine::storage::discarding::DiscardingStorage;
use engine::storage::local::LocalStorage;
use engine::storage::{Storage, StorageError};
use engine::surroundings::RealSurroundings;
use repo_format::object_name::{Directory, ROOTS};
use repo_format::slot::KdfCost;

use crate::advice::{Doing as _, Failure, refused};
use crate::config::{Config, RepositoryProfile};
use crate::password::{Ask, PasswordSource, Whose};
use crate::report::Report;

/// A repository that was named; there may be none yet.
#[derive(Debug, Clone)]
pub struct Place {
    /// Its directory.
    pub root: PathBuf,
    /// Where its password comes from.
    pub password: PasswordSource,
    /// The directory of all caches; `None`: nothing is kept.
    pub cache: Option<PathBuf>,
}

/// What becomes of what a command stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writes {
    /// It is kept.
    Kept,
    /// It is forgotten: a dry run.
    Discarded,
}

impl Place {
    /// The storage of a repository that exists.
    pub fn storage(&self) -> Result<Arc<dyn Storage>, Failure> {
        let storage = LocalStorage::new(&self.root);
        let location = storage.location();
        exists(&storage)
            .and_then(|exists| match exists {
                true => Ok(Arc::new(storage) as Arc<dyn Storage>),
                false => Err(OpenError::Missing { location: location.clone() }),
            })
            .doing(|| cannot_open(&location))
    }

    /// Opens the repository.
    pub fn open(&self, writes: Writes, report: &Report) -> Result<Repository, Failure> {
        // Before anybody is asked for a password, there must be something to open.
        let storage = self.storage()?;
        let location = storage.location();
        report.remark(&self.password.exposure().unwrap_or_default());
        let prompt = format!("password of {location}");
        let password = self.password.get(Whose::Repository, &prompt, Ask::Once);
        let password = password.doing(|| cannot_open(&location))?;
        let storage = match writes {
            Writes::Kept => storage,
            Writes::Discarded => Arc::new(DiscardingStorage::new(storage)),
        };
        Repository::open(self.options(storage), &password).doing(|| cannot_open(&location))
    }

    /// Makes the repository. The password is asked for only where none is.
    pub fn create(&self, cost: KdfCost) -> Result<Repository, Failure> {
        let storage = LocalStorage::new(&self.root);
        let location = storage.location();
        let doing = || format!("cannot make a repository at {location}");
        if exists(&storage).doing(doing)? {
            return Err(OpenError::Exists { location: location.clone() }).doing(doing);
        }
        let prompt = format!("new password of {location}");
        let password = self.password.get(Whose::Repository, &prompt, Ask::Twice).doing(doing)?;
        storage.prepare().doing(doing)?;
        Repository::create(self.options(Arc::new(storage)), &password, cost, "").doing(doing)
    }

    fn options(&self, storage: Arc<dyn Storage>) -> OpenOptions {
        let surroundings = Arc::new(RealSurroundings);
        OpenOptions { storage, surroundings, cache: self.cache.clone() }
    }
}

fn exists(storage: &LocalStorage) -> Result<bool, OpenError> {
    let lists = ROOTS.map(|copy| storage.list(Directory::Config(copy)));
    let lists = lists.into_iter().collect::<Result<Vec<_>, StorageError>>()?;
    Ok(lists.iter().any(|objects| !objects.is_empty()))
}

fn cannot_open(location: &str) -> String {
    format!("cannot open the repository at {location}")
}

/// The profile that is meant: a directory goes before a name of the configuration.
pub fn profile<'c>(
    config: &'c Config,
    typed: Option<&str>,
    exists: impl FnOnce(&Path) -> bool,
) -> Option<&'c RepositoryProfile> {
    match typed {
        None => config.default_repository(),
        Some(name) => config.repository(name).filter(|_| !exists(Path::new(name))),
    }
}

/// The directory that was typed. What looks like another kind of storage is refused: `s3:bucket` is no directory
/// that anybody wants.
pub fn directory(text: &str) -> Result<PathBuf, Failure> {
    let scheme = text.split_once(':').map_or("", |(scheme, _)| scheme);
    let is_scheme = scheme.len() > 1 && scheme.chars().all(|c| c.is_ascii_alphanumeric());
    match text.strip_prefix("local:") {
        Some(path) => Ok(path.into()),
        None if is_scheme => refused(
            format!("cannot use the repository {text}"),
            format!("this release has only local repositories, and `{scheme}:` is another kind"),
            "name a directory; one whose name has a colon is written ./name",
        ),
        None => Ok(text.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = "
        [repository.nas]
        path = '/mnt/nas'
        [repository.usb]
        path = '/mnt/usb'
        [defaults]
        repository = 'usb'
    ";

    #[track_caller]
    fn check_profile(typed: Option<&str>, exists: bool, expected: Option<&str>) {
        let config = Config::parse(CONFIG, Path::new("/c"), None).expect("it is right");
        let found = profile(&config, typed, |_| exists).map(|profile| profile.path.clone());
        assert_eq!(found, expected.map(PathBuf::from), "{typed:?}, {exists}");
    }

    #[test]
    fn a_directory_goes_before_a_name_and_a_name_before_the_default() {
        check_profile(None, false, Some("/mnt/usb"));
        check_profile(Some("nas"), false, Some("/mnt/nas"));
        check_profile(Some("nas"), true, None);
        check_profile(Some("/srv/xen"), false, None);
    }

    #[track_caller]
    fn check_directory(text: &str, expected: Option<&str>) {
        assert_eq!(directory(text).ok(), expected.map(PathBuf::from), "{text}");
    }

    #[test]
    fn other_kinds_of_storage_are_refused() {
        check_directory("/srv/xen", Some("/srv/xen"));
        check_directory("xen", Some("xen"));
        check_directory("./a:b", Some("./a:b"));
        check_directory("local:/srv/xen", Some("/srv/xen"));
        check_directory("s3:https://s3.eu/bucket", None);
        check_directory("sftp:backup@nas:/xen", None);
        check_directory("https://nas/xen", None);
    }
}
