//! `ova.xml` as a tree of XML-RPC values, each with the place where it stands in the text.
//!
//! The places are what edits need, which leave all other bytes as they are. Parsing is lenient
//! where hosts are sloppy: they do not escape the keys of structs (a key of `other_config` may hold
//! `<` or `&`, which no XML reader accepts), so a key ends at `</name>` and nowhere else.

use std::ops::Range;

use quick_xml::escape::unescape;

/// Most values within values.
const DEPTH_MAX: usize = 32;
/// Most values in one document.
const VALUES_MAX: usize = 1 << 18;

/// One value.
#[derive(Debug, Clone)]
pub struct Value {
    /// From `<value>` to `</value>`.
    pub span: Range<usize>,
    /// What it holds.
    pub content: Content,
}

/// What a value holds.
#[derive(Debug, Clone)]
pub enum Content {
    /// A string, or a number, boolean or date in text form.
    Scalar(String),
    /// Members in the order of the text.
    Struct(Vec<(String, Value)>),
    /// Items.
    Array(Vec<Value>),
}

/// Why a text is not an XML-RPC value.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{what} at byte {at} of the text")]
pub struct TreeError {
    at: usize,
    what: String,
}

impl Value {
    /// Parses a text that may be anything, of bounded size.
    pub fn parse(text: &str) -> Result<Self, TreeError> {
        Self::parse_up_to(text, VALUES_MAX)
    }

    /// Parses a text that may be anything and may hold up to `values_max` values.
    pub fn parse_up_to(text: &str, values_max: usize) -> Result<Self, TreeError> {
        Scanner { text, at: 0, values: 0, values_max }.value(0)
    }

    /// The text of a scalar.
    pub fn scalar(&self) -> Option<&str> {
        match &self.content {
            Content::Scalar(text) => Some(text),
            Content::Struct(_) | Content::Array(_) => None,
        }
    }

    /// A member of a struct.
    pub fn member(&self, key: &str) -> Option<&Self> {
        self.members().iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    /// The members of a struct; none for other values.
    pub fn members(&self) -> &[(String, Self)] {
        match &self.content {
            Content::Struct(members) => members,
            Content::Scalar(_) | Content::Array(_) => &[],
        }
    }

    /// The items of an array; none for other values.
    pub fn items(&self) -> &[Self] {
        match &self.content {
            Content::Array(items) => items,
            Content::Scalar(_) | Content::Struct(_) => &[],
        }
    }
}

/// Reads tags from left to right.
struct Scanner<'a> {
    text: &'a str,
    at: usize,
    values: usize,
    values_max: usize,
}

#[derive(Debug, PartialEq, Eq)]
enum Tag<'a> {
    Open(&'a str),
    Close(&'a str),
    /// `<value/>`.
    Empty(&'a str),
}

impl<'a> Scanner<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn error<T>(&self, what: &str) -> Result<T, TreeError> {
        Err(TreeError { at: self.at, what: what.to_owned() })
    }

    /// Takes everything before `end`, and `end` too.
    fn take_until(&mut self, end: &str) -> Result<&'a str, TreeError> {
        let Some((before, _)) = self.rest().split_once(end) else {
            return self.error(&format!("{end} is missing"));
        };
        self.at += before.len() + end.len();
        Ok(before)
    }

    /// Passes blanks, comments and declarations.
    fn skip_blanks(&mut self) -> Result<(), TreeError> {
        loop {
            let trimmed = self.rest().trim_start();
            self.at = self.text.len() - trimmed.len();
            if trimmed.starts_with("<!--") {
                self.take_until("-->")?;
            } else if trimmed.starts_with("<?") {
                self.take_until("?>")?;
            } else {
                return Ok(());
            }
        }
    }

    fn tag(&mut self) -> Result<Tag<'a>, TreeError> {
        self.skip_blanks()?;
        if !self.rest().starts_with('<') {
            return self.error("a tag is due");
        }
        let tag = &self.take_until(">")?[1..];
        let first_word = |text: &'a str| text.split_ascii_whitespace().next().unwrap_or("");
        Ok(match (tag.strip_prefix('/'), tag.strip_suffix('/')) {
            (Some(name), _) => Tag::Close(first_word(name)),
            (None, Some(name)) => Tag::Empty(first_word(name)),
            (None, None) => Tag::Open(first_word(tag)),
        })
    }

    fn expect(&mut self, tag: Tag<'_>) -> Result<(), TreeError> {
        match self.tag()? {
            found if found == tag => Ok(()),
            found => self.error(&format!("{tag:?} is due, found {found:?}")),
        }
    }

    fn value(&mut self, depth: usize) -> Result<Value, TreeError> {
        self.values += 1;
        if depth > DEPTH_MAX || self.values > self.values_max {
            return self.error("too many values");
        }
        self.skip_blanks()?;
        let start = self.at;
        let content = match self.tag()? {
            Tag::Open("value") => self.content(depth)?,
            Tag::Empty("value") => Content::Scalar(String::new()),
            _ => return self.error("<value> is due"),
        };
        Ok(Value { span: start..self.at, content })
    }

    /// What is between `<value>` and `</value>`, and the latter.
    fn content(&mut self, depth: usize) -> Result<Content, TreeError> {
        let text_len = self.rest().find('<').unwrap_or(self.rest().len());
        let (text, after) = self.rest().split_at(text_len);
        if after.starts_with("</") {
            self.at += text_len;
            self.expect(Tag::Close("value"))?;
            return Ok(Content::Scalar(unescaped(text)));
        }
        let content = match self.tag()? {
            Tag::Open("struct") => self.members(depth)?,
            Tag::Open("array") => self.items(depth)?,
            Tag::Empty("struct") => Content::Struct(Vec::new()),
            Tag::Empty("array") => Content::Array(Vec::new()),
            Tag::Open(kind) => {
                let text = self.take_until(&format!("</{kind}>"))?;
                Content::Scalar(unescaped(text))
            }
            Tag::Empty(_) => Content::Scalar(String::new()),
            Tag::Close(_) => return self.error("a value is due"),
        };
        self.expect(Tag::Close("value"))?;
        Ok(content)
    }

    fn members(&mut self, depth: usize) -> Result<Content, TreeError> {
        let mut members = Vec::new();
        loop {
            match self.tag()? {
                Tag::Close("struct") => return Ok(Content::Struct(members)),
                Tag::Open("member") => {}
                _ => return self.error("<member> is due"),
            }
            self.expect(Tag::Open("name"))?;
            let key = self.take_until("</name>")?.to_owned();
            members.push((key, self.value(depth + 1)?));
            self.expect(Tag::Close("member"))?;
        }
    }

    fn items(&mut self, depth: usize) -> Result<Content, TreeError> {
        let mut items = Vec::new();
        match self.tag()? {
            Tag::Open("data") => {
                while !self.is_at_close()? {
                    items.push(self.value(depth + 1)?);
                }
                self.expect(Tag::Close("data"))?;
            }
            Tag::Empty("data") => {}
            _ => return self.error("<data> is due"),
        }
        self.expect(Tag::Close("array"))?;
        Ok(Content::Array(items))
    }

    fn is_at_close(&mut self) -> Result<bool, TreeError> {
        self.skip_blanks()?;
        Ok(self.rest().starts_with("</"))
    }
}

/// Text with its entities replaced, or as it is if they make no sense.
fn unescaped(text: &str) -> String {
    unescape(text).map_or_else(|_| text.to_owned(), std::borrow::Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};

    use super::*;

    #[test]
    fn values_of_all_kinds_are_read_with_their_places() {
        let text = "<?xml version=\"1.0\"?>\n<value><struct><member><name>a<b&</name>\
            <value><boolean>1</boolean></value></member><member><name>list</name>\
            <value><array><data>\n<value>x &amp; y</value><value/></data></array></value>\
            </member></struct></value>";
        let value = Value::parse(text).expect("a good document");
        let flag = value.member("a<b&").expect("an unescaped key");
        assert_eq!(flag.scalar(), Some("1"));
        assert_eq!(&text[flag.span.clone()], "<value><boolean>1</boolean></value>");
        let items = value.member("list").expect("a list").items();
        assert_eq!(items.iter().filter_map(Value::scalar).collect::<Vec<_>>(), ["x & y", ""]);
    }

    #[test]
    fn nesting_has_a_limit() {
        let deep = "<value><array><data>".repeat(DEPTH_MAX + 2);
        assert!(Value::parse(&deep).is_err());
    }

    proptest! {
        #[test]
        fn any_text_gets_a_verdict(text in "([<>/a-e& ]|<value>|</value>|<struct>|<name>){0,60}") {
            let _verdict = Value::parse(&text);
        }

        #[test]
        fn any_unicode_gets_a_verdict(text in any::<String>()) {
            let _verdict = Value::parse(&text);
        }
    }
}
