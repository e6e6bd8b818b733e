"""The pool as a program. Run: python test_pool.py"""

import json
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

import XenAPI

import client

HERE = Path(__file__).resolve().parent


class Program(unittest.TestCase):
    """`pool.py` tells where it listens, and goes when it is told or its parent is gone."""

    def start(self, *options: str) -> tuple[subprocess.Popen, dict]:
        folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        told = folder / "ports.json"
        pool = subprocess.Popen([sys.executable, HERE / "pool.py", "--vms", "2", "--disk-mib", "4", "--state-dir", folder / "state",
                                 "--port-file", told, *options])
        self.addCleanup(pool.wait)
        self.addCleanup(pool.kill)
        for _ in range(200):
            if told.exists():
                return pool, json.loads(told.read_text())
            time.sleep(0.05)
        raise AssertionError("it does not start")

    def test_it_says_where_it_is_and_what_it_is(self) -> None:
        pool, told = self.start("--set", "auth_delay=0.5", "--set", "checksum=sha1")
        session = XenAPI.Session(told["members"][0]["https"], ignore_ssl=True)
        session.login_with_password(told["username"], told["password"], "1.0", "x")
        self.assertEqual(session.xenapi.pool.get_by_name_label("simulated"), session.xenapi.pool.get_all())
        host = session.xenapi.host.get_by_uuid(told["members"][1]["uuid"])
        self.assertEqual(session.xenapi.host.get_server_certificate(host), Path(told["members"][1]["certificate"]).read_text())
        session("close")()
        state = client.control(told["control"], "state")
        self.assertEqual((state["settings"]["auth_delay"], state["settings"]["checksum"]), (0.5, "sha1"))
        self.assertEqual({len(digest) for digest in state["disks"].values()}, {64})
        pool.terminate()
        self.assertEqual(pool.wait(5), 0)

    def test_it_does_not_outlive_its_parent(self) -> None:
        parent = subprocess.Popen(["sleep", "60"])
        pool, _ = self.start("--parent-pid", str(parent.pid))
        parent.kill()
        parent.wait()
        self.assertEqual(pool.wait(5), 0)

    def test_mistakes_at_the_control_endpoint_are_told(self) -> None:
        _, told = self.start()
        for name, given in (
                ("fault", {"kind": "nonsense"}), ("fault", {"kind": "stream"}), ("set", {"nonsense": 1}), ("nonsense", {"a": 1})):
            with self.assertRaisesRegex(AssertionError, name):
                client.control(told["control"], name, **given)


if __name__ == "__main__":
    unittest.main()
