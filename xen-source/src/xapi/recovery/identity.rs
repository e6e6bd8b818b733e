//! Whether a host of a database is alive in another pool: two with one uuid are one too many
//! (contract 7).

use super::super::error::XapiError;
use super::super::metadata::dump::PoolDump;
use super::super::pool::Pool;
use super::super::value::Value;

/// The hosts of a pool that are alive, by uuid.
///
/// # Errors
///
/// What the pool said.
pub fn living(pool: &Pool) -> Result<Vec<String>, XapiError> {
    let all = |class: &str| pool.session().call(&format!("{class}.get_all_records"), &[]);
    let hosts = all("host")?;
    let metrics = all("host_metrics").unwrap_or(Value::Nil); // without them all count
    let is_alive = |host: &Value| {
        let metrics = host.get("metrics").and_then(Value::text).and_then(|of| metrics.get(of));
        metrics.and_then(|metrics| metrics.get("live")).and_then(Value::bool).unwrap_or(true)
    };
    let living = hosts.members().into_iter().flatten().filter(|(_, host)| is_alive(host));
    Ok(living.filter_map(|(_, host)| Some(host.get("uuid")?.text()?.to_owned())).collect())
}

/// Hosts of a database that live in another pool than the one that is to have it: their uuid and
/// the pool's name. `others` are names of pools and the uuids of their living hosts.
pub fn duplicates<'o>(
    dump: &PoolDump,
    own: &[String],
    others: &'o [(String, Vec<String>)],
) -> Vec<(&'o str, &'o str)> {
    let is_of_dump = |uuid: &String| dump.hosts.iter().any(|host| host.uuid == *uuid);
    let pairs = others.iter().flat_map(|(name, hosts)| hosts.iter().map(move |host| (host, name)));
    let found = pairs.filter(|(host, _)| is_of_dump(host) && !own.contains(host));
    found.map(|(host, name)| (host.as_str(), name.as_str())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xapi::metadata::dump::DumpedHost;

    #[track_caller]
    fn check(own: &str, other: &str, expected: &[&str]) {
        let host = |uuid: &str| DumpedHost { uuid: uuid.to_owned(), ..DumpedHost::default() };
        let dump = PoolDump { hosts: vec![host("a"), host("b")], ..PoolDump::default() };
        let list = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let others = [("prod".to_owned(), list(other))];
        let found = duplicates(&dump, &list(own), &others);
        assert_eq!(found.iter().map(|(host, _)| *host).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_host_lives_twice_if_it_is_in_the_database_and_in_another_pool() {
        check("n", "a b c", &["a", "b"]);
        check("n", "c", &[]);
        check("n", "", &[]);
    }

    #[test]
    fn the_pool_that_gets_its_own_database_back_is_no_other() {
        check("a b", "a b", &[]);
        check("a", "a b", &["b"]);
    }
}
