//! Times by the clocks of hosts: ages on a pool are told without a clock of ours.

use std::time::Duration;

use super::session::Session;
use super::value::Value;

/// A time of a pool, in seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PoolTime(u64);

impl PoolTime {
    /// Reads `20260131T23:59:59Z`, or the same with dashes in its date (contract 1.2).
    pub fn parse(text: &str) -> Option<Self> {
        let (date, time) = text.trim_end_matches('Z').split_once('T')?;
        let date = date.replace('-', "");
        if date.len() != 8 || !date.is_ascii() {
            return None;
        }
        let number = |digits: &str| digits.parse::<u64>().ok();
        let (year, month, day) = (number(&date[..4])?, number(&date[4..6])?, number(&date[6..])?);
        let mut parts = time.split('.').next()?.split(':').map(number);
        let (hour, minute, second) = (parts.next()??, parts.next()??, parts.next()??);
        let is_good = year >= 1970
            && (1..=12).contains(&month)
            && (1..=31).contains(&day)
            && hour < 24
            && minute < 60
            && second <= 60;
        is_good.then(|| Self(days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second))
    }

    /// The time since `earlier`; nothing if that is yet to come.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_secs(self.0.saturating_sub(earlier.0))
    }
}

/// What the coordinator's clock says, as it says it; empty if it does not tell.
pub fn now(session: &Session) -> String {
    let Some(host) = session.pool().coordinator else {
        return String::new();
    };
    let answer = session.call("host.get_servertime", &[Value::from(host)]);
    answer.ok().and_then(|time| time.text().map(str::to_owned)).unwrap_or_default()
}

/// Days from 1970 to a date of the Gregorian calendar, whose years are taken to begin in March.
fn days(year: u64, month: u64, day: u64) -> u64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let before = year * 365 + year / 4 - year / 100 + year / 400;
    // From 0000-03-01 to 1970-01-01 there are 719,468 days.
    before + (month * 153 + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_hosts_are_seconds() {
        let rows = [
            ("19700101T00:00:00Z", Some(0)),
            ("20000229T12:00:01Z", Some(951_825_601)),
            ("2026-11-22T06:30:00Z", Some(1_795_329_000)),
            ("20260131T23:59:59.5Z", Some(1_769_903_999)),
            ("20261301T00:00:00Z", None),
            ("19691231T00:00:00Z", None),
            ("20260131T24:00:00Z", None),
            ("2026\u{e9}131T00:00:00Z", None),
            ("20260131", None),
            ("", None),
        ];
        for (text, seconds) in rows {
            assert_eq!(PoolTime::parse(text), seconds.map(PoolTime), "{text}");
        }
    }

    #[test]
    fn what_is_yet_to_come_has_no_age() {
        let (early, late) = (PoolTime(5), PoolTime(8));
        assert_eq!(late.since(early), Duration::from_secs(3));
        assert_eq!(early.since(late), Duration::ZERO);
    }
}
