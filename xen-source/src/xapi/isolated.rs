//! A network that leads nowhere, for VMs that are only tried.
//!
//! It carries the mark of its trial from its first moment, and soon the one that names itself, as
//! all that a restore makes (see [`super::unfinished`]).

use std::collections::BTreeMap;
use std::time::Duration;

use super::answer::ApiError;
use super::error::XapiError;
use super::looks::Looks;
use super::objects::{NetworkRecord, Record};
use super::session::{Session, reference};
use super::snapshot::{MARK, record, set_note, unless_gone};
use super::time;
use super::unfinished::{self, RESTORE, mark_of, of_trial};
use super::value::Value;

/// Time to remove a network: cards of VMs that were just removed may hold it for a moment.
const REMOVAL_TIME: Duration = Duration::from_secs(5);

/// A network without any card of a host, for a trial. It goes when this is dropped.
#[derive(Debug)]
pub struct IsolatedNetwork {
    session: Session,
    /// The network.
    pub record: NetworkRecord,
    is_gone: bool,
}

/// A network of a trial, as it is found again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The network.
    pub record: NetworkRecord,
    /// When its trial began, as the pool tells times; empty if it does not tell.
    pub since: String,
}

/// The network as it will be, to plan with before there is one.
#[must_use]
pub fn stand_in(name: &str) -> NetworkRecord {
    NetworkRecord {
        reference: "OpaqueRef:not-made-yet".to_owned(),
        uuid: "not made yet".to_owned(),
        name: name.to_owned(),
        bridge: String::new(),
        purposes: Vec::new(),
    }
}

impl IsolatedNetwork {
    /// Makes one.
    ///
    /// # Errors
    ///
    /// What the pool said; then there is none, or one that carries the mark of its trial.
    pub fn make(session: &Session, name: &str) -> Result<Self, XapiError> {
        let description = "Leads nowhere; made for a test of disaster recovery, and removed after";
        let mark = of_trial(&mark_of("network", &time::now(session)));
        let notes = BTreeMap::from([(RESTORE.to_owned(), Value::from(mark))]);
        let fields = BTreeMap::from([
            ("name_label".to_owned(), Value::from(name)),
            ("name_description".to_owned(), Value::from(description)),
            ("MTU".to_owned(), Value::from("1500")),
            ("other_config".to_owned(), Value::Struct(notes)),
        ]);
        let made = session.call("network.create", &[Value::Struct(fields)])?;
        let made = reference(&made).ok_or(XapiError::Record { field: "network reference" })?;
        let is_ready = record::<NetworkRecord>(session, &made).and_then(|network| {
            set_note(session, "network", &made, MARK, &network.uuid)?;
            Ok(network)
        });
        match is_ready {
            Ok(record) => Ok(Self { session: session.clone(), record, is_gone: false }),
            Err(error) => {
                // It is the one that was just made. If it stays, a clean-up knows it by its mark.
                let _ = remove(session, &made);
                Err(error)
            }
        }
    }

    /// Removes it.
    ///
    /// # Errors
    ///
    /// What the pool said, or that there are cards in it. It is tried again when this is dropped.
    pub fn remove(&mut self) -> Result<(), XapiError> {
        remove(&self.session, &self.record.reference)?;
        self.is_gone = true;
        Ok(())
    }
}

impl Drop for IsolatedNetwork {
    fn drop(&mut self) {
        if !self.is_gone {
            // Nobody is left to be told; a clean-up knows it by its mark.
            let _ = self.remove();
        }
    }
}

/// Networks of trials: all in `records`, which are those of the class `network`, with a good mark.
///
/// # Errors
///
/// If a record makes no sense.
pub fn find(records: &Value) -> Result<Vec<Found>, XapiError> {
    let all = records.members().ok_or(XapiError::Record { field: "records" })?;
    let found = all.iter().filter_map(|(reference, fields)| {
        let since = since(fields)?;
        Some(NetworkRecord::of(reference, fields).map(|record| Found { record, since }))
    });
    found.collect()
}

/// Removes a network of a trial, if its marks are good; what is gone already is gone. Hosts would
/// take cards of anybody with it, unless they are plugged, so it stays while there is one.
///
/// # Errors
///
/// What the pool said, or that there are cards in it.
pub fn remove(session: &Session, network: &str) -> Result<(), XapiError> {
    let mut removed = remove_once(session, network);
    for pause in Looks::within(REMOVAL_TIME) {
        if removed.is_ok() {
            break;
        }
        session.pause(pause);
        removed = remove_once(session, network);
    }
    removed
}

fn remove_once(session: &Session, network: &str) -> Result<(), XapiError> {
    let own = [Value::from(network)];
    let Some(fields) = unless_gone(session.call("network.get_record", &own))? else {
        return Ok(());
    };
    if since(&fields).is_none() {
        return Ok(());
    }
    let cards = fields.get("VIFs").map(Value::items).unwrap_or_default();
    if !cards.is_empty() {
        let params = cards.iter().filter_map(Value::text).map(str::to_owned).collect();
        let error = ApiError { code: "NETWORK_CONTAINS_VIF".to_owned(), params };
        return Err(XapiError::Refused { method: "network.destroy".to_owned(), error });
    }
    unless_gone(session.call("network.destroy", &own)).map(drop)
}

/// When the trial began that has made the network of these fields; `None`: none has.
fn since(fields: &Value) -> Option<String> {
    let uuid = fields.get("uuid").and_then(Value::text)?;
    let notes = fields.get("other_config").and_then(Value::members)?;
    let text = |(key, note): (&String, &Value)| Some((key.clone(), note.text()?.to_owned()));
    let notes = notes.iter().filter_map(text).collect();
    unfinished::since(uuid, &notes).map(str::to_owned)
}
