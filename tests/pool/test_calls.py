"""The simulated pool answers calls as the contract says, to clients that are not ours. Run: python test_calls.py"""

import base64
import http.client
import json
import threading
import time
import unittest

import XenAPI

from case import PoolCase


class Sessions(PoolCase):
    """Contract 1.2, 1.3, 1.4."""

    def raw(self, path: str, body: str, **headers: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection(self.told["members"][0]["http"].removeprefix("http://"))
        connection.request("POST", path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()

    def json(self, method: str, *params: object, **frame: object) -> dict:
        return json.loads(self.raw("/jsonrpc", json.dumps({"method": method, "params": params, "id": 5, **frame}))[1])

    def test_a_wrong_password_is_refused(self) -> None:
        with self.refused("SESSION_AUTHENTICATION_FAILED", "root"):
            XenAPI.Session(self.first, ignore_ssl=True).login_with_password("root", "wrong", "1.0", "x")

    def test_the_other_member_names_the_coordinator(self) -> None:
        with self.refused("HOST_IS_SLAVE", "127.0.0.1"):
            XenAPI.Session(self.second, ignore_ssl=True).login_with_password("root", "secret", "1.0", "x")

    def test_after_a_change_of_coordinator_the_first_names_the_second(self) -> None:
        self.control("change_master")
        self.addCleanup(self.control, "change_master")
        with self.refused("HOST_IS_SLAVE", "127.0.0.2"):
            self.api.VM.get_all()
        XenAPI.Session(self.second, ignore_ssl=True).login_with_password("root", "secret", "1.0", "x")

    def test_a_member_can_be_down(self) -> None:
        self.control("member", address="127.0.0.1", up=False)
        self.addCleanup(self.control, "member", address="127.0.0.1", up=True)
        with self.assertRaises((OSError, http.client.HTTPException)):
            self.api.VM.get_all()
        with self.refused("HOST_IS_SLAVE"):
            XenAPI.Session(self.second, ignore_ssl=True).login_with_password("root", "secret", "1.0", "x")

    def test_an_ended_session_is_invalid(self) -> None:
        self.control("expire_sessions")
        answer = self.json("VM.get_all", self.session._session, jsonrpc="2.0")
        self.assertEqual(answer["error"], {"code": 1, "message": "SESSION_INVALID", "data": [self.session._session]})

    def test_json_has_the_frames_of_both_versions(self) -> None:
        self.assertEqual(self.json("VM.get_all", "x")["error"], ["SESSION_INVALID", "x"])
        session = self.json("session.login_with_password", "root", "secret", jsonrpc="2.0")["result"]
        record = self.json("VM.get_record", session, self.vm("halted"), jsonrpc="2.0")["result"]
        self.assertIs(type(record["VCPUs_max"]), int)

    def test_integers_are_text_in_xml_and_the_list_of_methods_is_bare(self) -> None:
        call = "<methodCall><methodName>{}</methodName><params>{}</params></methodCall>"
        params = f"<param><value>{self.session._session}</value></param><param><value><string>{self.vm('halted')}</string></value></param>"
        self.assertIn("<value>2</value>", self.raw("/", call.format("VM.get_VCPUs_max", params))[1])
        bare = self.raw("/RPC2", call.format("system.listMethods", ""))[1]
        self.assertNotIn("Status", bare)
        self.assertIn("<value>VM.snapshot</value>", bare)

    def test_a_role_may_not_do_more_than_it_may(self) -> None:
        session = XenAPI.Session(self.first, ignore_ssl=True)
        session.login_with_password("reader", "secret", "1.0", "x")
        session.xenapi.VM.get_all()
        with self.refused("RBAC_PERMISSION_DENIED", "vm.snapshot"):
            session.xenapi.VM.snapshot(self.vm("halted"), "x")
        self.assertEqual(self.get("/pool/xmldbdump").status, 200)
        session.login_with_password("backup", "secret", "1.0", "x")
        self.session = session
        self.assertEqual(self.get("/pool/xmldbdump").status, 403)

    def test_unknown_things_have_their_errors(self) -> None:
        for error, call in (
            (("HANDLE_INVALID", "VM", "OpaqueRef:x"), lambda: self.api.VM.get_record("OpaqueRef:x")),
            (("UUID_INVALID", "VM", "x"), lambda: self.api.VM.get_by_uuid("x")),
            (("MESSAGE_METHOD_UNKNOWN", "VM.fly"), lambda: self.api.VM.fly("x")),
            (("MESSAGE_METHOD_UNKNOWN", "VM.set_power_state"), lambda: self.api.VM.set_power_state("x", "Running")),
            (("MESSAGE_PARAMETER_COUNT_MISMATCH", "VM.destroy", "2", "3"), lambda: self.api.VM.destroy("x", "y")),
        ):
            with self.subTest(error), self.refused(*error):
                call()

    def test_maps_take_a_key_once(self) -> None:
        vm = self.vm("halted")
        self.api.VM.add_to_other_config(vm, "xenith", "1")
        with self.refused("MAP_DUPLICATE_KEY", "VM", "other_config"):
            self.api.VM.add_to_other_config(vm, "xenith", "2")
        self.api.VM.remove_from_other_config(vm, "xenith")
        self.api.VM.remove_from_other_config(vm, "xenith")

    def test_faults_of_calls_come_as_often_as_they_are_armed(self) -> None:
        self.control("fault", kind="rpc_error", method="VM.get_uuid", error=["HANDLE_INVALID", "VM", "$0"], count=2, after=1)
        vm = self.vm("halted")
        self.api.VM.get_uuid(vm)
        for _ in range(2):
            with self.refused("HANDLE_INVALID", "VM", vm):
                self.api.VM.get_uuid(vm)
        self.api.VM.get_uuid(vm)
        self.control("fault", kind="rpc_drop", method="VM.get_uuid", count=2)  # this client tries twice
        with self.assertRaises((ConnectionError, http.client.HTTPException)):
            self.api.VM.get_uuid(vm)
        self.control("fault", kind="expire_sessions", method="VM.get_uuid")
        self.api.VM.get_uuid(vm)  # this client logs in again by itself
        self.assertEqual(self.control("faults"), [])


class Snapshots(PoolCase):
    """Contract 6."""

    def test_a_snapshot_is_as_the_contract_says(self) -> None:
        vm, before = self.vm("running"), self.control("leftovers")["vdis"]
        taken = self.api.VM.snapshot(vm, "now", [])
        row, of = self.api.VM.get_record(taken), self.api.VM.get_record(vm)
        self.assertTrue(row["is_a_snapshot"] and row["is_a_template"])
        self.assertEqual((row["snapshot_of"], row["power_state"]), (vm, "Halted"))
        self.assertEqual(row["snapshot_info"], {"disk-snapshot-type": "crash_consistent", "power-state-at-snapshot": "Running"})
        self.assertEqual(row["other_config"]["mac_seed"], of["other_config"]["mac_seed"])
        self.assertNotEqual(row["generation_id"], of["generation_id"])
        self.assertIn(taken, of["snapshots"])
        copies = self.disks_of(taken)
        self.assertEqual([self.digest(vdi) for vdi in copies], [self.digest(vdi) for vdi in self.disks_of(vm)])
        self.api.VM.destroy(taken)
        for vdi in copies:  # its disks stay, and go one by one
            self.assertTrue(self.api.VDI.get_is_a_snapshot(vdi))
            self.api.VDI.destroy(vdi)
        self.assertEqual(self.control("leftovers")["vdis"], before)

    def test_disks_can_be_left_out_or_refuse(self) -> None:
        vm = self.vm("running")
        first, second = self.disks_of(vm)
        taken = self.api.VM.snapshot(vm, "one", [second])
        self.assertEqual(len(self.disks_of(taken)), 1)
        self.api.VDI.set_on_boot(second, "reset")
        with self.refused("VDI_ON_BOOT_MODE_INCOMPATIBLE_WITH_OPERATION"):
            self.api.VM.snapshot(vm, "two")
        self.api.VDI.set_on_boot(second, "persist")
        self.setting(snapshot_params=2)
        with self.refused("MESSAGE_PARAMETER_COUNT_MISMATCH", "VM.snapshot"):
            self.api.VM.snapshot(vm, "three", [])

    def test_power_states_are_kept_to(self) -> None:
        vm = self.vm("halted")
        with self.refused("VM_BAD_POWER_STATE", vm):
            self.api.VM.checkpoint(vm, "x")
        self.api.VM.start(vm, False, False)
        taken = self.api.VM.checkpoint(vm, "with memory")
        self.assertEqual(self.api.VM.get_power_state(taken), "Suspended")
        self.assertEqual(self.api.VDI.get_type(self.api.VM.get_suspend_VDI(taken)), "suspend")
        self.api.VM.hard_shutdown(vm)
        self.api.VM.add_to_blocked_operations(vm, "snapshot", "not now")
        with self.refused("OPERATION_BLOCKED", vm, "not now"):
            self.api.VM.snapshot(vm, "x")
        self.api.VM.remove_from_blocked_operations(vm, "snapshot")

    def test_a_revert_takes_the_disks_back(self) -> None:
        vm = self.vm("halted")
        disk, = self.disks_of(vm)
        before = self.digest(disk)
        taken = self.api.VM.snapshot(vm, "before")
        self.control("write", vdi=disk, offset=0, length=4096, seed=7)
        self.assertNotEqual(self.digest(disk), before)
        self.api.VM.revert(taken)
        self.assertEqual(self.digest(self.disks_of(vm)[0]), before)


class Tasks(PoolCase):
    """Contract 1.6, 1.7."""

    def test_an_asynchronous_call_ends_with_its_result(self) -> None:
        task = self.api.Async.VM.snapshot(self.vm("halted"), "later")
        self.assertRegex(self.ended(task)["result"], "^<value>OpaqueRef:[^<]*</value>$")
        failed = self.ended(self.api.Async.VM.destroy(self.vm("running")))
        self.assertEqual((failed["status"], failed["error_info"][0]), ("failure", "VM_BAD_POWER_STATE"))

    def test_events_tell_what_is_added_changed_and_deleted(self) -> None:
        since = getattr(self.api.event, "from")
        token = since(["task"], "", 0.1)["token"]
        task = self.task()
        first = since(["task"], token, 5.0)
        self.assertEqual([(event["operation"], event["ref"], event["class"]) for event in first["events"]], [("add", task, "task")])
        other = XenAPI.Session(self.first, ignore_ssl=True)
        other.login_with_password("root", "secret", "1.0", "x")
        threading.Timer(0.3, other.xenapi.task.set_progress, [task, 0.5]).start()
        begun = time.monotonic()
        second = since([f"task/{task}"], first["token"], 5.0)
        self.assertLess(time.monotonic() - begun, 3)
        self.assertEqual((second["events"][0]["operation"], second["events"][0]["snapshot"]["progress"]), ("mod", 0.5))
        self.api.task.destroy(task)
        third = since(["*"], second["token"], 5.0)
        self.assertEqual([(event["operation"], "snapshot" in event) for event in third["events"]], [("del", False)])
        self.assertEqual(since(["*"], third["token"], 0.1)["events"], [])
        with self.refused("EVENT_FROM_TOKEN_PARSE_FAILURE", "x"):
            since(["*"], "x", 0.1)


class ChangedBlocks(PoolCase):
    """Contract 5.1."""

    def bits(self, older: str, newer: str) -> set[int]:
        data = base64.b64decode(self.api.VDI.list_changed_blocks(older, newer))
        return {at * 8 + bit for at, byte in enumerate(data) for bit in range(8) if byte & 0x80 >> bit}

    def test_bitmaps_come_from_real_writes_along_the_chain(self) -> None:
        disk, = self.disks_of(self.vm("halted"))
        self.api.VDI.enable_cbt(disk)
        one = self.api.VDI.snapshot(disk)
        self.control("write", vdi=disk, offset=65536 * 9 - 512, length=1024, seed=1)
        two = self.api.VDI.snapshot(disk)
        self.control("write", vdi=disk, offset=65536 * 40, length=512, seed=2)
        three = self.api.VDI.snapshot(disk)
        self.assertEqual(self.bits(one, two), {8, 9})
        self.assertEqual(self.bits(two, three), {40})
        self.assertEqual(self.bits(one, three), {8, 9, 40})
        with self.refused("SR_BACKEND_FAILURE_460"):
            self.bits(three, one)
        self.api.VDI.data_destroy(one)
        self.assertEqual(self.api.VDI.get_type(one), "cbt_metadata")
        self.assertEqual(self.bits(one, three), {8, 9, 40})
        self.api.VDI.destroy(two)
        self.assertEqual(self.bits(one, three), {8, 9, 40})
        with self.refused("VDI_INCOMPATIBLE_TYPE", one, "cbt_metadata"):
            self.api.VDI.get_nbd_info(one)
        self.api.VDI.disable_cbt(disk)
        self.api.VDI.enable_cbt(disk)
        with self.refused("SR_BACKEND_FAILURE_460"):
            self.bits(three, self.api.VDI.snapshot(disk))

    def test_refusals(self) -> None:
        running, _ = self.disks_of(self.vm("running"))
        self.api.VDI.enable_cbt(running)
        taken = self.api.VDI.snapshot(running)
        with self.refused("VDI_IN_USE", running, "list_changed_blocks"):
            self.bits(taken, running)
        with self.refused("OPERATION_NOT_ALLOWED"):
            self.api.VDI.enable_cbt(taken)
        with self.refused("VDI_NO_CBT_METADATA"):
            self.api.VDI.data_destroy(self.api.VDI.snapshot(self.disks_of(self.vm("suspended"))[0]))
        with self.refused("VDI_IN_USE"):
            self.api.VDI.destroy(running)
        kept = self.api.VM.snapshot(self.vm("running"), "x")
        with self.refused("VDI_IN_USE"):
            self.api.VDI.data_destroy(self.disks_of(kept)[0])


if __name__ == "__main__":
    unittest.main()
