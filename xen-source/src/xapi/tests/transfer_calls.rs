//! What becomes of exports and imports.

use std::sync::Arc;

use super::host::{Incoming, Reply};
use super::world::{Outcome, Shared, World};

impl World {
    pub fn export(&mut self, own: &str, incoming: &Incoming) -> Reply {
        self.calls.push(format!("GET {} at {own}", incoming.path));
        if self.makes_imports && self.loses_now("GET") {
            return Reply::Bytes(Vec::new());
        }
        if self.makes_imports && self.fails_now("GET") {
            return Reply::http("500 Internal Error", "", b"");
        }
        let session = incoming.cookie("session_id");
        let is_refused = self.refusals.pop_front_if(|(method, _)| *method == "GET").is_some();
        if is_refused || !self.sessions.contains(&session) {
            return Reply::http("401 Unauthorised", "", b"");
        }
        let task = incoming.cookie("task_id");
        let head = b"HTTP/1.1 200 OK\r\nConnection: close\r\ntask-id:x\r\n\r\n";
        let is_disk = incoming.path.starts_with("/export_raw_vdi") && !self.disk.is_empty();
        let body = if is_disk { &self.disk } else { &self.export };
        let mut whole = [&head[..], body].concat();
        let entry = self.tasks.get_mut(&task).expect("a task");
        match self.outcome.clone() {
            Outcome::Success => entry.status = "success",
            Outcome::Failure(code) => {
                entry.status = "failure";
                entry.error = vec![code.to_owned(), "why".to_owned()];
                let page = format!("HTTP/1.1 500 Internal Error\r\n\r\n<html>{code}</html>");
                whole.extend_from_slice(page.as_bytes());
            }
            Outcome::Lost => drop(self.tasks.remove(&task)),
            Outcome::Silence => return Reply::Silence(whole),
            Outcome::Broken => {
                let long = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 1u64 << 40);
                return Reply::Bytes([long.as_bytes(), &self.export].concat());
            }
            Outcome::Refusal(status, page) => return Reply::http(status, "", page.as_bytes()),
            Outcome::Enough | Outcome::TooMuch => unreachable!("for imports"),
            Outcome::Elsewhere(place) if place == own => entry.status = "success",
            Outcome::Elsewhere(place) => {
                let location = format!("Location: https://{place}{}\r\n", incoming.path);
                return Reply::http("302 Found", &location, b"");
            }
        }
        Reply::Rude(whole)
    }

    pub fn import(&mut self, shared: Shared, incoming: &Incoming) -> Reply {
        self.calls.push(format!("PUT {}", incoming.path));
        let head = b"HTTP/1.1 200 OK\r\nConnection: close\r\ntask-id:x\r\n\r\n";
        let task = incoming.cookie("task_id");
        let path = incoming.path.clone();
        let outcome = if self.makes_imports && self.fails_now("PUT") {
            Outcome::Failure("VDI_IO_ERROR")
        } else if self.makes_imports && self.loses_now("PUT") {
            Outcome::Lost
        } else {
            self.outcome.clone()
        };
        match outcome {
            Outcome::Elsewhere(place) => {
                let location = format!("Location: https://{place}{}\r\n", incoming.path);
                Reply::http("302 Found", &location, b"")
            }
            Outcome::Refusal(status, page) => Reply::http(status, "", page.as_bytes()),
            Outcome::Enough | Outcome::TooMuch => {
                let entry = self.tasks.get_mut(&task).expect("a task");
                let is_good = matches!(outcome, Outcome::Enough);
                entry.status = if is_good { "success" } else { "failure" };
                entry.error = vec!["VDI_IO_ERROR".to_owned(), "Device I/O errors".to_owned()];
                Reply::Rude(head.to_vec())
            }
            outcome => {
                let keep = move |body: Vec<u8>| {
                    let mut world = shared.get();
                    if world.makes_imports && !matches!(outcome, Outcome::Failure(_)) {
                        world.take_import(&path, &body);
                    }
                    world.uploaded = Some(body);
                    if matches!(outcome, Outcome::Lost) {
                        world.tasks.remove(&task);
                    }
                    let Some(entry) = world.tasks.get_mut(&task) else {
                        return;
                    };
                    entry.status = "success";
                    let reference = "<value>OpaqueRef:new</value>";
                    entry.result =
                        format!("<value><array><data>{reference}</data></array></value>");
                    if let Outcome::Failure(code) = outcome {
                        entry.status = "failure";
                        entry.error = vec![code.to_owned()];
                    }
                };
                Reply::Read(head.to_vec(), Arc::new(keep))
            }
        }
    }
}
