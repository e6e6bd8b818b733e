//! A call and its answer, in either encoding.

use super::answer::{ApiError, Malformed};
use super::value::Value;
use super::{json, xml};

/// How calls are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// JSON-RPC 2.0. Tried first.
    Json,
    /// XML-RPC, for hosts that answer no JSON.
    Xml,
}

impl Encoding {
    /// Where calls go.
    pub const fn path(self) -> &'static str {
        match self {
            Self::Json => "/jsonrpc",
            Self::Xml => "/RPC2",
        }
    }

    /// What the body is called.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Xml => "text/xml",
        }
    }

    /// The body of a call.
    pub fn encode(self, method: &str, params: &[Value]) -> Vec<u8> {
        match self {
            Self::Json => json::encode(method, params),
            Self::Xml => xml::encode(method, params),
        }
    }

    /// What a body says: a value, or the host's refusal.
    pub fn parse(self, body: &[u8]) -> Result<Result<Value, ApiError>, Malformed> {
        match self {
            Self::Json => json::parse(body),
            Self::Xml => xml::parse(body),
        }
    }
}
