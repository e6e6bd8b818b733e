"""Starts a simulated pool of two members: python3 tests/pool/pool.py --vms 3 --disk-mib 64 --state-dir DIR --port-file FILE

The members listen on 127.0.0.1 and 127.0.0.2, on the same ports, as hosts of a real pool do: so the address in HOST_IS_SLAVE leads
to the coordinator. The port file is JSON; it appears when everything listens. Ends on SIGTERM, SIGINT, or when --parent-pid ends.
"""
from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import appliance_calls  # noqa: E402, F401 - registers its calls
import certificates  # noqa: E402
import disk_calls  # noqa: E402, F401 - registers its calls
import host_calls  # noqa: E402, F401 - registers its calls
import network_calls  # noqa: E402, F401 - registers its calls
import power_calls  # noqa: E402, F401 - registers its calls
import vm_calls  # noqa: E402, F401 - registers its calls
from control import ControlServer  # noqa: E402
from nbd_server import NbdServer  # noqa: E402
from seed import Seed  # noqa: E402
from server import Server  # noqa: E402
from world import USERS, Member, World  # noqa: E402

ADDRESSES = ("127.0.0.1", "127.0.0.2")
STOP_SECONDS = 0.02  # until a server sees that it is to stop


def free_port() -> int:
    """A port that is free on both addresses."""
    for _ in range(100):
        with socket.socket() as first, socket.socket() as second:
            first.bind((ADDRESSES[0], 0))
            try:
                second.bind((ADDRESSES[1], first.getsockname()[1]))
            except OSError:
                continue
            return first.getsockname()[1]
    raise SystemExit("no port is free on both addresses")


class Pool:
    """A running pool, for a test in the same process or for the command line."""

    def __init__(self, folder: Path, *, vms: int = 4, disk_mib: int = 16, seed: int = 1, **ports: int) -> None:
        self.world = World(folder)
        made = Seed(self.world, seed)
        made.all(vms, disk_mib)
        http, https, nbd = (ports.get(name) or free_port() for name in ("http", "https", "nbd"))
        for host, address in zip(list(self.world.db.tables["host"]), ADDRESSES, strict=True):
            certificate, key = certificates.make(folder, self.world.db.get("host", host)["hostname"], address)
            self.world.members.append(Member(host, address, http, https, nbd, certificate, key))
        self.control = ControlServer(self.world, made, ports.get("control") or 0)
        self.servers = [self.control]
        for member in self.world.members:
            tls = certificates.context(member.certificate, member.key)
            self.servers += [Server((member.address, http), self.world, member), Server((member.address, https), self.world, member, tls),
                             NbdServer(self.world, member, tls)]

    def start(self) -> dict[str, object]:
        """What a client needs to know."""
        for server in self.servers:
            threading.Thread(target=server.serve_forever, args=[STOP_SECONDS], daemon=True).start()
        return {"members": [self._describe(member) for member in self.world.members], "username": "root", "password": "secret",
                "users": {name: {"password": password, "role": role} for name, (password, role) in USERS.items()},
                "control": f"http://127.0.0.1:{self.control.server_address[1]}/control", "state_dir": str(self.world.folder),
                "pid": os.getpid()}

    def _describe(self, member: Member) -> dict[str, object]:
        row = self.world.db.get("host", member.ref)
        return {"name": row["name_label"], "uuid": row["uuid"], "hostname": row["hostname"], "address": member.address,
                "http": f"http://{member.address}:{member.http}", "https": f"https://{member.address}:{member.https}",
                "nbd_port": member.nbd, "certificate": str(member.certificate),
                "sha256": certificates.fingerprint(member.certificate), "coordinator": member.ref == self.world.db.master}

    def stop(self) -> None:
        for server in self.servers:
            server.shutdown()
            server.server_close()


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vms", type=int, default=4, help="halted, running, suspended, on other storage, and again (default 4)")
    parser.add_argument("--disk-mib", type=int, default=16)
    parser.add_argument("--seed", type=int, default=1, help="of the contents of the disks")
    parser.add_argument("--state-dir", type=Path, help="for disks and certificates; must be empty or absent (default: a temporary one)")
    parser.add_argument("--port-file", type=Path, required=True)
    for name in ("http", "https", "nbd", "control"):
        parser.add_argument(f"--{name}-port", type=int, default=0, help="default: a free one")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting, see world.Settings")
    parser.add_argument("--parent-pid", type=int, help="end when this process ends")
    return parser.parse_args()


def main() -> None:
    given = arguments()
    folder = given.state_dir or Path(tempfile.mkdtemp(prefix="pool-"))
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise SystemExit(f"{folder} is not empty")
    pool = Pool(folder, vms=given.vms, disk_mib=given.disk_mib, seed=given.seed, http=given.http_port, https=given.https_port,
                nbd=given.nbd_port, control=given.control_port)
    for pair in given.set:
        name, _, value = pair.partition("=")
        pool.control.control.set(**{name: json.loads(value) if value[:1].isdigit() or value in ("true", "false") else value})
    told = json.dumps(pool.start(), indent=1)
    unfinished = given.port_file.with_suffix(".new")
    unfinished.write_text(told)
    unfinished.rename(given.port_file)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os._exit(0))
    while given.parent_pid is None or Path(f"/proc/{given.parent_pid}").exists():
        time.sleep(1)


if __name__ == "__main__":
    main()
