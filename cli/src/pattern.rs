//! Patterns of names, as people type them: `name:GLOB` or `name~REGEX`.

use std::fmt;

use regex_lite::{Regex, RegexBuilder};

use crate::advice::{Failure, refused};

/// Longest regular expression, in bytes.
const REGEX_LEN_MAX: usize = 1024;
/// Memory that one may take, in bytes.
const REGEX_SIZE_MAX: usize = 1 << 20;
/// Groups inside groups.
const REGEX_NEST_MAX: u32 = 32;

/// What names have to be like.
#[derive(Debug, Clone)]
pub enum Pattern {
    /// Each `*` stands for anything; all else for itself.
    Glob(String),
    /// Fits anywhere in the name, unless it says otherwise with `^` and `$`.
    Regex(Regex),
}

impl Pattern {
    /// Reads `name:GLOB` or `name~REGEX`; `None` if `text` is something else.
    pub fn parse(text: &str) -> Result<Option<Self>, Failure> {
        if let Some(glob) = text.strip_prefix("name:") {
            return Ok(Some(Self::Glob(glob.to_owned())));
        }
        match text.strip_prefix("name~") {
            None => Ok(None),
            Some(regex) => regular(text, regex).map(Self::Regex).map(Some),
        }
    }

    /// Whether a name is like it.
    pub fn fits(&self, name: &str) -> bool {
        match self {
            Self::Glob(glob) => fits_glob(glob, name),
            Self::Regex(regex) => regex.is_match(name),
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Glob(glob) => write!(f, "name:{glob}"),
            Self::Regex(regex) => write!(f, "name~{regex}"),
        }
    }
}

fn regular(text: &str, regex: &str) -> Result<Regex, Failure> {
    let mut builder = RegexBuilder::new(regex);
    builder.size_limit(REGEX_SIZE_MAX).nest_limit(REGEX_NEST_MAX);
    let built = match regex.len() {
        ..=REGEX_LEN_MAX => builder.build().map_err(|error| error.to_string()),
        _ => Err(format!("it is longer than {REGEX_LEN_MAX} bytes")),
    };
    match built {
        Ok(regex) => Ok(regex),
        Err(what) => refused(
            format!("cannot choose by {text}"),
            format!("it is no regular expression: {what}"),
            "what stands behind name~ is one, as in 'name~^web[0-9]+$'; nothing was done",
        ),
    }
}

fn fits_glob(glob: &str, name: &str) -> bool {
    let Some((first, rest)) = glob.split_once('*') else {
        return glob == name;
    };
    let Some(mut left) = name.strip_prefix(first) else {
        return false;
    };
    let (middle, last) = rest.rsplit_once('*').unwrap_or(("", rest));
    for part in middle.split('*') {
        match left.find(part) {
            Some(place) => left = &left[place + part.len()..],
            None => return false,
        }
    }
    left.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pattern: &str, name: &str, expected: bool) {
        let pattern = Pattern::parse(pattern).expect("a pattern").expect("a pattern");
        assert_eq!(pattern.fits(name), expected, "{pattern} {name}");
    }

    #[test]
    fn stars_stand_for_anything() {
        check("name:web01", "web01", true);
        check("name:web01", "web012", false);
        check("name:web*", "web", true);
        check("name:web*", "my web", false);
        check("name:*01", "web01", true);
        check("name:a*b*c", "a--b--c", true);
        check("name:a*b*c", "a--c--b", false);
        check("name:ab*ba", "aba", false);
        check("name:*", "", true);
        check("name:", "", true);
    }

    #[test]
    fn regular_expressions_fit_anywhere() {
        check("name~web[0-9]+", "my web01", true);
        check("name~^web[0-9]+$", "my web01", false);
        check("name~^(a|b:c)$", "b:c", true);
        check("name~(?i)WEB", "web", true);
        check("name~", "anything", true);
    }

    #[test]
    fn what_is_no_regular_expression_is_refused() {
        for text in ["name~(", "name~[", "name~*", "name~a{99999}{99999}"] {
            assert!(Pattern::parse(text).is_err(), "{text}");
        }
        assert!(Pattern::parse(&format!("name~{}", "a".repeat(1025))).is_err());
        assert!(Pattern::parse(&format!("name~{}", "(".repeat(200))).is_err());
    }

    #[test]
    fn other_texts_are_no_patterns() {
        for text in ["web01", "vm:web01", "", "NAME:web01", "name"] {
            assert!(matches!(Pattern::parse(text), Ok(None)), "{text}");
        }
    }
}
