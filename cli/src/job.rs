//! What is meant by what was typed: where the repository is, who opens it, how it is told. No
//! command looks behind this.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;

use engine::parallel::Workers;
use engine::repository::Repository;
use engine::storage::Storage;
use repo_format::frame::Compression;
use repo_format::slot::KdfCost;

use crate::advice::{Doing as _, Failure, refused};
use crate::args::{CompressionLevel, GlobalArgs, Kdf};
use crate::config::Config;
use crate::password::PasswordSource;
pub use crate::place::Writes;
use crate::place::{Place, directory, profile};
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
    place: Option<Place>,
    threads: NonZeroUsize,
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
            (None, typed) => typed.map(|text| directory(&text)).transpose()?,
        };
        let level = args.compression.or_else(|| profile?.compression);
        let cache = || args.cache_dir.or_else(|| profile?.cache_dir.clone()).or_else(default_cache);
        let cache = if args.no_cache { None } else { cache() };
        let password = PasswordSource::of_repository(
            args.password_file,
            args.password_command,
            profile.and_then(|profile| profile.password.clone()),
        );
        let cores = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        Ok(Self {
            report: Report { form, volume },
            compression: match level.unwrap_or(CompressionLevel::Auto) {
                CompressionLevel::Off => Compression::Off,
                CompressionLevel::Fast => Compression::Zstd(1),
                CompressionLevel::Auto => Compression::Zstd(3),
                CompressionLevel::Max => Compression::Zstd(12),
            },
            place: root.map(|root| Place { root, password, cache }),
            config,
            threads: args.threads.unwrap_or(cores),
        })
    }

    /// The repository that was named.
    fn place(&self) -> Result<&Place, Failure> {
        match &self.place {
            Some(place) => Ok(place),
            None => refused(
                "cannot tell which repository is meant",
                "none was named",
                "name its directory with --repo or XENITH_REPOSITORY, or name one as repository \
                 under [defaults] in the configuration",
            ),
        }
    }

    /// Another repository, by its directory or its name in the configuration. What the configuration does not say of it
    /// is as for the one of this job.
    pub fn other_place(&self, typed: &str) -> Result<Place, Failure> {
        let here = self.place()?;
        match profile(&self.config, Some(typed), |path| path.exists()) {
            None => Ok(Place { root: directory(typed)?, ..here.clone() }),
            Some(profile) => Ok(Place {
                root: profile.path.clone(),
                password: profile.password.clone().unwrap_or_else(|| here.password.clone()),
                cache: here.cache.clone(),
            }),
        }
    }

    /// Whether a repository was named, by whatever means.
    pub const fn has_repository(&self) -> bool {
        self.place.is_some()
    }

    /// The storage of the repository, which exists.
    pub fn storage(&self) -> Result<Arc<dyn Storage>, Failure> {
        self.place()?.storage()
    }

    /// Opens the repository.
    pub fn open(&self, writes: Writes) -> Result<Repository, Failure> {
        self.place()?.open(writes, &self.report)
    }

    /// Makes the repository. The password is asked for only where none is.
    pub fn create(&self, cost: KdfCost) -> Result<Repository, Failure> {
        self.place()?.create(cost)
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
        Kdf::Cheapest => KdfCost::CHEAPEST,
    }
}

fn start(count: NonZeroUsize) -> Result<Workers, Failure> {
    Workers::start(count).doing(|| format!("cannot start {count} threads"))
}

fn default_cache() -> Option<PathBuf> {
    let directory =
        |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let caches = directory("XDG_CACHE_HOME").filter(|path| path.is_absolute());
    let caches = caches.or_else(|| Some(directory("HOME")?.join(".cache")));
    Some(caches?.join("xenith"))
}
