"""A real PostgreSQL server of our own: in a temporary folder, on a free port, run by the user `postgres` for root."""

import itertools
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

_NAMES = itertools.count()
PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name.partition(".")[0]))


class PostgresServer:
    """One cluster. It can be killed and started again; what it said it has written is there then."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "cluster"
        with socket.create_server(("127.0.0.1", 0)) as place:
            self.port = place.getsockname()[1]
        self._bin = PROGRAMS[-1]
        self._process: subprocess.Popen[bytes] | None = None
        self._shared: dict[str, str] = {}
        if os.geteuid() == 0:
            shutil.chown(folder, "postgres")
        self._run("initdb", "-D", self.folder, "-U", "searec", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")

    def url(self, database: str) -> str:
        return f"postgresql://searec@127.0.0.1:{self.port}/{database}"

    def _command(self, program: str, *arguments: object) -> list[str]:
        own = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []
        return [*own, str(self._bin / program), *map(str, arguments)]

    def _run(self, program: str, *arguments: object) -> str:
        done = subprocess.run(self._command(program, *arguments), capture_output=True, text=True, check=False, cwd="/")
        assert done.returncode == 0, done.stderr
        return done.stdout

    def start(self) -> None:
        options = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "max_connections": 150,
            "shared_buffers": "32MB",
        }
        words = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        command = self._command("postgres", "-D", self.folder, "-p", self.port, *words)
        with (self.folder.parent / "log.txt").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd="/")
        for _ in range(1500):
            probe = self._command("pg_isready", "-q", "-h", "127.0.0.1", "-p", self.port)
            if subprocess.run(probe, check=False, cwd="/").returncode == 0:
                return
            assert self._process.poll() is None, (self.folder.parent / "log.txt").read_text()
            time.sleep(0.02)
        raise AssertionError("PostgreSQL does not answer")

    def kill(self) -> None:
        """As a machine that loses its power, so far as the server is concerned.

        No process of it gets to say anything.
        """
        if self._process is not None:
            children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
            self._process.kill()
            self._process.wait()
            for child in map(int, children):
                _end(child)
            self._process = None

    def stop(self) -> None:
        """End it at once, with all its processes."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait()
            self._process = None

    def empty_database(self, name: str) -> str:
        """A URL of a database of this name, which is made once and emptied later."""
        if name not in self._shared:
            self._shared[name] = self.new_database()
        else:
            script = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
            script += "AND pid <> pg_backend_pid(); DROP SCHEMA public CASCADE; CREATE SCHEMA public"
            words = [word for line in script.split("; ") for word in ("-c", line)]
            self._run("psql", "-q", "-d", self._shared[name], *words)
        return self._shared[name]

    def new_database(self) -> str:
        """A URL of an empty database."""
        name = f"store{next(_NAMES)}"
        self._run("createdb", "-h", "127.0.0.1", "-p", self.port, "-U", "searec", name)
        return self.url(name)


def _end(process: int) -> None:
    """Kill a process, and see it gone, or dead with nobody to ask for it."""
    for _ in range(500):
        try:
            os.kill(process, signal.SIGKILL)
            if Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return
        except (ProcessLookupError, FileNotFoundError):
            return
        time.sleep(0.01)
    raise AssertionError(f"process {process} does not end")


def postgres() -> Iterator[PostgresServer]:
    pytest.importorskip("psycopg", reason="the PostgreSQL client is not installed")
    if not PROGRAMS:
        pytest.skip("PostgreSQL is not installed: no /usr/lib/postgresql/*/bin")
    if os.geteuid() == 0 and shutil.which("setpriv") is None:
        pytest.skip("PostgreSQL does not run as root, and setpriv is not installed")
    # not in a folder of pytest's, which every session of pytest closes to other users
    with tempfile.TemporaryDirectory(prefix="searec-postgres-") as folder:
        server = PostgresServer(Path(folder))
        server.start()
        yield server
        server.stop()
