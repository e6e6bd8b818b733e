//! What an answer says that is no value.

use std::fmt;

use super::limits::EXCERPT_LEN_MAX;
use super::value::Value;

/// What a host said when it refused (contract 9).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    /// Such as `VM_BAD_POWER_STATE`.
    pub code: String,
    /// What it is about; the meaning depends on the code.
    pub params: Vec<String>,
}

impl ApiError {
    /// A code and its parameters.
    pub fn new(code: &str, params: &[Value]) -> Self {
        let text = |value: &Value| match value {
            Value::Int(number) => number.to_string(),
            other => other.text().unwrap_or_default().to_owned(),
        };
        Self { code: code.to_owned(), params: params.iter().map(text).collect() }
    }

    /// `[code, params...]`.
    pub fn of_values(values: &[Value]) -> Option<Self> {
        let (code, params) = values.split_first()?;
        Some(Self::new(code.text()?, params))
    }

    /// Whether the object that was named does not exist (any more).
    pub fn is_gone(&self) -> bool {
        ["HANDLE_INVALID", "UUID_INVALID"].contains(&self.code.as_str())
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{}({})", self.code, self.params.join(", "));
        f.write_str(&excerpt(&text))
    }
}

/// Foreign text on one line, cut to what fits into a message.
pub fn excerpt(text: &str) -> String {
    let plain = |char: char| if char.is_control() { ' ' } else { char };
    text.chars().take(EXCERPT_LEN_MAX).map(plain).collect()
}

/// Why a body is no answer.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(String);

impl Malformed {
    /// A reason.
    pub fn of(what: impl Into<String>) -> Self {
        Self(excerpt(&what.into()))
    }
}
