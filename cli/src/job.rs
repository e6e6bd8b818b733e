//! What is meant by what was typed: where the repository is, who opens it, how it is told. No
//! command looks behind this.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use engine::parallel::Workers;
use engine::repository::{OpenError, OpenOptions, Repository};
use engine::storage::discarding::DiscardingStorage;
use engine::storage::local::LocalStorage;
use engine::storage::{Storage, StorageError};
use engine::surroundings::RealSurroundings;
use repo_format::frame::Compression;
use repo_format::object_name::{Directory, ROOTS};
use repo_format::slot::KdfCost;

use crate::advice::{Doing as _, Failure, refused};
use crate::args::{CompressionLevel, GlobalArgs, Kdf};
use crate::config::{Config, RepositoryProfile};
use crate::password::{Ask, PasswordSource};
use crate::report::{Report, Volume};
use crate::text::Form;

/// Threads that wait for storage.
const UPLOADERS: NonZeroUsize = NonZeroUsize::new(2).expect("2 is not 0");

/// What every command knows.
pub struct Job {
    /// How results are told.
    pub report: Report,
    /// How hard to compress.
    pub compression: Compression,
    /// What the configuration file says.
    pub config: Config,
    root: Option<PathBuf>,
    password: PasswordSource,
    cache: Option<PathBuf>,
    threads: NonZeroUsize,
}

/// What becomes of what a command stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writes {
    /// It is kept.
    Kept,
    /// It is forgotten: a dry run.
    Discarded,
}

impl Job {
    /// Looks at arguments, environment and configuration, which count in this order.
    pub fn resolve(args: GlobalArgs) -> Result<Self, Failure> {
        let form = if args.json { Form::Json } else { Form::Text };
        let volume = match (args.quiet, args.verbose) {
            (true, _) => Volume::Quiet,
            (false, 0) => Volume::Normal,
            (false, _) => Volume::Verbose,
        };
        let config = Config::load(args.config.as_deref());
        let config = config.doing(|| "cannot begin".to_owned())?;
        let typed = args.repo.filter(|text| !text.is_empty());
        let profile = profile(&config, typed.as_deref(), |path| path.exists());
        let root = match (profile, typed) {
            (Some(profile), _) => Some(profile.path.clone()),
            (None, typed) => typed.map(|text| local_path(&text)).transpose()?,
        };
        let level = args.compression.or_else(|| profile?.compression);
        let cache = || args.cache_dir.or_else(|| profile?.cache_dir.clone()).or_else(default_cache);
        let cores = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        Ok(Self {
            report: Report { form, volume },
            compression: match level.unwrap_or(CompressionLevel::Auto) {
                CompressionLevel::Off => Compression::Off,
                CompressionLevel::Fast => Compression::Zstd(1),
                CompressionLevel::Auto => Compression::Zstd(3),
                CompressionLevel::Max => Compression::Zstd(12),
            },
            password: PasswordSource::of_repository(
                args.password_file,
                args.password_command,
                profile.and_then(|profile| profile.password.clone()),
            ),
            cache: if args.no_cache { None } else { cache() },
            root,
            config,
            threads: args.threads.unwrap_or(cores),
        })
    }

    /// The directory of the repository.
    pub fn local_storage(&self) -> Result<LocalStorage, Failure> {
        match &self.root {
            Some(root) => Ok(LocalStorage::new(root)),
            None => refused(
                "cannot tell which repository is meant",
                "none was named",
                "name its directory with --repo or XENITH_REPOSITORY, or name one as repository \
                 under [defaults] in the configuration",
            ),
        }
    }

    /// Whether a repository was named, by whatever means.
    pub const fn has_repository(&self) -> bool {
        self.root.is_some()
    }

    /// The storage of a repository that exists.
    pub fn storage(&self) -> Result<Arc<dyn Storage>, Failure> {
        let storage = self.local_storage()?;
        let location = storage.location();
        exists(&storage)
            .and_then(|exists| match exists {
                true => Ok(Arc::new(storage) as Arc<dyn Storage>),
                false => Err(OpenError::Missing { location: location.clone() }),
            })
            .doing(|| cannot_open(&location))
    }

    /// Opens the repository.
    pub fn open(&self, writes: Writes) -> Result<Repository, Failure> {
        // Before anybody is asked for a password, there must be something to open.
        let storage = self.storage()?;
        let location = storage.location();
        self.report.remark(&self.password.exposure().unwrap_or_default());
        let prompt = format!("password of {location}");
        let password = self.password.get(&prompt, Ask::Once).doing(|| cannot_open(&location))?;
        let storage = match writes {
            Writes::Kept => storage,
            Writes::Discarded => Arc::new(DiscardingStorage::new(storage)),
        };
        Repository::open(self.options(storage), &password).doing(|| cannot_open(&location))
    }

    /// Makes the repository. The password is asked for only where none is.
    pub fn create(&self, cost: KdfCost) -> Result<Repository, Failure> {
        let storage = self.local_storage()?;
        let location = storage.location();
        let doing = || format!("cannot make a repository at {location}");
        if exists(&storage).doing(doing)? {
            return Err(OpenError::Exists { location: location.clone() }).doing(doing);
        }
        let prompt = format!("new password of {location}");
        let password = self.password.get(&prompt, Ask::Twice).doing(doing)?;
        storage.prepare().doing(doing)?;
        Repository::create(self.options(Arc::new(storage)), &password, cost, "").doing(doing)
    }

    fn options(&self, storage: Arc<dyn Storage>) -> OpenOptions {
        let surroundings = Arc::new(RealSurroundings);
        OpenOptions { storage, surroundings, cache: self.cache.clone() }
    }

    /// Starts the threads that compute.
    pub fn workers(&self) -> Result<Workers, Failure> {
        start(self.threads)
    }

    /// Starts the threads that wait for storage.
    pub fn uploaders(&self) -> Result<Workers, Failure> {
        start(UPLOADERS)
    }
}

/// What it costs to try a password.
pub const fn kdf_cost(kdf: Kdf) -> KdfCost {
    match kdf {
        Kdf::Interactive => KdfCost::DEFAULT,
        Kdf::Strong => KdfCost::STRONG,
    }
}

fn start(count: NonZeroUsize) -> Result<Workers, Failure> {
    Workers::start(count).doing(|| format!("cannot start {count} threads"))
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
fn profile<'c>(
    config: &'c Config,
    typed: Option<&str>,
    exists: impl FnOnce(&Path) -> bool,
) -> Option<&'c RepositoryProfile> {
    match typed {
        None => config.default_repository(),
        Some(name) => config.repository(name).filter(|_| !exists(Path::new(name))),
    }
}

/// Refuses what looks like another kind of storage: `s3:bucket` is no directory that anybody wants.
fn local_path(text: &str) -> Result<PathBuf, Failure> {
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

fn default_cache() -> Option<PathBuf> {
    let directory =
        |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let caches = directory("XDG_CACHE_HOME").filter(|path| path.is_absolute());
    let caches = caches.or_else(|| Some(directory("HOME")?.join(".cache")));
    Some(caches?.join("xenith"))
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
    fn check_path(text: &str, expected: Option<&str>) {
        assert_eq!(local_path(text).ok(), expected.map(PathBuf::from), "{text}");
    }

    #[test]
    fn other_kinds_of_storage_are_refused() {
        check_path("/srv/xen", Some("/srv/xen"));
        check_path("xen", Some("xen"));
        check_path("./a:b", Some("./a:b"));
        check_path("local:/srv/xen", Some("/srv/xen"));
        check_path("s3:https://s3.eu/bucket", None);
        check_path("sftp:backup@nas:/xen", None);
        check_path("https://nas/xen", None);
    }
}
