//! Sizes, counts and rates, as people write and read them.

use std::time::Duration;

/// Units of 1024, as they are typed and printed.
const UNITS: [(&str, u64); 5] =
    [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// `17.9 GiB`, `412 MiB`, `0 B`: three digits say enough.
pub fn bytes(count: u64) -> String {
    let (name, unit) = UNITS.into_iter().find(|(_, unit)| count >= *unit).unwrap_or(("B", 1));
    let whole = count / unit;
    match unit {
        2.. if whole < 100 => format!("{:.1} {name}", count as f64 / unit as f64),
        _ => format!("{whole} {name}"),
    }
}

/// `1,903`.
pub fn count(count: u64) -> String {
    let digits = count.to_string();
    let mut grouped = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// `1 disk`, `2 disks`.
pub fn plural(number: u64, noun: &str) -> String {
    let ending = if number == 1 { "" } else { "s" };
    format!("{} {noun}{ending}", count(number))
}

/// `4:02`, `1:00:07`.
pub fn duration(elapsed: Duration) -> String {
    let secs = elapsed.as_secs();
    match secs / 3600 {
        0 => format!("{}:{:02}", secs / 60, secs % 60),
        hours => format!("{hours}:{:02}:{:02}", secs / 60 % 60, secs % 60),
    }
}

/// `485 MiB/s`.
pub fn rate(count: u64, elapsed: Duration) -> String {
    let per_second = count as f64 / elapsed.as_secs_f64().max(0.001);
    format!("{}/s", bytes(per_second as u64))
}

/// Reads `500M`, `1.5GiB` or `4096`: units are of 1024, and one letter is enough.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is no size; write it as 500M, 1.5G or 2TiB");
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let typed = text[digits.len()..].to_ascii_lowercase();
    let number: f64 = digits.trim().parse().map_err(|_| wrong())?;
    let unit = if typed.is_empty() { "b" } else { &typed };
    let is_meant = |name: &str| {
        let name = name.to_ascii_lowercase();
        unit == name || (unit.len() == 1 && name.starts_with(unit))
    };
    let (_, factor) = UNITS.into_iter().find(|(name, _)| is_meant(name)).ok_or_else(wrong)?;
    let size = number * factor as f64;
    match (0.0..9e18).contains(&size) {
        true => Ok(size as u64),
        false => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_parse(text: &str, expected: Option<u64>) {
        assert_eq!(parse_bytes(text).ok(), expected, "{text}");
    }

    #[test]
    fn sizes_are_read_in_units_of_1024() {
        check_parse("4096", Some(4096));
        check_parse("1k", Some(1024));
        check_parse("1.5G", Some(3 << 29));
        check_parse("500 MiB", Some(500 << 20));
        check_parse("2TiB", Some(2 << 40));
        check_parse("0", Some(0));
        check_parse("1MB", None);
        check_parse("-1M", None);
        check_parse("NaN", None);
        check_parse("9999999999T", None);
        check_parse("", None);
        check_parse("G", None);
    }

    #[test]
    fn sizes_are_written_with_three_digits() {
        let written = [0, 1023, 1024, 102_400, 412 << 20, (17 << 30) + (9 << 27), 1 << 50];
        let written = written.map(bytes);
        let expected = ["0 B", "1023 B", "1.0 KiB", "100 KiB", "412 MiB", "18.1 GiB", "1024 TiB"];
        assert_eq!(written, expected);
    }

    #[test]
    fn numbers_are_grouped_and_nouns_agree() {
        assert_eq!([0, 999, 1903, 1_234_567].map(count), ["0", "999", "1,903", "1,234,567"]);
        assert_eq!([plural(1, "disk"), plural(2, "disk")], ["1 disk", "2 disks"]);
    }

    #[test]
    fn durations_read_like_a_clock() {
        let written = [0, 59, 242, 3607].map(|secs| duration(Duration::from_secs(secs)));
        assert_eq!(written, ["0:00", "0:59", "4:02", "1:00:07"]);
    }
}
