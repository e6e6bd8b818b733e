//! Calls that make networks and vApps.

use serde_json::{Value as Json, json};

use super::world::World;

/// The network or vApp that was made: a world has one of each at most.
pub fn made(class: &str) -> String {
    format!("OpaqueRef:made-{class}")
}

impl World {
    /// The answer, if the call makes something or puts a VM into a vApp.
    pub fn make(&mut self, class: &str, verb: &str, params: &[Json]) -> Option<Json> {
        match (class, verb) {
            ("network" | "VM_appliance", "create") => {
                let mut record = params[1].as_object().expect("fields").clone();
                record.insert("uuid".into(), json!(format!("{class}-uuid")));
                record.insert("VIFs".into(), json!([]));
                self.objects.insert((class.to_owned(), made(class)), record);
                Some(json!(made(class)))
            }
            ("VM", "set_appliance") => {
                let vm = params[1].as_str().expect("a VM").to_owned();
                self.change("VM", &vm, "appliance", params[2].clone());
                Some(json!(""))
            }
            _ => None,
        }
    }
}
