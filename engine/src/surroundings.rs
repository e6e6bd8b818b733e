//! Time and randomness: the only calls to either, so that tests can replace them.

use std::time::{SystemTime, UNIX_EPOCH};

use repo_format::keys::Secret;

/// The world as the engine sees it.
pub trait Surroundings: Send + Sync {
    /// Milliseconds since 1970, UTC.
    fn now_ms(&self) -> u64;

    /// Seconds since 1970, UTC.
    fn now(&self) -> u64 {
        self.now_ms() / 1000
    }

    /// Fills `bytes` with randomness fit for keys.
    fn random(&self, bytes: &mut [u8]);
}

/// The real one.
#[derive(Debug, Clone, Copy)]
pub struct RealSurroundings;

impl Surroundings for RealSurroundings {
    fn now_ms(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    fn random(&self, bytes: &mut [u8]) {
        // Without randomness no key is safe; there is nothing to fall back to.
        getrandom::fill(bytes).expect("the system's random source works");
    }
}

/// Random bytes of a fixed number.
pub fn random<const N: usize>(surroundings: &dyn Surroundings) -> [u8; N] {
    let mut bytes = [0; N];
    surroundings.random(&mut bytes);
    bytes
}

/// A random secret or seed.
pub fn random_secret(surroundings: &dyn Surroundings) -> Secret {
    Secret::from_bytes(random(surroundings))
}
