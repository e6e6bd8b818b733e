//! XML-RPC, as hosts speak it that answer no JSON (contract 1.2).
//!
//! Hosts do not escape the keys of structs, which no strict reader accepts; so answers are read by
//! the lenient reader that reads `ova.xml`.

use quick_xml::escape::{escape, unescape};

use super::answer::{ApiError, Malformed};
use super::limits::VALUES_MAX;
use super::value::Value;
use crate::xva::ova::tree::{Content, Value as Tree};

/// The body of a call.
pub fn encode(method: &str, params: &[Value]) -> Vec<u8> {
    let mut text = String::from("<?xml version=\"1.0\"?><methodCall><methodName>");
    text.push_str(&escape(method));
    text.push_str("</methodName><params>");
    for param in params {
        text.push_str("<param>");
        write(param, &mut text);
        text.push_str("</param>");
    }
    text.push_str("</params></methodCall>");
    text.into_bytes()
}

/// What a body says: a value, or the host's refusal.
pub fn parse(body: &[u8]) -> Result<Result<Value, ApiError>, Malformed> {
    let text = String::from_utf8_lossy(body);
    let Some((_, answer)) = text.split_once("<methodResponse>") else {
        return Err(Malformed::of("it is no XML-RPC"));
    };
    let answer = answer.trim_start();
    if let Some(fault) = answer.strip_prefix("<fault>") {
        let fault = parse_value(fault)?;
        let what = fault.get("faultString").cloned().unwrap_or(Value::Nil);
        return Ok(Err(ApiError::new("XMLRPC_FAULT", &[what])));
    }
    let value = answer
        .strip_prefix("<params>")
        .and_then(|rest| rest.trim_start().strip_prefix("<param>"))
        .ok_or_else(|| Malformed::of("its answer has no value"))?;
    status(parse_value(value)?)
}

/// `{Status, Value}` or `{Status, ErrorDescription}`. One method answers with a bare list.
fn status(answer: Value) -> Result<Result<Value, ApiError>, Malformed> {
    if matches!(answer, Value::Array(_)) {
        return Ok(Ok(answer));
    }
    match answer.get("Status").and_then(Value::text) {
        Some("Success") => Ok(Ok(answer.get("Value").cloned().unwrap_or(Value::Nil))),
        Some("Failure") => answer
            .get("ErrorDescription")
            .and_then(|description| ApiError::of_values(description.items()))
            .map(Err)
            .ok_or_else(|| Malformed::of("its error has no code")),
        _ => Err(Malformed::of("it has no status")),
    }
}

/// A value at the start of `text`. Also the form in which tasks have their results (contract 1.6).
pub fn parse_value(text: &str) -> Result<Value, Malformed> {
    let tree = Tree::parse_up_to(text, VALUES_MAX);
    let tree = tree.map_err(|error| Malformed::of(error.to_string()))?;
    Ok(of_tree(text, tree))
}

/// Recursion is bounded, since the tree is.
fn of_tree(text: &str, tree: Tree) -> Value {
    let tag = tag_of(&text[tree.span]);
    match tree.content {
        Content::Scalar(scalar) => of_scalar(tag, scalar),
        Content::Array(items) => items.into_iter().map(|item| of_tree(text, item)).collect(),
        Content::Struct(members) => {
            let members = members.into_iter();
            Value::Struct(members.map(|(key, value)| (clear(&key), of_tree(text, value))).collect())
        }
    }
}

/// A scalar whose text does not fit its tag stays text.
fn of_scalar(tag: &str, scalar: String) -> Value {
    let fitting = match tag {
        "boolean" => match scalar.trim() {
            "0" => Some(Value::Bool(false)),
            "1" => Some(Value::Bool(true)),
            _ => None,
        },
        "int" | "i4" | "i8" => scalar.trim().parse().ok().map(Value::Int),
        "double" => scalar.trim().parse().ok().map(Value::Double),
        "dateTime.iso8601" => return Value::DateTime(scalar),
        "nil" => Some(Value::Nil),
        _ => None,
    };
    fitting.unwrap_or(Value::Text(scalar))
}

/// The tag inside `<value>`; empty if there is none.
fn tag_of(value: &str) -> &str {
    let inside = value.split_once('>').map_or("", |(_, inside)| inside.trim_start());
    let tag = inside.strip_prefix('<').unwrap_or("");
    let end = tag.find(['>', '/', ' ']).unwrap_or(0);
    &tag[..end]
}

/// A key with its entities replaced, or as it is if they make no sense.
fn clear(key: &str) -> String {
    unescape(key).map_or_else(|_| key.to_owned(), std::borrow::Cow::into_owned)
}

fn write(value: &Value, text: &mut String) {
    text.push_str("<value>");
    match value {
        Value::Nil => {}
        Value::Bool(bool) => {
            text.push_str(if *bool { "<boolean>1</boolean>" } else { "<boolean>0</boolean>" });
        }
        Value::Int(number) => text.push_str(&format!("<int>{number}</int>")),
        Value::Double(number) => text.push_str(&format!("<double>{number:?}</double>")),
        Value::Text(string) => text.push_str(&escaped(string)),
        Value::DateTime(time) => {
            let time = escaped(time);
            text.push_str(&format!("<dateTime.iso8601>{time}</dateTime.iso8601>"));
        }
        Value::Array(items) => {
            text.push_str("<array><data>");
            items.iter().for_each(|item| write(item, text));
            text.push_str("</data></array>");
        }
        Value::Struct(members) => {
            text.push_str("<struct>");
            for (key, value) in members {
                text.push_str(&format!("<member><name>{}</name>", escaped(key)));
                write(value, text);
                text.push_str("</member>");
            }
            text.push_str("</struct>");
        }
    }
    text.push_str("</value>");
}

/// XML has no way to say most control characters, so they are left out.
fn escaped(text: &str) -> String {
    let allowed = |char: &char| !char.is_control() || "\t\n\r".contains(*char);
    escape(text.chars().filter(allowed).collect::<String>()).into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};

    use super::*;

    fn answer(value: &str) -> String {
        format!(
            "<?xml version=\"1.0\"?>\n<methodResponse><params><param>{value}</param></params>\
             </methodResponse>"
        )
    }

    fn success(value: &str) -> String {
        answer(&format!(
            "<value><struct><member><name>Status</name><value>Success</value></member><member>\
             <name>Value</name>{value}</member></struct></value>"
        ))
    }

    #[test]
    fn values_of_all_kinds_are_read() {
        let text = success(
            "<value><struct><member><name>a<b&</name><value><boolean>1</boolean></value></member>\
             <member><name>n</name><value><i8>7</i8></value></member><member><name>d</name><value>\
             <double>0.5</double></value></member><member><name>t</name><value><dateTime.iso8601>\
             20260131T23:59:59Z</dateTime.iso8601></value></member><member><name>s</name><value>\
             x &lt; y</value></member><member><name>e</name><value/></member></struct></value>",
        );
        let value = parse(text.as_bytes()).expect("an answer").expect("success");
        assert_eq!(value.get("a<b&"), Some(&Value::Bool(true)));
        assert_eq!(value.get("n"), Some(&Value::Int(7)));
        assert_eq!(value.get("d"), Some(&Value::Double(0.5)));
        assert_eq!(value.get("t"), Some(&Value::DateTime("20260131T23:59:59Z".into())));
        assert_eq!(value.get("s").and_then(Value::text), Some("x < y"));
        assert_eq!(value.get("e").and_then(Value::text), Some(""));
    }

    #[test]
    fn refusals_and_faults_are_read() {
        let text = answer(
            "<value><struct><member><name>Status</name><value>Failure</value></member><member>\
             <name>ErrorDescription</name><value><array><data><value>VM_BAD_POWER_STATE</value>\
             <value>x</value></data></array></value></member></struct></value>",
        );
        let refusal = parse(text.as_bytes()).expect("an answer").expect_err("a refusal");
        assert_eq!(refusal.to_string(), "VM_BAD_POWER_STATE(x)");
        let fault = "<methodResponse><fault><value><struct><member><name>faultString</name>\
            <value>broken</value></member></struct></value></fault></methodResponse>";
        let refusal = parse(fault.as_bytes()).expect("an answer").expect_err("a refusal");
        assert_eq!(refusal.to_string(), "XMLRPC_FAULT(broken)");
    }

    #[test]
    fn what_is_no_answer_is_malformed() {
        let of_text = answer("<value>text</value>");
        for body in ["", "<html/>", "<methodResponse>", "{\"result\":1}", &of_text] {
            assert!(parse(body.as_bytes()).is_err(), "{body}");
        }
    }

    #[test]
    fn nesting_has_a_limit() {
        assert!(parse(success(&"<value><array><data>".repeat(100_000)).as_bytes()).is_err());
    }

    proptest! {
        #[test]
        fn any_text_gets_a_verdict(text in "([<>/a-e& ]|<value>|</value>|<struct>|<name>){0,60}") {
            let _verdict = parse(answer(&text).as_bytes());
            let _verdict = parse(text.as_bytes());
        }

        #[test]
        fn what_is_written_is_read(text in "[ -~\u{e9}]{0,40}", number in any::<i64>()) {
            let value = Value::Array(vec![Value::Text(text), Value::Int(number)]);
            let mut written = String::new();
            write(&value, &mut written);
            assert_eq!(parse_value(&written).expect("own writing"), value);
        }
    }
}
