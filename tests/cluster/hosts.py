"""Several hosts on this machine: each with its own network, processes, mounts, host name, home and sshd (Linux, root).

`ray stop`, `ray up` and `ray down` within one see that host alone. The hosts reach one another and nothing else.
"""

import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Self

NEEDED = ("ip", "nsenter", "unshare", "ssh", "rsync", "/usr/sbin/sshd")


def why_not() -> str | None:
    """Why this machine cannot have hosts; None where it can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "hosts of their own need root on Linux"
    missing = [name for name in NEEDED if shutil.which(name) is None]
    if missing:
        return f"hosts of their own need {', '.join(missing)} (iproute2, util-linux, openssh-server, rsync)"
    tried = subprocess.run(["unshare", "--net", "--pid", "--mount", "--fork", "true"], capture_output=True, text=True)
    return f"namespaces are not allowed here: {tried.stderr.strip()}" if tried.returncode else None


class Hosts:
    """A bridge of their own and the hosts on it; all end with the block."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._mark = f"t{uuid.uuid4().hex[:6]}"
        self._network = (
            f"10.{secrets.randbelow(100) + 100}.{secrets.randbelow(256)}"  # ssh keeps connections by address
        )
        self._hosts: list[Host] = []

    def __enter__(self) -> Self:
        key = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.folder / "key")]
        subprocess.run(key, check=True)
        _ip("netns", "add", self._mark)
        _ip("-n", self._mark, "link", "add", "br0", "type", "bridge")
        _ip("-n", self._mark, "link", "set", "br0", "up")
        return self

    def __exit__(self, *_: object) -> None:
        for host in self._hosts:
            host.end()
        for name in [*(host.namespace for host in self._hosts), self._mark]:
            _ip("netns", "del", name)

    def start(self, name: str) -> "Host":
        """Another host, `name`, at the next address; returns when its sshd listens."""
        namespace, n = f"{self._mark}-{name}", len(self._hosts) + 1
        address, link = f"{self._network}.{n}", f"{self._mark}v{n}"
        _ip("netns", "add", namespace)
        _ip("-n", self._mark, "link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", namespace)
        _ip("-n", self._mark, "link", "set", link, "master", "br0", "up")
        _ip("-n", namespace, "addr", "add", f"{address}/24", "dev", "eth0")
        for device in ("eth0", "lo"):
            _ip("-n", namespace, "link", "set", device, "up")
        host = Host(name, address, namespace, self.folder / name, key=self.folder / "key")
        self._hosts.append(host)
        host.boot()
        return host


class Host:
    """One of them. Its `~` is `home`; the rest of the file system is this machine's."""

    def __init__(self, name: str, address: str, namespace: str, folder: Path, *, key: Path) -> None:
        self.name, self.address, self.namespace, self.folder = name, address, namespace, folder
        self.home = folder / "home"
        self._key = key
        self._outer: subprocess.Popen[bytes] | None = None

    def boot(self) -> None:
        """Lay out the home, start the host's first process and its sshd."""
        ssh = self.home / ".ssh"
        for made in (ssh, self.folder / "ray", self.folder / "tmp"):
            made.mkdir(parents=True)
        shutil.copy(self._key, ssh / "id_ed25519")
        shutil.copy(self._key.with_suffix(".pub"), ssh / "authorized_keys")
        for path in (self.home, ssh, *ssh.iterdir()):
            path.chmod(0o700 if path.is_dir() else 0o600)
        (self.home / ".bashrc").write_text(
            f"export PATH={Path(sys.executable).resolve().parent}:/usr/bin:/bin:/usr/sbin\n"
        )
        (self.home / ".bash_profile").write_text(". ~/.bashrc\n")
        passwd = Path("/etc/passwd").read_text().replace(":/root:", f":{self.home}:", 1)
        (self.folder / "passwd").write_text(passwd)
        (self.folder / "init.sh").write_text(self._init())
        space = ["unshare", "--pid", "--fork", "--mount", "--uts", "--ipc", "--kill-child", "--mount-proc"]
        with (self.folder / "init.log").open("wb") as log:
            self._outer = subprocess.Popen(
                ["ip", "netns", "exec", self.namespace, *space, "bash", str(self.folder / "init.sh")],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + 20
        while "listening" not in (text := (self.folder / "init.log").read_text()):
            assert self._outer.poll() is None, text
            assert time.monotonic() < deadline, text
            time.sleep(0.05)

    def _init(self) -> str:
        keys = self.folder / "hostkey"
        options = [
            f"ListenAddress={self.address}", f"HostKey={keys}", "PermitRootLogin=prohibit-password",
            "PasswordAuthentication=no", "StrictModes=no", "UsePAM=no", "PidFile=none", "MaxStartups=100",
        ]  # fmt: skip
        return "\n".join(
            [
                "set -e",
                f"hostname {self.name}",
                "mount --make-rprivate /",
                f"mount --bind {self.folder / 'passwd'} /etc/passwd",
                "mkdir -p /tmp/ray /run/sshd",
                f"mount --bind {self.folder / 'ray'} /tmp/ray",
                "mount -t tmpfs -o size=1g tmpfs /dev/shm",
                f"ssh-keygen -q -t ed25519 -N '' -f {keys}",
                f"/usr/sbin/sshd -D -e -f /dev/null {' '.join(f'-o {option}' for option in options)} &",
                "while true; do sleep 3600 & wait $!; done",
            ]
        )

    def run(self, *command: str, cwd: Path | None = None, seconds: float = 120, **environment: str) -> str:
        """Run a command here to its end, as the host's root; returns stdout and stderr together.

        Raises: AssertionError with the output when it fails.
        """
        own: dict[str, object] = {"HOME": self.home, "TMPDIR": self.folder / "tmp", "PATH": _path()}
        own |= {"RAY_USAGE_STATS_ENABLED": 0, **environment}
        words = ["env", "-i", *(f"{name}={value}" for name, value in own.items())]
        done = subprocess.run(
            ["nsenter", "-t", self._pid(), "-n", "-p", "-m", "-u", "-i", f"--wd={cwd or self.home}", *words, *command],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=seconds,
        )  # fmt: skip
        assert done.returncode == 0, f"{self.name}: {command} ended with {done.returncode}:\n{done.stdout}"
        return done.stdout

    def _pid(self) -> str:
        assert self._outer is not None
        (inner,) = subprocess.check_output(["pgrep", "-P", str(self._outer.pid)], text=True).split()
        return inner

    def end(self) -> None:
        """SIGKILL to everything on the host."""
        if self._outer is not None and self._outer.poll() is None:
            os.kill(int(self._pid()), signal.SIGKILL)
            self._outer.wait(timeout=20)


def _path() -> str:
    return f"{Path(sys.executable).parent}:/usr/bin:/bin:/usr/sbin"


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)
