//! A pool with one VM, as small as tests allow, and what goes wrong in it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use rustls::ServerConfig;
use serde_json::{Map, Value as Json, json};

use super::host::{Host, Incoming, Reply};
use crate::xapi::session::Pause;
use crate::xapi::value::Value;
use crate::xapi::{Address, Login, Password, Pool, Settings, Trust, XapiError, connect_with, xml};

/// The VM of the pool.
pub const VM: &str = "OpaqueRef:vm";
/// What the VM's first disk is called for ever.
pub const DISK_UUID: &str = "11111111-0000-0000-0000-000000000000";

/// What the clocks of hosts say.
pub const NOW: &str = "20261122T06:30:00Z";

/// What becomes of a transfer.
#[derive(Clone)]
pub enum Outcome {
    Success,
    /// The task fails with a code.
    Failure(&'static str),
    /// The task vanishes.
    Lost,
    /// Silence after the bytes.
    Silence,
    /// The connection breaks inside the head's length.
    Broken,
    /// Not even a head: an error status and its page, and a task that nobody ends.
    Refusal(&'static str, &'static str),
    /// A host that closes while data is still coming, and has what it needs.
    Enough,
    /// The same, and it failed.
    TooMuch,
    /// Another host has it.
    Elsewhere(String),
}

/// A task: its status and its error or result.
#[derive(Clone)]
pub struct TaskEntry {
    pub label: String,
    pub status: &'static str,
    pub error: Vec<String>,
    pub result: String,
}

/// The state of a pool.
pub struct World {
    pub speaks_json: bool,
    /// Whom the hosts that are no coordinator name.
    pub coordinator: String,
    pub pool_uuid: String,
    pub members: Vec<String>,
    pub sessions: Vec<String>,
    pub objects: BTreeMap<(String, String), Map<String, Json>>,
    pub tasks: BTreeMap<String, TaskEntry>,
    /// Every call, with its first parameter after the session.
    pub calls: Vec<String>,
    /// Refusals to come: the next call of the method meets the first one.
    pub refusals: VecDeque<(&'static str, Vec<&'static str>)>,
    pub export: Vec<u8>,
    /// What a disk gives out alone, in any format, if it is not `export`.
    pub disk: Vec<u8>,
    pub outcome: Outcome,
    /// Behind so many calls that are not about tasks, one fails.
    pub fails_after: Option<usize>,
    /// And all that follow.
    pub keeps_failing: bool,
    /// Behind so many calls, the answer of one that was done is lost.
    pub loses_after: Option<usize>,
    /// How often something failed or was lost.
    pub faults: usize,
    /// Whether what is imported comes to be; else it is only kept.
    pub makes_imports: bool,
    /// The method whose task never ends.
    pub hangs: &'static str,
    /// The method whose next task vanishes, and whether it is done before.
    pub loses: Option<(&'static str, bool)>,
    /// The power state that the VM is left in by a checkpoint.
    pub left_by_checkpoint: Option<&'static str>,
    pub uploaded: Option<Vec<u8>>,
    count: usize,
}

/// A pool that several hosts may serve.
#[derive(Clone)]
pub struct Shared(Arc<Mutex<World>>);

/// Counts pauses and takes no time.
#[derive(Debug, Clone, Default)]
pub struct Pauses(pub Arc<Mutex<Vec<Duration>>>);

impl Pause for Pauses {
    /// Not quite: others need a moment of the processor.
    fn pause(&self, time: Duration) {
        std::thread::sleep(Duration::from_millis(1));
        self.0.lock().expect("a lock").push(time);
    }
}

impl Shared {
    pub fn new() -> Self {
        let mut objects = BTreeMap::new();
        let vm = json!({"uuid": "vm-uuid", "name_label": "web", "power_state": "Running",
            "tags": ["prod"], "VBDs": ["OpaqueRef:vbd"], "other_config": {},
            "is_a_snapshot": false, "is_a_template": false});
        let vbd = json!({"uuid": "vbd-uuid", "VM": VM, "VDI": "OpaqueRef:vdi", "type": "Disk",
            "userdevice": "0"});
        let vdi = json!({"uuid": DISK_UUID, "virtual_size": "5241856", "VBDs": ["OpaqueRef:vbd"],
            "is_a_snapshot": false, "other_config": {}, "SR": "OpaqueRef:sr"});
        let sr = json!({"uuid": "sr-uuid", "name_label": "local", "PBDs": ["OpaqueRef:pbd"]});
        let pbd = json!({"uuid": "pbd-uuid", "currently_attached": true});
        let of = [("VM", VM, vm), ("VBD", "OpaqueRef:vbd", vbd), ("VDI", "OpaqueRef:vdi", vdi)];
        let storage = [("SR", "OpaqueRef:sr", sr), ("PBD", "OpaqueRef:pbd", pbd)];
        for (class, reference, record) in of.into_iter().chain(storage) {
            let record = record.as_object().expect("a record").clone();
            objects.insert((class.to_owned(), reference.to_owned()), record);
        }
        Self(Arc::new(Mutex::new(World {
            speaks_json: true,
            coordinator: String::new(),
            pool_uuid: "pool-uuid".to_owned(),
            members: Vec::new(),
            sessions: Vec::new(),
            objects,
            tasks: BTreeMap::new(),
            calls: Vec::new(),
            refusals: VecDeque::new(),
            export: Vec::new(),
            disk: Vec::new(),
            outcome: Outcome::Success,
            fails_after: None,
            keeps_failing: false,
            loses_after: None,
            faults: 0,
            makes_imports: false,
            hangs: "",
            loses: None,
            left_by_checkpoint: None,
            uploaded: None,
            count: 0,
        })))
    }

    pub fn get(&self) -> MutexGuard<'_, World> {
        self.0.lock().expect("a lock")
    }

    /// A host of the pool. The first is the coordinator.
    pub fn host(&self) -> Host {
        self.host_with(None)
    }

    /// A host that speaks TLS, if it has a configuration.
    pub fn host_with(&self, tls: Option<Arc<ServerConfig>>) -> Host {
        let shared = self.clone();
        let own = Arc::new(Mutex::new(String::new()));
        let known = own.clone();
        let answer = move |incoming| {
            let own = known.lock().expect("a lock").clone();
            shared.answer(&own, incoming)
        };
        let host = match tls {
            Some(tls) => Host::start_tls(tls, answer),
            None => Host::start(answer),
        };
        let address = host.address.to_string();
        address.clone_into(&mut own.lock().expect("a lock"));
        let mut world = self.get();
        if world.coordinator.is_empty() {
            world.coordinator.clone_from(&address);
        }
        world.members.push(address);
        drop(world);
        host
    }

    fn answer(&self, own: &str, incoming: Incoming) -> Reply {
        let mut world = self.get();
        match (incoming.method.as_str(), incoming.path.as_str()) {
            ("POST", "/jsonrpc") if world.speaks_json => {
                let call: Json = serde_json::from_slice(&incoming.body).expect("a call");
                let method = call["method"].as_str().expect("a method");
                let params = call["params"].as_array().expect("parameters");
                let answer = world.call(own, method, params);
                if world.loses_now(method) {
                    return Reply::Bytes(Vec::new());
                }
                let answer = match answer {
                    Ok(result) => json!({"jsonrpc": "2.0", "id": 1, "result": result}),
                    Err(error) => json!({"jsonrpc": "2.0", "id": 1, "error":
                        {"code": 1, "message": error[0], "data": error[1..]}}),
                };
                let body = answer.to_string();
                Reply::http("200 OK", "Content-Type: application/json\r\n", body.as_bytes())
            }
            ("POST", "/RPC2") => world.answer_xml(own, &incoming.body),
            ("POST", _) => Reply::http("200 OK", "Content-Type: text/xml\r\n", b"<html/>"),
            ("GET", _) => world.export(own, &incoming),
            ("PUT", _) => world.import(self.clone(), &incoming),
            _ => Reply::http("501 Not Implemented", "", b""),
        }
    }
}

impl World {
    pub fn record(&self, class: &str, reference: &str) -> &Map<String, Json> {
        self.objects.get(&(class.to_owned(), reference.to_owned())).expect("an object")
    }

    pub fn has_called(&self, start: &str) -> usize {
        self.calls.iter().filter(|call| call.starts_with(start)).count()
    }

    fn answer_xml(&mut self, own: &str, body: &[u8]) -> Reply {
        let text = String::from_utf8(body.to_vec()).expect("text");
        let (_, rest) = text.split_once("<methodName>").expect("a method");
        let (method, rest) = rest.split_once("</methodName>").expect("a method");
        let params = rest.split("<param>").skip(1).map(|param| {
            let value = xml::parse_value(param).expect("a value");
            value.text().map_or(json!([]), |text| json!(text))
        });
        let params: Vec<Json> = params.collect();
        let answer = match self.call(own, method, &params) {
            Ok(result) => json!({"Status": "Success", "Value": result}),
            Err(error) => json!({"Status": "Failure", "ErrorDescription": error}),
        };
        let value = to_xml(&answer);
        let body = format!(
            "<?xml version=\"1.0\"?><methodResponse><params><param>{value}</param></params>\
             </methodResponse>"
        );
        Reply::http("200 OK", "Content-Type: text/xml\r\n", body.as_bytes())
    }

    pub fn fresh(&mut self, kind: &str) -> String {
        self.count += 1;
        format!("OpaqueRef:{kind}-{}", self.count)
    }

    fn call(&mut self, own: &str, method: &str, params: &[Json]) -> Result<Json, Vec<String>> {
        let refuse = |error: &[&str]| Err(error.iter().map(|part| (*part).to_owned()).collect());
        let text = |place: usize| params.get(place).and_then(Json::as_str).unwrap_or_default();
        self.calls.push(format!("{method} {}", text(1)));
        if let Some(at) = self.refusals.iter().position(|(wanted, _)| *wanted == method) {
            let (_, error) = self.refusals.remove(at).expect("a refusal");
            return refuse(&error);
        }
        if self.fails_now(method) {
            return refuse(&["INTERNAL_ERROR", method]);
        }
        if own != self.coordinator {
            return refuse(&["HOST_IS_SLAVE", &self.coordinator]);
        }
        if method == "session.login_with_password" {
            if text(1) != "secret" {
                return refuse(&["SESSION_AUTHENTICATION_FAILED", "root", "no"]);
            }
            let session = self.fresh("session");
            self.sessions.push(session.clone());
            return Ok(json!(session));
        }
        if !self.sessions.iter().any(|session| session == text(0)) {
            return refuse(&["SESSION_INVALID", text(0)]);
        }
        if let Some(method) = method.strip_prefix("Async.") {
            return Ok(json!(self.start(own, method, params)));
        }
        let (class, verb) = method.split_once('.').expect("a method");
        match class {
            "session" => {
                self.sessions.retain(|session| session != text(0));
                Ok(json!(""))
            }
            "pool" => {
                let record = json!({"uuid": self.pool_uuid, "name_label": "lab",
                    "master": "OpaqueRef:host-0"});
                Ok(json!({"OpaqueRef:pool": record}))
            }
            "host" if verb == "get_servertime" => Ok(json!(NOW)),
            "host" => Ok(self.hosts()),
            "task" => self.task(verb, text(1)),
            _ => self.object(class, verb, params),
        }
    }

    /// Calls a method as a task; its reference.
    fn start(&mut self, own: &str, method: &str, params: &[Json]) -> String {
        let task = self.fresh("task");
        if let Some((_, is_done)) = self.loses.take_if(|(lost, _)| *lost == method) {
            if is_done {
                self.call(own, method, params).expect("a call that goes well");
            }
            return task;
        }
        let (label, error) = (format!("Async.{method}"), Vec::new());
        let mut entry = TaskEntry { label, status: "pending", error, result: String::new() };
        if self.hangs != method {
            entry.status = "success";
            match self.call(own, method, params) {
                Ok(Json::String(result)) => entry.result = format!("<value>{result}</value>"),
                Ok(_) => {}
                Err(error) => (entry.status, entry.error) = ("failure", error),
            }
        }
        self.tasks.insert(task.clone(), entry);
        task
    }

    fn hosts(&self) -> Json {
        let host = |(place, address): (usize, &String)| {
            let record = json!({"uuid": format!("host-{place}"), "address": address});
            (format!("OpaqueRef:host-{place}"), record)
        };
        Json::Object(self.members.iter().enumerate().map(host).collect())
    }

    fn task(&mut self, verb: &str, task: &str) -> Result<Json, Vec<String>> {
        if verb == "get_all_records" {
            let record = |(task, entry): (&String, &TaskEntry)| {
                let record = json!({"uuid": task, "name_label": entry.label,
                    "status": entry.status, "progress": 0.0, "created": "20261121T06:00:00Z"});
                (task.clone(), record)
            };
            return Ok(Json::Object(self.tasks.iter().map(record).collect()));
        }
        if verb == "create" {
            let (label, task, error) = (task.to_owned(), self.fresh("task"), Vec::new());
            let entry = TaskEntry { label, status: "pending", error, result: String::new() };
            self.tasks.insert(task.clone(), entry);
            return Ok(json!(task));
        }
        let gone = || vec!["HANDLE_INVALID".to_owned(), "task".to_owned(), task.to_owned()];
        let entry = self.tasks.get_mut(task).ok_or_else(gone)?;
        match verb {
            "cancel" => entry.status = "cancelled",
            "destroy" => drop(self.tasks.remove(task)),
            _ => {
                return Ok(json!({"uuid": "t", "status": entry.status, "progress": 0.5,
                    "error_info": entry.error, "result": entry.result}));
            }
        }
        Ok(json!(""))
    }

    fn object(&mut self, class: &str, verb: &str, params: &[Json]) -> Result<Json, Vec<String>> {
        let text = |place: usize| params.get(place).and_then(Json::as_str).unwrap_or_default();
        let gone = || vec!["HANDLE_INVALID".to_owned(), class.to_owned(), text(1).to_owned()];
        if verb == "get_all_records" {
            let of_class = self.objects.iter().filter(|((of, _), _)| of == class);
            let pair = of_class.map(|((_, name), record)| (name.clone(), json!(record)));
            return Ok(Json::Object(pair.collect()));
        }
        if verb == "get_by_uuid" {
            let mut of_class = self.objects.iter().filter(|((of, _), _)| of == class);
            let found = of_class.find(|(_, record)| record["uuid"] == text(1));
            return found.map(|((_, name), _)| json!(name)).ok_or_else(gone);
        }
        if (class, verb) == ("VM", "snapshot") {
            self.calls.push(format!("left out: {}", params.get(3).unwrap_or(&Json::Null)));
            return Ok(json!(self.snapshot(text(2))));
        }
        if let Some(answer) = self.make(class, verb, params) {
            return Ok(answer);
        }
        if verb == "create"
            && let Some(Json::Object(record)) = params.get(1)
        {
            return Ok(json!(self.create(class, record.clone())));
        }
        if class == "VM"
            && let Some(answer) = self.power(verb, params)
        {
            return answer;
        }
        let key = (class.to_owned(), text(1).to_owned());
        let record = self.objects.get_mut(&key).ok_or_else(gone)?;
        // What a test has written down as the answer.
        let unknown = || vec!["MESSAGE_METHOD_UNKNOWN".into(), format!("{class}.{verb}")];
        let written = record.get(verb).cloned().ok_or_else(unknown);
        match verb {
            "get_record" => return Ok(json!(record)),
            "get_uuid" => return Ok(record["uuid"].clone()),
            "set_name_label" => drop(record.insert("name_label".into(), params[2].clone())),
            "set_is_a_template" => drop(record.insert("is_a_template".into(), params[2].clone())),
            "add_to_other_config" => record["other_config"][text(2)] = params[3].clone(),
            "remove_from_other_config" => {
                drop(record["other_config"].as_object_mut().expect("a map").remove(text(2)));
            }
            "scan" => {}
            "unplug" => drop(record.insert("currently_attached".into(), json!(false))),
            "destroy" if record.get("power_state") == Some(&json!("Suspended")) => {
                return Err(vec!["VM_BAD_POWER_STATE".into(), text(1).into()]);
            }
            "destroy" if class == "VDI" && self.is_plugged(text(1)) => {
                return Err(vec!["VDI_IN_USE".into(), text(1).into(), "destroy".into()]);
            }
            "destroy" => {
                self.objects.remove(&key);
                let dead = |record: &Map<String, Json>| record.get("VM") == Some(&json!(key.1));
                self.objects.retain(|_, record| !dead(record));
            }
            _ => return written,
        }
        Ok(json!(""))
    }

    /// As xapi does it: notes are copied, the result is a template.
    pub fn snapshot(&mut self, name: &str) -> String {
        let snapshot = "OpaqueRef:snapshot".to_owned();
        let mut vm = self.record("VM", VM).clone();
        let mut vdi = self.record("VDI", "OpaqueRef:vdi").clone();
        let vbd = json!({"uuid": "x", "VM": snapshot, "VDI": "OpaqueRef:disk", "type": "Disk"});
        for (key, value) in [("uuid", "snapshot-uuid"), ("name_label", name), ("snapshot_of", VM)] {
            vm.insert(key.into(), json!(value));
        }
        vm.insert("is_a_snapshot".into(), json!(true));
        vm.insert("is_a_template".into(), json!(true));
        vm.insert("snapshot_time".into(), json!(NOW));
        let state = vm.insert("power_state".into(), json!("Halted")).expect("a state");
        vm.insert("snapshot_info".into(), json!({"power-state-at-snapshot": state}));
        vm.insert("VBDs".into(), json!(["OpaqueRef:drive"]));
        vdi.insert("uuid".into(), json!(super::maker::Archive::vdi_uuid(0)));
        vdi.insert("is_a_snapshot".into(), json!(true));
        vdi.insert("snapshot_of".into(), json!("OpaqueRef:vdi"));
        vdi.insert("snapshot_time".into(), json!(NOW));
        vdi.insert("VBDs".into(), json!(["OpaqueRef:drive"]));
        self.objects.insert(("VM".into(), snapshot.clone()), vm);
        self.objects.insert(("VDI".into(), "OpaqueRef:disk".into()), vdi);
        let vbd = vbd.as_object().expect("a record").clone();
        self.objects.insert(("VBD".into(), "OpaqueRef:drive".into()), vbd);
        snapshot
    }
}

fn to_xml(value: &Json) -> String {
    let inside = match value {
        Json::Null => String::new(),
        Json::Bool(flag) => format!("<boolean>{}</boolean>", u8::from(*flag)),
        Json::Number(number) if number.is_f64() => format!("<double>{number}</double>"),
        Json::Number(number) => number.to_string(),
        Json::String(text) => text.replace('&', "&amp;").replace('<', "&lt;"),
        Json::Array(items) => {
            let items: String = items.iter().map(to_xml).collect();
            format!("<array><data>{items}</data></array>")
        }
        Json::Object(members) => {
            let member = |(key, value): (&String, &Json)| {
                format!("<member><name>{key}</name>{}</member>", to_xml(value))
            };
            let members: String = members.iter().map(member).collect();
            format!("<struct>{members}</struct>")
        }
    };
    format!("<value>{inside}</value>")
}

pub fn login(addresses: Vec<Address>, password: &str) -> Login {
    let password = Password::new(password.to_owned());
    Login { addresses, user: "root".to_owned(), password }
}

/// Settings for hosts of tests.
pub fn settings() -> Settings {
    let short = Duration::from_secs(5);
    Settings { connect_timeout: short, ..Settings::new(Trust::PlainText) }
}

/// Connects, without ever waiting.
pub fn connect(hosts: &[&Host]) -> Result<(Pool, Pauses), XapiError> {
    let addresses = hosts.iter().map(|host| host.address.clone()).collect();
    let pauses = Pauses::default();
    let pool = connect_with(login(addresses, "secret"), settings(), Box::new(pauses.clone()))?;
    Ok((pool, pauses))
}

/// The names of VMs, which takes a working session.
pub fn names(pool: &Pool) -> Result<Vec<String>, XapiError> {
    let vms = pool.session().call("VM.get_all_records", &[])?;
    let name = |vm: &Value| vm.get("name_label").and_then(Value::text).map(str::to_owned);
    Ok(vms.members().into_iter().flatten().filter_map(|(_, vm)| name(vm)).collect())
}
