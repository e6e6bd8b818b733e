//! Tasks: the only truth about what became of a transfer (contract 0.2, 1.6).

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::answer::ApiError;
use super::error::XapiError;
use super::looks::Looks;
use super::retry::Nature;
use super::session::{Session, reference};
use super::value::Value;
use super::xml;

/// What the labels of our tasks begin with.
pub const LABEL: &str = "Xenith: ";

/// How a task stands.
#[derive(Debug, Clone, PartialEq)]
pub enum TaskState {
    /// At work, or not begun.
    Pending {
        /// From 0 to 1.
        progress: f64,
    },
    /// Done.
    Success {
        /// A value in the text form of XML-RPC, or empty.
        result: String,
    },
    /// Failed.
    Failed(ApiError),
    /// Cancelled.
    Cancelled,
    /// The pool does not know it any more. Nobody knows how it ended.
    Lost,
}

/// A task of ours. It is cancelled if it has not ended, and destroyed, when this is dropped.
#[derive(Debug)]
pub struct Task {
    session: Session,
    reference: String,
    label: String,
    has_ended: AtomicBool,
}

impl Task {
    /// Makes a task for a transfer, or fails at the first try.
    pub fn create(session: &Session, label: &str) -> Result<Self, XapiError> {
        let params = [Value::from(format!("{LABEL}{label}")), Value::from("")];
        Self::of(session, label, &session.call_once("task.create", &params)?)
    }

    /// Calls a method, once, as a task.
    pub fn start(
        session: &Session,
        label: &str,
        method: &str,
        params: &[Value],
    ) -> Result<Self, XapiError> {
        let task = session.call_once(&format!("Async.{method}"), params)?;
        Self::of(session, label, &task)
    }

    fn of(session: &Session, label: &str, task: &Value) -> Result<Self, XapiError> {
        let reference = reference(task).ok_or(XapiError::Record { field: "task reference" })?;
        let has_ended = AtomicBool::new(false);
        Ok(Self { session: session.clone(), reference, label: label.to_owned(), has_ended })
    }

    /// What transfers name it by.
    pub fn reference(&self) -> &str {
        &self.reference
    }

    /// What it is to do.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// How it stands.
    pub fn look(&self) -> Result<TaskState, XapiError> {
        let record = match self.session.call("task.get_record", &[Value::from(self.reference())]) {
            Ok(record) => record,
            Err(error) if error.is_gone() => {
                self.has_ended.store(true, Ordering::Relaxed);
                return Ok(TaskState::Lost);
            }
            Err(error) => return Err(error),
        };
        let state = state_of(&record)?;
        if !matches!(state, TaskState::Pending { .. }) {
            self.has_ended.store(true, Ordering::Relaxed);
        }
        Ok(state)
    }

    /// Looks until it has ended, for at most `time` and no longer than a stream may be silent.
    pub fn settle(&self, time: Duration) -> Result<TaskState, XapiError> {
        self.follow(Looks::within(time.min(self.silence())), &|| true)
    }

    /// Looks until it has ended or `looks` have, or nobody `goes_on`.
    pub fn follow(
        &self,
        mut looks: Looks,
        goes_on: &dyn Fn() -> bool,
    ) -> Result<TaskState, XapiError> {
        loop {
            match (self.look()?, looks.next().filter(|_| goes_on())) {
                (TaskState::Pending { .. }, Some(pause)) => self.session.pause(pause),
                (state, _) => return Ok(state),
            }
        }
    }

    /// Waits for its end, and takes its result.
    pub fn wait(&self) -> Result<Value, XapiError> {
        result_of(&self.success(self.follow(Looks::endless(), &|| true)?)?)
    }

    /// Waits for its end as long as it moves, and takes its result.
    ///
    /// # Errors
    ///
    /// As [`Self::wait`], or that it has not moved for as long as a stream may be silent.
    pub fn wait_while_moving(&self) -> Result<Value, XapiError> {
        let (mut latest, mut looks) = (-1.0, Looks::within(self.silence()));
        loop {
            let state = self.look()?;
            if let TaskState::Pending { progress } = state
                && progress > latest
            {
                latest = progress;
                looks.renew();
            }
            match (state, looks.next()) {
                (TaskState::Pending { .. }, Some(pause)) => self.session.pause(pause),
                (state, _) => return result_of(&self.success(state)?),
            }
        }
    }

    /// How long a stream may be silent.
    fn silence(&self) -> Duration {
        self.session.transport().settings().stall_timeout.unwrap_or(Duration::MAX)
    }

    /// The result of a task that ended well.
    pub fn success(&self, state: TaskState) -> Result<String, XapiError> {
        let label = self.label.clone();
        match state {
            TaskState::Success { result } => Ok(result),
            TaskState::Failed(error) => Err(XapiError::TaskFailed { label, error }),
            TaskState::Cancelled => Err(XapiError::TaskCancelled { label }),
            TaskState::Lost => Err(XapiError::TaskLost { label }),
            TaskState::Pending { .. } => Err(XapiError::TaskPending { label }),
        }
    }

    /// Asks for its end.
    pub fn cancel(&self) -> Result<(), XapiError> {
        self.session.call_briefly("task.cancel", &[Value::from(self.reference())]).map(drop)
    }
}

impl Drop for Task {
    /// Nothing can be done about errors here: the pool forgets tasks after a day (contract 1.6).
    fn drop(&mut self) {
        if !self.has_ended.load(Ordering::Relaxed) {
            let _ = self.cancel();
        }
        let _ = self.session.call_briefly("task.destroy", &[Value::from(self.reference())]);
    }
}

/// Calls a method as a task and waits for it, trying again where that helps.
pub fn run(
    session: &Session,
    label: &str,
    method: &str,
    params: &[Value],
) -> Result<Value, XapiError> {
    let ended = session.retrying(Nature::of(method), || {
        let task = Task::start(session, label, method, params)?;
        match task.wait() {
            Err(error @ (XapiError::TaskFailed { .. } | XapiError::TaskLost { .. })) => Err(error),
            // Once it has begun, only its own end is a reason to begin it again.
            other => Ok(other),
        }
    });
    ended?
}

fn state_of(record: &Value) -> Result<TaskState, XapiError> {
    let text = |key: &str| record.get(key).and_then(Value::text);
    let status = text("status").ok_or(XapiError::Record { field: "task.status" })?;
    Ok(match status.to_ascii_lowercase().as_str() {
        "success" => TaskState::Success { result: text("result").unwrap_or_default().to_owned() },
        "cancelled" => TaskState::Cancelled,
        "failure" => {
            let unknown = || ApiError::new("INTERNAL_ERROR", &[]);
            let info = record.get("error_info").map(Value::items).unwrap_or_default();
            TaskState::Failed(ApiError::of_values(info).unwrap_or_else(unknown))
        }
        _ => TaskState::Pending {
            progress: record.get("progress").and_then(Value::double).unwrap_or(0.0),
        },
    })
}

/// Results are in the text form of XML-RPC, whatever the encoding of calls (contract 1.6).
fn result_of(text: &str) -> Result<Value, XapiError> {
    if !text.trim_start().starts_with("<value") {
        return Ok(Value::from(text));
    }
    xml::parse_value(text).map_err(|_| XapiError::Record { field: "task.result" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xapi::json;

    #[track_caller]
    fn check(record: &str, expected: TaskState) {
        let record = json::parse_value(record.as_bytes()).expect("a record");
        assert_eq!(state_of(&record).expect("a state"), expected);
    }

    #[test]
    fn records_tell_how_tasks_stand() {
        check(r#"{"status":"pending","progress":0.5}"#, TaskState::Pending { progress: 0.5 });
        check(r#"{"status":"cancelling"}"#, TaskState::Pending { progress: 0.0 });
        check(r#"{"status":"cancelled"}"#, TaskState::Cancelled);
        check(r#"{"status":"success","result":""}"#, TaskState::Success { result: "".into() });
        let error = ApiError { code: "SR_FULL".into(), params: vec!["1".into()] };
        check(r#"{"status":"Failure","error_info":["SR_FULL","1"]}"#, TaskState::Failed(error));
        assert!(state_of(&Value::Nil).is_err());
    }

    #[test]
    fn results_are_values_in_xml() {
        let list = "<value><array><data><value>OpaqueRef:1</value></data></array></value>";
        let list = result_of(list).expect("a result");
        assert_eq!(list.items().first().and_then(Value::text), Some("OpaqueRef:1"));
        assert_eq!(result_of("").expect("a result"), Value::from(""));
        assert!(result_of("<value><array>").is_err());
    }
}
