//! Golden files as text: stable, with short lists on one line; and what differs between two of them.

use std::collections::BTreeSet;

use serde_json::Value;

const WIDTH: usize = 118;

/// The text of a golden file.
pub fn page(value: &Value) -> String {
    let mut out = String::new();
    write(value, 0, &mut out);
    out.push('\n');
    out
}

fn write(value: &Value, indent: usize, out: &mut String) {
    let compact = value.to_string();
    let flat = |value: &Value| !value.is_array() && !value.is_object();
    let (open, close, lines): (_, _, Vec<(String, &Value)>) = match value {
        Value::Object(fields) if !fields.values().all(flat) || compact.len() + indent > WIDTH => (
            '{',
            '}',
            fields.iter().map(|(name, value)| (format!("\"{name}\": "), value)).collect(),
        ),
        Value::Array(items) if compact.len() + indent > WIDTH && !items.iter().all(flat) => {
            ('[', ']', items.iter().map(|item| (String::new(), item)).collect())
        }
        _ => return out.push_str(&compact),
    };
    let inner = indent + 1;
    let count = lines.len();
    out.push(open);
    for (number, (name, item)) in lines.into_iter().enumerate() {
        out.push('\n');
        out.extend(std::iter::repeat_n(' ', inner));
        out.push_str(&name);
        write(item, inner, out);
        if number + 1 < count {
            out.push(',');
        }
    }
    out.push('\n');
    out.extend(std::iter::repeat_n(' ', indent));
    out.push(close);
}

/// Paths of everything that is not the same in both, with the values cut short.
pub fn differences(committed: &Value, made: &Value) -> Vec<String> {
    let mut found = Vec::new();
    compare(String::new(), committed, made, &mut found);
    found
}

fn compare(path: String, committed: &Value, made: &Value, found: &mut Vec<String>) {
    match (committed, made) {
        (Value::Object(a), Value::Object(b)) => {
            for name in a.keys().chain(b.keys()).collect::<BTreeSet<_>>() {
                let side = |fields: &serde_json::Map<String, Value>| fields.get(name).cloned();
                let (a, b) = (side(a).unwrap_or(Value::Null), side(b).unwrap_or(Value::Null));
                compare(format!("{path}.{name}"), &a, &b, found);
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (number, (a, b)) in a.iter().zip(b).enumerate() {
                compare(format!("{path}[{number}]"), a, b, found);
            }
        }
        (a, b) if a == b => {}
        (a, b) => {
            let short = |value: &Value| value.to_string().chars().take(70).collect::<String>();
            found.push(format!("{path}: committed {}, made {}", short(a), short(b)));
        }
    }
}

/// The name of every field at any depth.
pub fn fields(value: &Value) -> BTreeSet<String> {
    match value {
        Value::Object(fields_here) => fields_here
            .iter()
            .flat_map(|(name, value)| {
                fields(value).into_iter().chain([name.clone()]).collect::<Vec<_>>()
            })
            .collect(),
        Value::Array(items) => items.iter().flat_map(fields).collect(),
        _ => BTreeSet::new(),
    }
}
