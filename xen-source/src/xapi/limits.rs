//! Every limit of the client, each with a name.

use std::time::Duration;

/// Longest answer to a call, in bytes.
pub const ANSWER_LEN_MAX: u64 = 128 << 20;
/// Longest request that hosts accept, in bytes (contract 1.1).
pub const REQUEST_LEN_MAX: usize = 300 << 10;
/// Most values in an answer.
pub const VALUES_MAX: usize = 4 << 20;
/// Most values within values in an answer.
pub const DEPTH_MAX: usize = 32;
/// Bytes of an error page that are read.
pub const PAGE_LEN_MAX: u64 = 64 << 10;
/// Longest response head that an upload accepts, in bytes.
pub const HEAD_LEN_MAX: usize = 64 << 10;
/// Characters of foreign text that go into a message.
pub const EXCERPT_LEN_MAX: usize = 300;

/// Time for a connection to come up (contract 1.4).
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// Time for a call to be answered. What takes longer is called as a task.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(300);
/// Time after which an idle connection is probed, so that a dead peer is noticed.
pub const KEEPALIVE: Duration = Duration::from_secs(60);

/// Hosts that name another coordinator, one after the other.
pub const HOPS_MAX: u32 = 2;
/// 302 answers that are followed.
pub const REDIRECTS_MAX: u32 = 2;

/// Tries of a call whose host does not answer (contract 1.8).
pub const UNREACHABLE_TRIES: u32 = 10;
/// Pause between them.
pub const UNREACHABLE_PAUSE: Duration = Duration::from_secs(1);
/// After so many of them the other members are asked.
pub const FAILOVER_EVERY: u32 = 3;
/// Tries of what may happen twice, if its task is lost.
pub const TASK_LOST_TRIES: u32 = 3;
/// Time for what is being done with a VM to end, if the task of its snapshot is lost.
pub const TASK_LOST_TIME: Duration = Duration::from_secs(60);
/// Tries while too many tasks are pending.
pub const PENDING_TRIES: u32 = 10;
/// Pause between them.
pub const PENDING_PAUSE: Duration = Duration::from_secs(5);
/// Tries to destroy a disk that is in use: about 50 seconds (contract 0.12).
pub const IN_USE_TRIES: u32 = 12;
/// First pause between them; each is twice the one before.
pub const IN_USE_FIRST: Duration = Duration::from_secs(1);
/// Longest pause between them.
pub const IN_USE_PAUSE: Duration = Duration::from_secs(5);
/// Tries while another operation has the object: about eight minutes.
pub const OTHER_OPERATION_TRIES: u32 = 10;
/// Tries while a host is away: about two minutes.
pub const HOST_AWAY_TRIES: u32 = 6;
/// First pause of a back-off; each is twice the one before.
pub const BACKOFF_FIRST: Duration = Duration::from_secs(5);
/// Longest pause of a back-off.
pub const BACKOFF_MAX: Duration = Duration::from_secs(60);

/// First pause between two looks at what takes its time; each is twice the one before.
pub const LOOK_FIRST: Duration = Duration::from_millis(50);
/// Longest pause between two looks (contract 1.7).
pub const LOOK_MAX: Duration = Duration::from_secs(1);
/// Time for the task of a transfer whose stream has ended.
pub const SETTLE_TIME: Duration = Duration::from_secs(300);
/// Time for the task of an import whose host has stopped reading.
pub const IMPORT_TIME: Duration = Duration::from_secs(30);
/// Time for the task of an export that turned out to be damaged.
pub const EXPLAIN_TIME: Duration = Duration::from_secs(5);

/// Longest read by NBD, in bytes (contract 5.2).
pub const NBD_READ_LEN_MAX: u32 = 2 << 20;
/// Requests that a host knows of at a time. So few bytes always fit into the buffers on the way,
/// so that a request never waits for data that nobody takes.
pub const NBD_UNDER_WAY_MAX: usize = 16;
/// Bytes of a disk that may be asked for and not taken yet.
pub const NBD_ASKED_MAX: usize = 256 << 20;
/// Longest name of an export, in bytes; NBD has no longer strings.
pub const NBD_NAME_LEN_MAX: usize = 4096;
/// Longest explanation of a host that refuses something, in bytes.
pub const NBD_WORDS_LEN_MAX: u32 = 4096;
/// Longest certificate that comes with an address of NBD, in bytes.
pub const NBD_CERTIFICATE_LEN_MAX: usize = 64 << 10;
/// Addresses at which a disk is looked for.
pub const NBD_PLACES_MAX: usize = 64;
/// Bytes that are read from a connection at a time.
pub const NBD_BUFFER_LEN: usize = 256 << 10;
/// Time to connect again after a connection was lost, until data comes again: five tries (contract
/// 5.2).
pub const NBD_RECONNECT_TIME: Duration = Duration::from_millis(1500);
/// Times in a row that a disk is looked for anew when reading it by NBD has failed for good: its
/// session may have ended, or its host.
pub const NBD_RENEWALS: u32 = 1;
/// Time for a host to let us in and to greet us. It is near, and says the first word.
pub const NBD_GREETING_TIME: Duration = Duration::from_secs(4);
/// Hosts that may be silent, one after the other, before no others are tried: what swallows
/// connections on the way to two of them swallows them all.
pub const NBD_SILENT_MAX: usize = 2;
/// Bytes of a disk that are asked for by NBD before they are needed.
pub const NBD_AHEAD_LEN: usize = 32 << 20;
/// Bytes that a device may have beyond the end of its disk (contract 4.1).
pub const SURPLUS_LEN_MAX: u64 = 64 << 20;

const _: () = assert!(NBD_READ_LEN_MAX.is_multiple_of(512), "a read is whole sectors");
/// Time in which a guest has to shut down, unless told otherwise.
pub const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(600);
/// Time for a VM whose shutdown was given up: it may have been about to end.
pub const SHUTDOWN_GRACE: Duration = Duration::from_secs(30);
/// Time to bring a VM back to the power state that it had.
pub const POWER_TIME: Duration = Duration::from_secs(60);
/// First pause between tries to do so; each is twice the one before.
pub const POWER_FIRST: Duration = Duration::from_secs(1);
/// Longest pause between them.
pub const POWER_MAX: Duration = Duration::from_secs(10);
