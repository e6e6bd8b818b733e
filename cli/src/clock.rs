//! Times, as people write and read them.

use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};
use jiff::{Timestamp, Zoned};

/// A moment and what clocks showed there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Seconds since 1970, UTC.
    pub secs: u64,
    /// Minutes east of UTC.
    pub utc_offset: i16,
}

impl Moment {
    /// Now and here.
    pub fn now() -> Self {
        // The clock of a machine that believes to be before 1970 helps nobody.
        Self::of(&Zoned::now()).unwrap_or(Self { secs: 0, utc_offset: 0 })
    }

    /// Reads `YYYY-MM-DD HH:MM:SS`, as a clock here would show it, without seconds if there are none; or RFC 3339, as
    /// `--json` tells times.
    pub fn parse(text: &str) -> Result<Self, String> {
        Self::parse_in(text, TimeZone::system())
    }

    fn parse_in(text: &str, zone: TimeZone) -> Result<Self, String> {
        let mut forms = ["%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M"].into_iter();
        let shown = forms.find_map(|form| DateTime::strptime(form, text).ok());
        let zoned = match shown {
            Some(shown) => shown.to_zoned(zone).ok(),
            None => {
                Timestamp::strptime("%Y-%m-%dT%H:%M:%S%:z", text).ok().map(|at| at.to_zoned(zone))
            }
        };
        zoned
            .and_then(|zoned| Self::of(&zoned))
            .ok_or_else(|| format!("`{text}` is no time; write it as 2026-11-22 02:01:10"))
    }

    fn of(zoned: &Zoned) -> Option<Self> {
        let secs = u64::try_from(zoned.timestamp().as_second()).ok()?;
        let utc_offset = i16::try_from(zoned.offset().seconds() / 60).ok()?;
        Some(Self { secs, utc_offset })
    }
}

/// `2026-11-22 02:01:10`, as a clock here would show it.
pub fn local(secs: u64) -> String {
    match timestamp(secs) {
        Some(time) => time.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string(),
        None => format!("@{secs}"),
    }
}

/// `2026-11-22T02:01:10+01:00` (RFC 3339), as a clock `utc_offset` minutes east of UTC showed it.
pub fn rfc3339(secs: u64, utc_offset: i16) -> String {
    let offset = Offset::from_seconds(i32::from(utc_offset) * 60).unwrap_or(Offset::UTC);
    match timestamp(secs) {
        Some(time) => time.display_with_offset(offset).to_string(),
        None => format!("@{secs}"),
    }
}

/// Seconds since 1970, now.
pub fn now_secs() -> i64 {
    Timestamp::now().as_second()
}

/// Seconds since 1970 of a time in UTC whose digits are year to second, such as
/// `20260131T23:59:59Z`.
pub fn utc_secs(text: &str) -> Option<i64> {
    let digits: String = text.chars().filter(char::is_ascii_digit).take(15).collect();
    let shown = DateTime::strptime("%Y%m%d%H%M%S", digits.as_bytes()).ok()?;
    Some(shown.to_zoned(TimeZone::UTC).ok()?.timestamp().as_second())
}

fn timestamp(secs: u64) -> Option<Timestamp> {
    Timestamp::from_second(i64::try_from(secs).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_hosts_are_read() {
        assert_eq!(utc_secs("19700102T00:00:01Z"), Some(86_401));
        assert_eq!(utc_secs("20260131T23:59:59Z"), utc_secs("20260131235959"));
        for text in ["", "soon", "20261331T23:59:59Z", "202601312359591"] {
            assert_eq!(utc_secs(text), None, "{text}");
        }
    }

    #[track_caller]
    fn check_parse(text: &str, expected: Option<u64>) {
        let zone = TimeZone::fixed(jiff::tz::offset(1));
        let expected = expected.map(|secs| Moment { secs, utc_offset: 60 });
        assert_eq!(Moment::parse_in(text, zone).ok(), expected, "{text}");
    }

    #[test]
    fn times_are_read_in_the_zone() {
        check_parse("1970-01-01 01:00:00", Some(0));
        check_parse("2026-11-22 02:01:10", Some(1_795_309_270));
        check_parse("2026-11-22 02:01", Some(1_795_309_260));
        check_parse("2026-11-22T02:01:10+01:00", Some(1_795_309_270));
        check_parse("2026-11-22T01:01:10+00:00", Some(1_795_309_270));
        check_parse("1970-01-01 00:59:59", None);
        check_parse("2026-11-22", None);
        check_parse("2026-13-01 00:00:00", None);
        check_parse("yesterday", None);
    }

    #[test]
    fn times_are_written_with_their_offset() {
        assert_eq!(rfc3339(1_795_309_270, 60), "2026-11-22T02:01:10+01:00");
        assert_eq!(rfc3339(0, 0), "1970-01-01T00:00:00+00:00");
        assert_eq!(rfc3339(u64::MAX, 0), format!("@{}", u64::MAX));
    }
}
