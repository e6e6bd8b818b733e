//! A session with a pool: found at one of several addresses, kept alive through the end of sessions
//! and a change of the coordinator (contract 1.3, 1.4, 1.8).

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use zeroize::{Zeroize, Zeroizing};

use super::address::Address;
use super::answer::{Malformed, excerpt};
use super::error::XapiError;
use super::limits::{REQUEST_LEN_MAX, UNREACHABLE_PAUSE, UNREACHABLE_TRIES};
use super::objects::{HostRecord, PoolRecord, records};
use super::request::Settings;
use super::retry::{Failure, Failures, Nature, Reaction, decide};
use super::rpc::Encoding;
use super::transport::{Answer, Transport};
use super::value::Value;

/// What sessions are told apart by on the hosts; limits count per originator.
const ORIGINATOR: &str = "xenith";
/// Longest reference that is believed.
const REF_LEN_MAX: usize = 200;

/// A password. Cannot be printed, and leaves memory when dropped.
#[derive(Clone)]
pub struct Password(Zeroizing<String>);

impl Password {
    /// Takes it.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(..)")
    }
}

/// Who logs in, and where.
#[derive(Debug, Clone)]
pub struct Login {
    /// Members of the pool, in the order in which they are tried. One is enough.
    pub addresses: Vec<Address>,
    /// Such as `root`.
    pub user: String,
    /// Its password.
    pub password: Password,
}

/// Waits. A trait, so that tests need no time.
pub trait Pause: Send + Sync {
    /// Returns after `time`.
    fn pause(&self, time: Duration);
}

/// Waits by the clock.
#[derive(Debug, Clone, Copy)]
pub struct RealPause;

impl Pause for RealPause {
    fn pause(&self, time: Duration) {
        std::thread::sleep(time);
    }
}

/// A session. Clones are the same session; it is logged out with the last of them.
#[derive(Clone)]
pub struct Session(Arc<Inner>);

struct Inner {
    transport: Transport,
    login: Login,
    pause: Box<dyn Pause>,
    state: Mutex<State>,
    /// Held while somebody logs in, so that others wait for it instead of doing the same.
    renewal: Mutex<()>,
}

/// Where we are.
#[derive(Debug, Clone)]
struct State {
    coordinator: Address,
    reference: String,
    encoding: Encoding,
    pool: PoolRecord,
    members: Vec<Address>,
}

impl Session {
    /// Finds the coordinator and logs in.
    ///
    /// # Errors
    ///
    /// What the last address said; a refused password at once.
    pub fn open(
        login: Login,
        settings: Settings,
        pause: Box<dyn Pause>,
    ) -> Result<Self, XapiError> {
        let transport = Transport::new(settings)?;
        let state = login_anywhere(&transport, &login, &login.addresses, None)?;
        let (state, renewal) = (Mutex::new(state), Mutex::new(()));
        Ok(Self(Arc::new(Inner { transport, login, pause, state, renewal })))
    }

    /// Calls `method`, with the session before `params`, and tries again where that helps.
    ///
    /// # Errors
    ///
    /// What the last try met.
    pub fn call(&self, method: &str, params: &[Value]) -> Result<Value, XapiError> {
        self.retrying(Nature::of(method), || self.call_once(method, params))
    }

    /// Calls `method` once.
    pub fn call_once(&self, method: &str, params: &[Value]) -> Result<Value, XapiError> {
        let State { coordinator, reference, encoding, .. } = self.state().clone();
        let params: Vec<Value> =
            std::iter::once(Value::from(&*reference)).chain(params.iter().cloned()).collect();
        exchange(&self.0.transport, &coordinator, encoding, method, &params)
    }

    /// Calls `method` once, or again if the session or the coordinator is another by now; without
    /// waiting for hosts that are away. For tidying up.
    pub fn call_briefly(&self, method: &str, params: &[Value]) -> Result<Value, XapiError> {
        match self.call_once(method, params) {
            Err(error)
                if matches!(
                    Failure::of(&error),
                    Failure::SessionInvalid | Failure::HostIsSlave(_)
                ) =>
            {
                self.call(method, params)
            }
            other => other,
        }
    }

    /// Does `attempt` again as long as the table of contract 1.8 says so.
    pub fn retrying<T>(
        &self,
        nature: Nature,
        mut attempt: impl FnMut() -> Result<T, XapiError>,
    ) -> Result<T, XapiError> {
        let mut failures = Failures::default();
        loop {
            let before = self.state().reference.clone();
            let error = match attempt() {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let failure = Failure::of(&error);
            match decide(&failure, failures.count(&failure), nature) {
                Reaction::Stop => return Err(error),
                Reaction::Wait(time) => self.0.pause.pause(time),
                Reaction::Relogin => self.renew_patiently(&before, None)?,
                Reaction::Switch(address) => {
                    let address = Address::parse(&address)?.with_port_of(&self.coordinator());
                    self.renew_patiently(&before, Some(&address))?;
                }
                Reaction::Failover(time) => {
                    self.0.pause.pause(time);
                    // If nobody answers, the next try counts that.
                    match self.renew(&before, None) {
                        Err(error) if !is_passing(&error) => return Err(error),
                        _ => {}
                    }
                }
            }
        }
    }

    /// Logs in again, also while the pool is still choosing its coordinator.
    fn renew_patiently(&self, before: &str, first: Option<&Address>) -> Result<(), XapiError> {
        for _try in 1..UNREACHABLE_TRIES {
            match self.renew(before, first) {
                Err(error) if is_passing(&error) => self.0.pause.pause(UNREACHABLE_PAUSE),
                other => return other,
            }
        }
        self.renew(before, first)
    }

    /// Logs in again, at `first` or where we are, or at any other member.
    fn renew(&self, before: &str, first: Option<&Address>) -> Result<(), XapiError> {
        let _waiting = self.0.renewal.lock().unwrap_or_else(PoisonError::into_inner);
        let State { coordinator, reference, pool, members, .. } = self.state().clone();
        if reference != before {
            return Ok(()); // somebody else has
        }
        let mut places: Vec<Address> = first.into_iter().cloned().collect();
        for place in std::iter::once(&coordinator).chain(&members).chain(&self.0.login.addresses) {
            if !places.contains(place) {
                places.push(place.clone());
            }
        }
        let state = login_anywhere(&self.0.transport, &self.0.login, &places, Some(&pool.uuid))?;
        *self.state() = state;
        Ok(())
    }

    /// Reads the addresses of the members again.
    pub fn refresh_members(&self) -> Result<(), XapiError> {
        let hosts = self.call("host.get_all_records", &[])?;
        let port_of = self.coordinator();
        self.state().members = member_addresses(&hosts, &port_of);
        Ok(())
    }

    /// Waits.
    pub fn pause(&self, time: Duration) {
        self.0.pause.pause(time);
    }

    /// Talks to hosts.
    pub fn transport(&self) -> &Transport {
        &self.0.transport
    }

    /// Where calls go.
    pub fn coordinator(&self) -> Address {
        self.state().coordinator.clone()
    }

    /// Where hosts of the pool are.
    pub fn members(&self) -> Vec<Address> {
        self.state().members.clone()
    }

    /// The pool.
    pub fn pool(&self) -> PoolRecord {
        self.state().pool.clone()
    }

    /// What a transfer carries, that goes with the task `task` (contract 1.5).
    pub fn cookie(&self, task: &str) -> String {
        format!("session_id={}; task_id={task}", self.state().reference)
    }

    /// Pretends that the coordinator was elsewhere.
    #[cfg(test)]
    pub fn set_coordinator(&self, coordinator: Address) {
        self.state().coordinator = coordinator;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Session({})", self.coordinator())
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        log_out(&self.transport, &state.coordinator, &state.reference, state.encoding);
    }
}

/// Logs in at the first of `places` that leads to a coordinator, of the pool `expected` if given.
fn login_anywhere(
    transport: &Transport,
    login: &Login,
    places: &[Address],
    expected: Option<&str>,
) -> Result<State, XapiError> {
    let mut latest = XapiError::Address { text: "nothing".to_owned() };
    for place in places {
        match login_from(transport, login, place, expected) {
            Ok(state) => return Ok(state),
            Err(error) if is_passing(&error) => latest = error,
            Err(error) => return Err(error),
        }
    }
    Err(latest)
}

/// Whether the next member may answer otherwise, or the same one in a while.
fn is_passing(error: &XapiError) -> bool {
    let is_away = matches!(Failure::of(error), Failure::Unreachable(_) | Failure::HostAway);
    let is_elsewhere =
        matches!(error, XapiError::OtherPool { .. } | XapiError::NoCoordinator { .. });
    is_away || is_elsewhere || error.has_code("HOST_IN_EMERGENCY_MODE")
}

/// Logs in at `place`, or at the coordinator that it names.
fn login_from(
    transport: &Transport,
    login: &Login,
    place: &Address,
    expected: Option<&str>,
) -> Result<State, XapiError> {
    let (mut address, mut failures) = (place.clone(), Failures::default());
    loop {
        let error = match enter(transport, login, &address) {
            Ok(state) => return check_pool(transport, state, expected),
            Err(error) => error,
        };
        let failure = Failure::of(&error);
        match decide(&failure, failures.count(&failure), Nature::Reads) {
            Reaction::Relogin => {}
            Reaction::Switch(coordinator) => {
                address = Address::parse(&coordinator)?.with_port_of(&address);
            }
            _ if matches!(failure, Failure::HostIsSlave(_)) => {
                return Err(XapiError::NoCoordinator { address: address.to_string() });
            }
            _ => return Err(error),
        }
    }
}

/// Logs in and looks around. Until that is done the host may end the session, or lead no more.
fn enter(transport: &Transport, login: &Login, address: &Address) -> Result<State, XapiError> {
    let (reference, encoding) = login_at(transport, login, address)?;
    let entered = look_around(transport, address, &reference, encoding);
    if entered.as_ref().is_err_and(|error| error.api().is_some()) {
        log_out(transport, address, &reference, encoding);
    }
    entered
}

/// Hosts keep few sessions (contract 1.3). They forget a session that is not logged out, so an
/// error changes nothing.
fn log_out(transport: &Transport, coordinator: &Address, reference: &str, encoding: Encoding) {
    let _ = exchange(transport, coordinator, encoding, "session.logout", &[Value::from(reference)]);
}

fn login_at(
    transport: &Transport,
    login: &Login,
    address: &Address,
) -> Result<(String, Encoding), XapiError> {
    let mut params = [
        Value::from(&*login.user),
        Value::from(&**login.password.0),
        Value::from("1.0"),
        Value::from(ORIGINATOR),
    ];
    let answer = first_exchange(transport, address, "session.login_with_password", &params);
    if let Value::Text(password) = &mut params[1] {
        password.zeroize();
    }
    let (value, encoding) = answer?;
    let reference = reference(&value).ok_or(XapiError::Record { field: "session reference" })?;
    Ok((reference, encoding))
}

/// The pool and its members.
fn look_around(
    transport: &Transport,
    coordinator: &Address,
    reference: &str,
    encoding: Encoding,
) -> Result<State, XapiError> {
    let session = [Value::from(reference)];
    let get = |method: &str| exchange(transport, coordinator, encoding, method, &session);
    let pools = get("pool.get_all_records")?;
    let pool = records::<PoolRecord>(&pools)?.into_iter().next();
    let pool = pool.ok_or(XapiError::Record { field: "pool" })?;
    let members = member_addresses(&get("host.get_all_records")?, coordinator);
    let (coordinator, reference) = (coordinator.clone(), reference.to_owned());
    Ok(State { coordinator, reference, encoding, pool, members })
}

/// A host that was ejected has a pool of its own (contract 1.4).
fn check_pool(
    transport: &Transport,
    state: State,
    expected: Option<&str>,
) -> Result<State, XapiError> {
    let Some(expected) = expected.filter(|expected| *expected != state.pool.uuid) else {
        return Ok(state);
    };
    log_out(transport, &state.coordinator, &state.reference, state.encoding);
    let (address, found) = (state.coordinator.to_string(), state.pool.uuid);
    Err(XapiError::OtherPool { address, found, expected: expected.to_owned() })
}

fn member_addresses(hosts: &Value, port_of: &Address) -> Vec<Address> {
    let hosts = records::<HostRecord>(hosts).unwrap_or_default();
    let addresses = hosts.iter().filter_map(|host| Address::parse(&host.address).ok());
    addresses.map(|address| address.with_port_of(port_of)).collect()
}

/// A reference that can stand in a header.
pub fn reference(value: &Value) -> Option<String> {
    let text = value.text()?;
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b":-_.".contains(&byte);
    let is_good = !text.is_empty() && text.len() <= REF_LEN_MAX && text.bytes().all(allowed);
    is_good.then(|| text.to_owned())
}

/// Calls in JSON, or in XML if the host knows no JSON.
fn first_exchange(
    transport: &Transport,
    address: &Address,
    method: &str,
    params: &[Value],
) -> Result<(Value, Encoding), XapiError> {
    let in_json = exchange(transport, address, Encoding::Json, method, params);
    let speaks_no_json = match &in_json {
        Err(XapiError::Answer { .. }) => true,
        Err(XapiError::Status { status, .. }) => [403, 404, 405, 415, 501].contains(status),
        _ => false,
    };
    if !speaks_no_json {
        return in_json.map(|value| (value, Encoding::Json));
    }
    match exchange(transport, address, Encoding::Xml, method, params) {
        Err(XapiError::Answer { .. }) => in_json.map(|value| (value, Encoding::Json)),
        in_xml => in_xml.map(|value| (value, Encoding::Xml)),
    }
}

/// One call and its answer.
fn exchange(
    transport: &Transport,
    address: &Address,
    encoding: Encoding,
    method: &str,
    params: &[Value],
) -> Result<Value, XapiError> {
    let wrong = |source: Malformed| {
        let (address, method) = (address.to_string(), method.to_owned());
        XapiError::Answer { address, method, source }
    };
    let body = encoding.encode(method, params);
    if body.len() > REQUEST_LEN_MAX {
        return Err(wrong(Malformed::of("the call is longer than hosts accept")));
    }
    let answer = transport.post(address, encoding.path(), encoding.content_type(), body)?;
    let Answer { status, body, .. } = answer;
    if status != 200 {
        let (address, path) = (address.to_string(), encoding.path().to_owned());
        let what = excerpt(&String::from_utf8_lossy(&body[..body.len().min(4096)]));
        return Err(XapiError::Status { address, path, status, what });
    }
    let answer = encoding.parse(&body).map_err(wrong)?;
    answer.map_err(|error| XapiError::Refused { method: method.to_owned(), error })
}
