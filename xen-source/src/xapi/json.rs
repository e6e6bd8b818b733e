//! JSON-RPC 2.0, and answers of 1.0 (contract 1.2).

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::answer::{ApiError, Malformed};
use super::limits::{DEPTH_MAX, VALUES_MAX};
use super::value::Value;

/// The body of a call.
pub fn encode(method: &str, params: &[Value]) -> Vec<u8> {
    let mut text =
        format!("{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":{},\"params\":", quoted(method));
    write_all(params, &mut text);
    text.push('}');
    text.into_bytes()
}

/// What a body says: a value, or the host's refusal.
pub fn parse(body: &[u8]) -> Result<Result<Value, ApiError>, Malformed> {
    let document = parse_value(body)?;
    match (document.get("error"), document.get("result")) {
        (Some(error), _) if *error != Value::Nil => refusal(error).map(Err),
        (_, Some(result)) => Ok(Ok(result.clone())),
        _ => Err(Malformed::of("it has neither a result nor an error")),
    }
}

/// 2.0: `{"message": code, "data": [params]}`; 1.0: `[code, params...]`.
fn refusal(error: &Value) -> Result<ApiError, Malformed> {
    let found = match error {
        Value::Array(items) => ApiError::of_values(items),
        error => error.get("message").and_then(Value::text).map(|code| {
            let params = error.get("data").map(Value::items).unwrap_or_default();
            ApiError::new(code, params)
        }),
    };
    found.ok_or_else(|| Malformed::of("its error has no code"))
}

/// A document of bounded depth and number of values.
pub fn parse_value(body: &[u8]) -> Result<Value, Malformed> {
    let left = Cell::new(VALUES_MAX);
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let value = Bounded { left: &left, depth: 0 }.deserialize(&mut deserializer);
    value
        .and_then(|value| deserializer.end().map(|()| value))
        .map_err(|error| Malformed::of(error.to_string()))
}

fn write(value: &Value, text: &mut String) {
    match value {
        Value::Nil => text.push_str("null"),
        Value::Bool(bool) => text.push_str(if *bool { "true" } else { "false" }),
        Value::Int(number) => text.push_str(&number.to_string()),
        Value::Double(number) => text.push_str(&format!("{number:?}")),
        Value::Text(string) | Value::DateTime(string) => text.push_str(&quoted(string)),
        Value::Array(items) => write_all(items, text),
        Value::Struct(members) => {
            text.push('{');
            for (place, (key, value)) in members.iter().enumerate() {
                text.push_str(if place > 0 { "," } else { "" });
                text.push_str(&quoted(key));
                text.push(':');
                write(value, text);
            }
            text.push('}');
        }
    }
}

fn write_all(items: &[Value], text: &mut String) {
    text.push('[');
    for (place, item) in items.iter().enumerate() {
        text.push_str(if place > 0 { "," } else { "" });
        write(item, text);
    }
    text.push(']');
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Reads one value of a document that may be anything.
struct Bounded<'a> {
    left: &'a Cell<usize>,
    depth: usize,
}

impl Bounded<'_> {
    /// For what is inside.
    fn inner<E: Error>(&self) -> Result<Self, E> {
        match (self.left.get().checked_sub(1), self.depth + 1) {
            (Some(left), depth) if depth <= DEPTH_MAX => {
                self.left.set(left);
                Ok(Self { left: self.left, depth })
            }
            _ => Err(E::custom("too many values")),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Bounded<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Bounded<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Nil)
    }

    fn visit_bool<E: Error>(self, bool: bool) -> Result<Value, E> {
        Ok(Value::Bool(bool))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Int(number))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Value, E> {
        Ok(i64::try_from(number).map_or(Value::Double(number as f64), Value::Int))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Value, E> {
        Ok(Value::Double(number))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Value, E> {
        Ok(Value::from(text))
    }

    fn visit_string<E: Error>(self, text: String) -> Result<Value, E> {
        Ok(Value::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element_seed(self.inner()?)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut members = BTreeMap::new();
        while let Some(key) = access.next_key::<String>()? {
            members.insert(key, access.next_value_seed(self.inner()?)?);
        }
        Ok(Value::Struct(members))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};

    use super::*;

    #[test]
    fn calls_are_written_with_all_kinds_of_values() {
        let map = Value::Struct(BTreeMap::from([("k\"".to_owned(), Value::Nil)]));
        let params = [Value::from("a\nb"), Value::Int(-1), Value::Double(60.0), map, true.into()];
        let text = String::from_utf8(encode("VM.x", &params)).expect("text");
        let expected = r#"{"jsonrpc":"2.0","id":1,"method":"VM.x","params":["a\nb",-1,60.0,{"k\"":null},true]}"#;
        assert_eq!(text, expected);
    }

    #[test]
    fn refusals_of_both_versions_are_read() {
        let second = br#"{"jsonrpc":"2.0","error":{"code":1,"message":"HOST_IS_SLAVE","data":["::1"]},"id":1}"#;
        let first = br#"{"error":["HOST_IS_SLAVE","::1"],"result":null,"id":1}"#;
        for body in [&second[..], &first[..]] {
            let refusal = parse(body).expect("an answer").expect_err("a refusal");
            assert_eq!(
                (refusal.code.as_str(), refusal.params),
                ("HOST_IS_SLAVE", vec!["::1".into()])
            );
        }
    }

    #[test]
    fn an_answer_may_be_empty_and_is_still_a_success() {
        let answer = parse(br#"{"jsonrpc":"2.0","result":"","id":1}"#).expect("an answer");
        assert_eq!(answer.expect("success"), Value::from(""));
    }

    #[test]
    fn what_is_no_answer_is_malformed() {
        for body in
            ["", "<html>", "{}", "[]", "1", "{\"error\":{}}", "{\"result\":1}x", "{\"result\":"]
        {
            assert!(parse(body.as_bytes()).is_err(), "{body}");
        }
    }

    #[test]
    fn nesting_has_a_limit() {
        let deep = format!("{{\"result\":{}", "[".repeat(100_000));
        assert!(parse(deep.as_bytes()).is_err());
        let just = format!("{}{}", "[".repeat(DEPTH_MAX), "]".repeat(DEPTH_MAX));
        assert!(parse_value(just.as_bytes()).is_ok());
        let over = format!("[{just}]");
        assert!(parse_value(over.as_bytes()).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_get_a_verdict(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _verdict = parse(&bytes);
        }

        #[test]
        fn what_is_written_is_read(text in any::<String>(), number in any::<i64>()) {
            let value = Value::Array(vec![Value::Text(text), Value::Int(number)]);
            let mut written = String::new();
            write(&value, &mut written);
            assert_eq!(parse_value(written.as_bytes()).expect("own writing"), value);
        }
    }
}
