//! Words in one text, as a shell reads them: a snapshot remembers how its VM was chosen.

/// The words with a blank between them; those that a shell would take apart are quoted.
pub fn joined(words: &[String]) -> String {
    words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ")
}

fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "-_.:=,/+@%".contains(c);
    match !word.is_empty() && word.chars().all(is_plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

/// The words of a text; `None` if a quote is not closed.
pub fn split(text: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            ' ' => words.extend(word.take()),
            '\\' => word.get_or_insert_default().push(chars.next()?),
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next()? {
                        '\'' => break,
                        quoted => word.push(quoted),
                    }
                }
            }
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(words: &[&str], text: &str) {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        assert_eq!(joined(&words), text);
        assert_eq!(split(text), Some(words));
    }

    #[test]
    fn words_come_out_as_they_went_in() {
        check(&["tag:prod", "--exclude-tag=a,b"], "tag:prod --exclude-tag=a,b");
        check(&["vm:my web", "all"], "'vm:my web' all");
        check(&["vm:Anna's"], r"'vm:Anna'\''s'");
        check(&[r"name~^a\d$", "*"], r"'name~^a\d$' '*'");
        check(&["", "a\nb"], "'' 'a\nb'");
        check(&[], "");
    }

    #[test]
    fn a_quote_that_is_not_closed_is_refused() {
        assert_eq!(split("'vm:web"), None);
        assert_eq!(split("vm:web\\"), None);
    }
}
