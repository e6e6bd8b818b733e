//! The way of a transfer: to the coordinator, and from there to the member that sees the disks.

use super::address::Address;
use super::error::XapiError;
use super::limits::REDIRECTS_MAX;
use super::request::Request;
use super::session::Session;
use super::task::{Task, TaskState};

/// What a transfer is.
pub struct Wanted<'a> {
    /// For people, and the task.
    pub label: String,
    /// `None`: the coordinator.
    pub address: Option<Address>,
    /// Such as `/export`.
    pub path: &'a str,
    /// Keys need no encoding.
    pub query: Vec<(&'a str, String)>,
}

/// A host's answer to a request for a transfer.
pub enum Answer<T> {
    /// Here it is.
    Here(T),
    /// It is to be had there.
    Elsewhere(String),
}

/// Makes a task and asks host after host, until one begins the transfer. A task whose request was
/// refused ends here, since the host may never have heard of it (contract 1.6).
pub fn begin<T>(
    session: &Session,
    wanted: &Wanted<'_>,
    ask: impl FnMut(&Request<'_>) -> Result<Answer<T>, XapiError>,
) -> Result<(T, Task), XapiError> {
    let task = Task::create(session, &wanted.label)?;
    match walk(session, wanted, &task, ask) {
        Ok(found) => Ok((found, task)),
        // The page says less than the task, if the host has taken it on.
        Err(error @ XapiError::Status { status: 403 | 500, .. }) => match task.look() {
            Ok(TaskState::Failed(error)) => {
                Err(XapiError::TaskFailed { label: wanted.label.clone(), error })
            }
            _ => Err(error),
        },
        Err(error) => Err(error),
    }
}

fn walk<T>(
    session: &Session,
    wanted: &Wanted<'_>,
    task: &Task,
    mut ask: impl FnMut(&Request<'_>) -> Result<Answer<T>, XapiError>,
) -> Result<T, XapiError> {
    let mut address = wanted.address.clone().unwrap_or_else(|| session.coordinator());
    let mut path_and_query = String::from(wanted.path);
    for (place, (key, value)) in wanted.query.iter().enumerate() {
        path_and_query.push(if place == 0 { '?' } else { '&' });
        path_and_query.push_str(&format!("{key}={}", percent_encoded(value)));
    }
    let cookie = session.cookie(task.reference());
    let mut hops = 0;
    loop {
        let request =
            Request { address: &address, path_and_query: &path_and_query, cookie: &cookie };
        let location = match ask(&request)? {
            Answer::Here(found) => return Ok(found),
            Answer::Elsewhere(location) => location,
        };
        let next = if hops < REDIRECTS_MAX { member(session, &location)? } else { None };
        let Some(next) = next else {
            return Err(XapiError::Redirect { address: address.to_string(), location });
        };
        (address, path_and_query) = next;
        hops += 1;
    }
}

/// Where a redirection leads, if that is a member of the pool. Nobody else gets our session.
fn member(session: &Session, location: &str) -> Result<Option<(Address, String)>, XapiError> {
    let Some((address, path)) = Address::of_location(location) else {
        return Ok(None);
    };
    let is_member =
        |session: &Session| session.members().iter().any(|member| member.host() == address.host());
    if !is_member(session) {
        session.refresh_members()?;
        if !is_member(session) {
            return Ok(None);
        }
    }
    let address = address.with_port_of(&session.coordinator());
    Ok(Some((address, path.to_owned())))
}

/// References and uuids have nothing that needs it; hosts decode it anyway (contract 1.5).
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b':' => {
                encoded.push(char::from(byte));
            }
            byte => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}
