//! What calls do to the power state of the pool's VM (contract 6).

use serde_json::{Value as Json, json};

use super::world::{VM, World};
use crate::xapi::snapshot::POWER_MARK;

impl World {
    /// The power state of the VM.
    pub fn state(&self) -> String {
        self.record("VM", VM)["power_state"].as_str().expect("a state").to_owned()
    }

    pub fn set_state(&mut self, state: &str) {
        self.change("VM", VM, "power_state", json!(state));
        let memory = if state == "Suspended" { "OpaqueRef:image" } else { "OpaqueRef:NULL" };
        self.change("VM", VM, "suspend_VDI", json!(memory));
    }

    pub fn change(&mut self, class: &str, reference: &str, field: &str, value: Json) {
        let key = (class.to_owned(), reference.to_owned());
        self.objects.get_mut(&key).expect("an object").insert(field.to_owned(), value);
    }

    /// Whether a drive with this disk is attached.
    pub fn is_plugged(&self, disk: &str) -> bool {
        self.objects.values().any(|record| {
            record.get("VDI") == Some(&json!(disk))
                && record.get("currently_attached") == Some(&json!(true))
        })
    }

    /// The answer, if the call is about power.
    pub fn power(&mut self, verb: &str, params: &[Json]) -> Option<Result<Json, Vec<String>>> {
        let allowed: &[&str] = match verb {
            "checkpoint" => &["Running", "Paused", "Suspended"],
            "clean_shutdown" | "pause" => &["Running"],
            "hard_shutdown" => &["Running", "Paused", "Suspended"],
            "start" => &["Halted"],
            "resume" => &["Suspended"],
            "unpause" => &["Paused"],
            _ => return None,
        };
        let vm = params.get(1).and_then(Json::as_str).unwrap_or_default().to_owned();
        let Some(record) = self.objects.get(&("VM".to_owned(), vm.clone())) else {
            return Some(Err(vec!["HANDLE_INVALID".into(), "VM".into(), vm]));
        };
        let state = record["power_state"].as_str().expect("a state").to_owned();
        if !allowed.contains(&&*state) {
            return Some(Err(vec!["VM_BAD_POWER_STATE".into(), vm, allowed.join(", "), state]));
        }
        let is_paused = params.get(2) == Some(&json!(true));
        let next = match verb {
            "checkpoint" => return Some(Ok(json!(self.checkpoint(params, &state)))),
            "start" | "resume" if is_paused => "Paused",
            "start" | "resume" | "unpause" => "Running",
            "pause" => "Paused",
            _ => "Halted",
        };
        self.change("VM", &vm, "power_state", json!(next));
        if verb == "hard_shutdown" {
            self.objects.remove(&("VDI".to_owned(), "OpaqueRef:memory".to_owned()));
        }
        Some(Ok(json!("")))
    }

    /// A snapshot that is suspended, with a memory image of its own.
    fn checkpoint(&mut self, params: &[Json], state: &str) -> String {
        let mark = &self.record("VM", VM)["other_config"][POWER_MARK];
        self.calls.push(format!("marked: {mark}"));
        let snapshot = self.snapshot(params[2].as_str().expect("a name"));
        let memory = json!({"uuid": "memory-uuid", "type": "suspend", "is_a_snapshot": false,
            "VBDs": [], "other_config": {}});
        let memory = memory.as_object().expect("a record").clone();
        self.objects.insert(("VDI".into(), "OpaqueRef:memory".into()), memory);
        self.change("VM", &snapshot, "power_state", json!("Suspended"));
        self.change("VM", &snapshot, "suspend_VDI", json!("OpaqueRef:memory"));
        let left = self.left_by_checkpoint.unwrap_or(state).to_owned();
        self.set_state(&left);
        snapshot
    }
}
