//! Values of XenAPI, as both encodings carry them (contract 1.2).

use std::collections::BTreeMap;

/// A reference to nothing.
pub const NULL_REF: &str = "OpaqueRef:NULL";

/// One value. Hosts send numbers as strings in one encoding and as numbers in the other, so what a
/// value *is* is asked with [`int`](Self::int), [`text`](Self::text) and so on.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Nothing.
    Nil,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number with a fraction.
    Double(f64),
    /// A string, reference or member of an enumeration.
    Text(String),
    /// A time, such as `20260131T23:59:59Z`.
    DateTime(String),
    /// A list, or a set.
    Array(Vec<Value>),
    /// A record, or a map.
    Struct(BTreeMap<String, Value>),
}

impl Value {
    /// A struct of strings with nothing in it.
    pub fn empty_struct() -> Self {
        Self::Struct(BTreeMap::new())
    }

    /// The text of a string or time.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) | Self::DateTime(text) => Some(text),
            _ => None,
        }
    }

    /// A whole number, or a string of one.
    pub fn int(&self) -> Option<i64> {
        match self {
            Self::Int(number) => Some(*number),
            Self::Text(text) => text.trim().parse().ok(),
            _ => None,
        }
    }

    /// A number, or a string of one.
    pub fn double(&self) -> Option<f64> {
        match self {
            Self::Double(number) => Some(*number),
            Self::Int(number) => Some(*number as f64), // progress and the like: small
            Self::Text(text) => text.trim().parse().ok(),
            _ => None,
        }
    }

    /// True or false, or a string of it.
    pub fn bool(&self) -> Option<bool> {
        match self {
            Self::Bool(bool) => Some(*bool),
            Self::Text(text) if text == "1" || text == "true" => Some(true),
            Self::Text(text) if text == "0" || text == "false" => Some(false),
            _ => None,
        }
    }

    /// The items of a list; none for other values.
    pub fn items(&self) -> &[Self] {
        match self {
            Self::Array(items) => items,
            _ => &[],
        }
    }

    /// The members of a struct; `None` for other values.
    pub fn members(&self) -> Option<&BTreeMap<String, Self>> {
        match self {
            Self::Struct(members) => Some(members),
            _ => None,
        }
    }

    /// A member of a struct.
    pub fn get(&self, key: &str) -> Option<&Self> {
        self.members()?.get(key)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<bool> for Value {
    fn from(bool: bool) -> Self {
        Self::Bool(bool)
    }
}

impl FromIterator<Value> for Value {
    fn from_iter<I: IntoIterator<Item = Value>>(items: I) -> Self {
        Self::Array(items.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_flags_are_read_from_either_encoding() {
        assert_eq!(Value::from("12").int(), Some(12));
        assert_eq!(Value::Int(12).int(), Some(12));
        assert_eq!(Value::from("0.5").double(), Some(0.5));
        assert_eq!(Value::from("1").bool(), Some(true));
        assert_eq!(Value::Bool(false).bool(), Some(false));
    }

    #[test]
    fn what_is_of_another_kind_is_absent() {
        assert_eq!(Value::from("x").int(), None);
        assert_eq!(Value::Int(1).text(), None);
        assert_eq!(Value::Nil.items(), []);
        assert_eq!(Value::Int(1).get("x"), None);
    }
}
