"""A Hugging Face hub on loopback: what huggingface_hub asks of one to make, fill, list and download a model repository.

Files that are kept as LFS are sent by the batch API, which huggingface_hub uses where it has no Xet
(HF_HUB_DISABLE_XET=1). A commit is refused as the hub refuses it: for a wrong token, an unknown licence, an object
that was never sent.
"""

import base64
import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import yaml

LICENCES = {"mit", "cc0-1.0", "apache-2.0", "unknown"}
WRITER, READER = "hf_writer0123456789abcdef", "hf_reader0123456789abcdef"
ACCOUNT = {
    "name": "carabus",
    "type": "user",
    "orgs": [
        {"name": "entomologists", "type": "org", "roleInOrg": "write"},
        {"name": "visitors", "type": "org", "roleInOrg": "read"},
    ],
}


@dataclass
class Repository:
    """commits: path -> bytes, the newest last."""

    private: bool
    commits: list[dict[str, bytes]] = field(default_factory=lambda: [{".gitattributes": b"*.safetensors filter=lfs\n"}])

    @property
    def files(self) -> dict[str, bytes]:
        return self.commits[-1]

    @property
    def sha(self) -> str:
        return hashlib.sha1(str(len(self.commits)).encode()).hexdigest()


class Hub:
    """repositories: by OWNER/NAME. requests: (method, path) of each in order; bodies: what was sent with them."""

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.objects: dict[str, bytes] = {}
        self.requests: list[tuple[str, str]] = []
        self.broken: str | None = None
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def sent(self) -> list[tuple[str, str]]:
        """The requests that change something."""
        of_change = re.compile(r"/api/repos/create|/preupload/|/objects/|/lfs/|/commit/")
        return [request for request in self.requests if of_change.search(request[1])]

    def environment(self, token: str | None = WRITER) -> dict[str, str]:
        """What a process needs to use it, and no other."""
        given = {"HF_ENDPOINT": self.endpoint, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"}
        return given | ({} if token is None else {"HF_TOKEN": token})

    def end(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                """Nothing."""

            def _serve(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = self._chunks() if self.headers.get("Transfer-Encoding") == "chunked" else self.rfile.read(length)
                path = self.path.partition("?")[0]
                hub.requests.append((self.command, path))
                token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
                status, content, headers = hub.answer(self.command, path, body, token)
                self.send_response(status)
                for name, value in {"Content-Length": str(len(content)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(content)

            def _chunks(self) -> bytes:
                parts = []
                while size := int(self.rfile.readline(), 16):
                    parts.append(self.rfile.read(size))
                    self.rfile.readline()
                self.rfile.readline()
                return b"".join(parts)

            do_GET = do_HEAD = do_POST = do_PUT = _serve

        return Handler

    def answer(self, method: str, path: str, body: bytes, token: str) -> tuple[int, bytes, dict[str, str]]:
        """Status, content, headers."""
        if self.broken is not None and re.search(self.broken, path):
            return _error(403, "the disk of the hub is full")
        if path.startswith("/lfs/"):
            self.objects[path.removeprefix("/lfs/")] = body
            return _json({})
        if path == "/api/validate-yaml":
            return _validated(json.loads(body)["content"])
        if token not in (WRITER, READER):
            return _error(401, "Invalid credentials in Authorization header")
        if path == "/api/whoami-v2":
            role = "write" if token == WRITER else "read"
            return _json({**ACCOUNT, "auth": {"type": "access_token", "accessToken": {"role": role}}})
        if path == "/api/repos/create":
            return self._create(json.loads(body))
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/(preupload|commit|revision|tree)/([^/?]+))?", path):
            return self._of_repository(found[1], found[2], body)
        if found := re.fullmatch(r"/([^/]+/[^/]+)\.git/info/lfs/objects/batch", path):
            return self._batch(json.loads(body))
        if found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            return self._file(found[1], found[3])
        return _error(404, f"{method} {path}")

    def _create(self, asked: dict[str, Any]) -> tuple[int, bytes, dict[str, str]]:
        name = f"{asked['organization']}/{asked['name']}"
        if name in self.repositories:
            return _error(409, "You already created this model repo")
        self.repositories[name] = Repository(asked.get("visibility") == "private" or bool(asked.get("private")))
        return _json({"url": f"{self.endpoint}/{name}"})

    def _of_repository(self, name: str, what: str | None, body: bytes) -> tuple[int, bytes, dict[str, str]]:
        if (repository := self.repositories.get(name)) is None:
            return _error(404, "Repository not found", {"X-Error-Code": "RepoNotFound"})
        if what == "preupload":
            wanted = json.loads(body)["files"]
            modes = {file["path"]: "lfs" if file["path"].endswith(".safetensors") else "regular" for file in wanted}
            files = [{"path": path, "uploadMode": mode, "shouldIgnore": False} for path, mode in modes.items()]
            return _json({"files": files})
        if what == "commit":
            return self._commit(name, repository, body)
        if what == "tree":
            return _json(
                [
                    {"type": "file", "path": path, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
                    for path, content in sorted(repository.files.items())
                ]
            )
        card = _metadata(repository.files.get("README.md", b"").decode())
        siblings = [{"rfilename": path} for path in sorted(repository.files)]
        told = {"id": name, "sha": repository.sha, "private": repository.private, "siblings": siblings}
        return _json(told | ({"cardData": card} if card else {}))

    def _commit(self, name: str, repository: Repository, body: bytes) -> tuple[int, bytes, dict[str, str]]:
        files = dict(repository.files)
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                assert value["encoding"] == "base64"
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                if value["oid"] not in self.objects:
                    return _error(400, f"{value['path']} was never sent")
                assert hashlib.sha256(self.objects[value["oid"]]).hexdigest() == value["oid"]
                files[value["path"]] = self.objects[value["oid"]]
            elif line["key"] == "deletedFile":
                del files[value["path"]]
        repository.commits.append(files)
        address = f"{self.endpoint}/{name}/commit/{repository.sha}"
        return _json({"commitUrl": address, "commitOid": repository.sha})

    def _batch(self, asked: dict[str, Any]) -> tuple[int, bytes, dict[str, str]]:
        objects = [
            {**of, "actions": {"upload": {"href": f"{self.endpoint}/lfs/{of['oid']}"}}} for of in asked["objects"]
        ]
        return _json({"transfer": "basic", "objects": objects})

    def _file(self, name: str, path: str) -> tuple[int, bytes, dict[str, str]]:
        repository = self.repositories.get(name)
        if repository is None:
            return _error(404, "Repository not found", {"X-Error-Code": "RepoNotFound"})
        if path not in repository.files:
            return _error(404, "Entry not found", {"X-Error-Code": "EntryNotFound"})
        content = repository.files[path]
        return 200, content, {"ETag": f'"{hashlib.sha256(content).hexdigest()}"', "X-Repo-Commit": repository.sha}


def _metadata(readme: str) -> dict[str, Any]:
    found = re.match(r"---\n(.*?)\n---\n", readme, re.DOTALL)
    return yaml.safe_load(found[1]) if found else {}


def _validated(readme: str) -> tuple[int, bytes, dict[str, str]]:
    """As the hub does: whether there are metadata, and whether it knows their licence."""
    values = _metadata(readme)
    if values.get("license") not in LICENCES:
        message = f'"license" must be one of [{", ".join(sorted(LICENCES))}]'
        return 400, json.dumps({"errors": [{"message": message}], "warnings": []}).encode(), {}
    return _json({"errors": [], "warnings": []})


def _json(value: object) -> tuple[int, bytes, dict[str, str]]:
    return 200, json.dumps(value).encode(), {"Content-Type": "application/json"}


def _error(status: int, message: str, headers: dict[str, str] | None = None) -> tuple[int, bytes, dict[str, str]]:
    named = {"X-Error-Message": message, "Content-Type": "application/json", **(headers or {})}
    return status, json.dumps({"error": message}).encode(), named
