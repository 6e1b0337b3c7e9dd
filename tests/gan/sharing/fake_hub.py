"""The part of the hub's HTTP interface that sharing a model takes, on this machine."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "hf_test"
LARGE = ".safetensors", ".png"  # go through LFS, as on the hub


class FakeHub(ThreadingHTTPServer):
    """Models by name, each a list of commits: files by path."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.models: dict[str, list[dict[str, bytes]]] = {}
        self.private: dict[str, bool] = {}
        self.blobs: dict[str, bytes] = {}
        self.unknown: list[str] = []

    def files(self, name: str) -> dict[str, bytes]:
        """Return the files of the newest commit."""
        return self.models[name][-1]


class _Handler(BaseHTTPRequestHandler):
    server: FakeHub
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = self.path.partition("?")[0].strip("/").split("/")
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._answer(401, {"error": "Invalid credentials"})
        elif parts == ["api", "repos", "create"]:
            self._create(json.loads(body))
        elif parts == ["api", "validate-yaml"]:
            self._answer(200, {"errors": [], "warnings": []})
        elif parts[4:5] == ["preupload"]:
            files = [{"path": each["path"], **self._mode(each["path"])} for each in json.loads(body)["files"]]
            self._answer(200, {"files": files})
        elif parts[-2:] == ["objects", "batch"]:
            objects = [self._place(each) for each in json.loads(body)["objects"]]
            self._answer(200, {"transfer": "basic", "objects": objects})
        elif parts[4:5] == ["commit"]:
            self._commit("/".join(parts[2:4]), [json.loads(line) for line in body.splitlines()])
        else:
            self._refuse()

    def do_PUT(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.blobs[hashlib.sha256(content).hexdigest()] = content
        self._answer(200, {})

    def do_GET(self) -> None:
        parts = self.path.partition("?")[0].strip("/").split("/")
        if parts[2:3] == ["resolve"]:
            self._send_file("/".join(parts[:2]), parts[3], "/".join(parts[4:]))
        else:  # what else the client wants to know is not about models
            self._answer(404, {"error": "not known here"})

    def do_HEAD(self) -> None:
        self.do_GET()

    def _create(self, asked: dict[str, Any]) -> None:
        name = "/".join(filter(None, [asked.get("organization"), asked["name"]]))
        known = name in self.server.models
        self.server.models.setdefault(name, [])
        self.server.private.setdefault(name, asked.get("visibility") == "private" or asked.get("private") is True)
        self._answer(409 if known else 200, {"url": f"{self.server.url}/{name}", "name": name})

    def _mode(self, path: str) -> dict[str, Any]:
        return {"uploadMode": "lfs" if path.endswith(LARGE) else "regular", "shouldIgnore": False, "oid": None}

    def _place(self, asked: dict[str, Any]) -> dict[str, Any]:
        upload = {"upload": {"href": f"{self.server.url}/blobs/{asked['oid']}"}}
        return {"oid": asked["oid"], "size": asked["size"], "actions": upload}

    def _commit(self, name: str, operations: list[dict[str, Any]]) -> None:
        commits = self.server.models[name]
        files = dict(commits[-1]) if commits else {}
        for operation in operations:
            value = operation["value"]
            if operation["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif operation["key"] == "lfsFile":
                files[value["path"]] = self.server.blobs[value["oid"]]
        commits.append(files)
        oid = f"{len(commits):040d}"
        self._answer(200, {"commitUrl": f"{self.server.url}/{name}/commit/{oid}", "commitOid": oid, "hookOutput": ""})

    def _send_file(self, name: str, revision: str, path: str) -> None:
        commits = self.server.models.get(name, [])
        number = len(commits) if revision == "main" else int(revision) if revision.isdecimal() else 0
        if not commits:
            self._answer(404, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})
        elif not 1 <= number <= len(commits):
            self._answer(404, {"error": "Invalid rev id"}, {"X-Error-Code": "RevisionNotFound"})
        elif path not in commits[number - 1]:
            self._answer(404, {"error": "Entry not found"}, {"X-Error-Code": "EntryNotFound"})
        else:
            content = commits[number - 1][path]
            etag = f'"{hashlib.sha256(content).hexdigest()}"'
            self._answer(200, content, {"ETag": etag, "X-Repo-Commit": f"{number:040d}"})

    def _refuse(self) -> None:
        self.server.unknown.append(f"{self.command} {self.path}")
        self._answer(404, {"error": "not known here"})

    def _answer(self, code: int, content: Any, headers: dict[str, str] | None = None) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(code)
        for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        if not isinstance(content, bytes):
            self.send_header("Content-Type", "application/json")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def fake_hub() -> Iterator[FakeHub]:
    """Run a hub in a thread."""
    with FakeHub() as hub:
        thread = threading.Thread(target=hub.serve_forever, daemon=True)
        thread.start()
        yield hub
        hub.shutdown()
