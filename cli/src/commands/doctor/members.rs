//! Members of the pool: names, connections, certificates, clocks, versions, rights.

use std::collections::BTreeSet;

use xen_source::xapi::{Address, HostRecord, Pool, Session, Settings, Trust, XapiError, probe};

use super::as_failure;
use super::finding::{Finding, MemberFact};
use crate::clock;

/// Connections that are made to each member.
const CONNECTS: usize = 20;
/// Connections that may fail before the others are spared.
const FAILURES_MAX: usize = 2;
/// Where hosts listen if nothing else is said.
const PORT: u16 = 443;

/// Looks up each address, and connects to it many times: some faults of networks delay only a few.
pub fn reach(settings: &Settings, addresses: &[Address]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for address in addresses {
        let port = address.port().unwrap_or(PORT);
        let places = match settings.host_map.places(address.host(), port) {
            Ok(places) => places,
            Err(error) => {
                let cause = format!("{error} ({})", error.source);
                findings.push(Finding::of_member(address, MemberFact::Nameless(cause)));
                continue;
            }
        };
        findings.push(Finding::of_member(address, MemberFact::Named(places.len())));
        let (mut times, mut failed) = (Vec::new(), 0);
        for place in places.iter().cycle().take(CONNECTS) {
            match probe::connect(*place, settings.connect_timeout) {
                Ok(time) => times.push(time),
                Err(_) => failed += 1,
            }
            if failed >= FAILURES_MAX {
                break;
            }
        }
        times.sort();
        findings.push(Finding::of_member(address, MemberFact::Connects { times, failed }));
    }
    findings
}

/// Who logged in where.
pub fn login(user: &str, pool: &Pool) -> Finding {
    let record = pool.record();
    let name = if record.name.is_empty() { record.uuid } else { record.name };
    let coordinator = pool.session().coordinator().to_string();
    Finding::Login { user: user.to_owned(), pool: name, coordinator }
}

/// Whether each member is trusted: transfers are sent to any of them.
pub fn greet(pool: &Pool, trust: &Trust) -> Vec<Finding> {
    let how = match trust {
        Trust::System => "the system's authorities",
        Trust::CaFile(_) => "the file of authorities",
        Trust::Pinned(_) => "its fingerprint",
        Trust::Insecure => "",
    };
    let session = pool.session();
    let greeted = |member: Address| match probe::greet(session, &member) {
        Ok(()) => Finding::of_member(&member, MemberFact::Trusted(how)),
        Err(error) => Finding::failed("tls", &as_failure(error)),
    };
    session.members().into_iter().map(greeted).collect()
}

/// What the members run: all the same, but for an upgrade.
pub fn versions(hosts: &[HostRecord]) -> Vec<Finding> {
    let version = |host: &HostRecord| {
        let part = |key: &str| host.versions.get(key).map_or("", String::as_str);
        format!("{} {}, xapi {}", part("product_brand"), part("product_version"), part("xapi"))
    };
    let versions: BTreeSet<String> = hosts.iter().map(version).collect();
    vec![Finding::Versions(versions.into_iter().collect())]
}

/// The clock of a host, and how long its certificate lasts.
pub fn clock_and_key(session: &Session, host: &HostRecord) -> Vec<Finding> {
    let before = clock::now_secs();
    let time = probe::time_of(session, host);
    let skew = |text: String| {
        let shown = clock::utc_secs(&text)?;
        // Between question and answer every time is right.
        Some(shown - shown.clamp(before, clock::now_secs().max(before)))
    };
    let days = |certificate: probe::Certificate| {
        let ends = certificate.ends?;
        Some((clock::utc_secs(str::from_utf8(&ends).ok()?)? - clock::now_secs()) / 86_400)
    };
    let clock = time.map(|text| skew(text).map(MemberFact::Clock));
    let key = probe::certificate(session, host);
    let key = key.map(|certificate| Some(MemberFact::Certificate(days(certificate))));
    [("clock", clock), ("certificate", key)].into_iter().filter_map(|it| told(host, it)).collect()
}

/// A fact; or that it is not known, which an old host may say and a low role.
fn told(
    host: &HostRecord,
    (check, fact): (&'static str, Result<Option<MemberFact>, XapiError>),
) -> Option<Finding> {
    match fact {
        Ok(fact) => fact.map(|fact| Finding::of_member(&host.name, fact)),
        Err(error) if error.api().is_some() && check == "certificate" => {
            Some(Finding::of_member(&host.name, MemberFact::Certificate(None)))
        }
        Err(error) => Some(Finding::failed(check, &as_failure(error))),
    }
}

/// What the user may do.
pub fn rights(session: &Session) -> Finding {
    match probe::rights(session) {
        Ok(rights) => Finding::Right(rights.last().copied().unwrap_or(probe::Right::Look)),
        Err(error) => Finding::failed("rights", &as_failure(error)),
    }
}
