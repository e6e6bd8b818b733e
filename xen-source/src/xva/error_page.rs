//! Finds the page that a host appends to an export that failed.
//!
//! xapi: an export answers `200 OK` before it begins. If it then fails, a second, complete HTTP
//! response is written into the body, wherever that happens to be, and the connection closes.

/// Most bytes before the end of the input among which a page is looked for.
pub const SEARCH_LEN: usize = 8 << 10;

/// Longest excerpt of a page, in characters.
const EXCERPT_LEN_MAX: usize = 300;

/// The line with which a page in `bytes` begins, and what it says below. `None` if there is none.
pub fn find(bytes: &[u8]) -> Option<String> {
    let start = (0..bytes.len()).find(|start| begins_page(&bytes[*start..]))?;
    Some(excerpt(&bytes[start..]))
}

/// What to say about an input in which `page` was found.
pub fn explanation(page: &str) -> String {
    format!("the host's export failed and appended an error page: {page}")
}

/// `HTTP/1.x`, an error status, and text to the end of the line.
pub fn begins_page(bytes: &[u8]) -> bool {
    let Some(rest) = bytes.strip_prefix(b"HTTP/1.") else {
        return false;
    };
    let [b'0' | b'1', b' ', b'4' | b'5', b'0'..=b'9', b'0'..=b'9', b' ', text @ ..] = rest else {
        return false;
    };
    let line = text.iter().take_while(|byte| !matches!(byte, b'\r' | b'\n'));
    line.take(EXCERPT_LEN_MAX).all(|byte| (b' '..=b'~').contains(byte))
}

/// The page as one line of plain text, without the headers after the first.
fn excerpt(page: &[u8]) -> String {
    let text = String::from_utf8_lossy(page);
    let status = text.lines().next().unwrap_or_default().trim();
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    words(&format!("{status} {body}")).chars().take(EXCERPT_LEN_MAX).collect()
}

/// What a page says, on one line: without tags and control characters.
pub fn words(page: &str) -> String {
    let mut plain = String::new();
    let mut in_tag = false;
    for char in page.chars() {
        match char {
            '<' => in_tag = true,
            '>' => {
                in_tag = false;
                plain.push(' ');
            }
            _ if in_tag => {}
            char if char.is_control() => plain.push(' '),
            char => plain.push(char),
        }
    }
    plain.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_is_found_behind_other_bytes() {
        let page = b"\0\0\xffHTTP/1.1 500 Internal Error\r\ncontent-length: 9\r\n\r\n\
            <html><body><h1>Additional information</h1>SR_FULL: [ 1; 2 ]</body></html>";
        let expected = "HTTP/1.1 500 Internal Error Additional information SR_FULL: [ 1; 2 ]";
        assert_eq!(find(page).as_deref(), Some(expected));
    }

    #[test]
    fn log_lines_and_successes_are_not_pages() {
        assert_eq!(find(b"\"GET / HTTP/1.1\" 500 12"), None);
        assert_eq!(find(b"HTTP/1.1 200 OK\r\n\r\n"), None);
        assert_eq!(find(b"HTTP/1.1 50"), None);
    }
}
