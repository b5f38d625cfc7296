"""A small server with the protocol of the Hugging Face hub: one branch, files in memory."""

from __future__ import annotations

import base64
import hashlib
import json
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread


class _Handler(BaseHTTPRequestHandler):
    def log_message(self, *arguments):
        pass

    def _answer(self, content: bytes | dict | list, status: int = 200, **headers: str) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def do_POST(self):
        files, body = self.server.files, self._body()
        if self.path == "/api/repos/create":
            self._answer({"url": f"{self.server.url}/user/model"})
        elif "/preupload/" in self.path:
            found = [
                {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False}
                for file in json.loads(body)["files"]
            ]
            self._answer({"files": found})
        elif "/commit/" in self.path:
            for line in map(json.loads, body.splitlines()):
                value = line["value"]
                if line["key"] == "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                elif line["key"] == "deletedFile":
                    files.pop(value["path"], None)
            self.server.n_commits += 1
            url = f"{self.server.url}/user/model/commit/{self.server.sha}"
            self._answer({"success": True, "commitOid": self.server.sha, "commitUrl": url})
        elif self.path.startswith("/api/validate-yaml"):
            self._answer({"errors": [], "warnings": []})
        else:
            self._answer({"error": self.path}, 404)

    def do_GET(self):
        files, sha = self.server.files, self.server.sha
        path = self.path.partition("?")[0]
        if "/resolve/" in path:
            name = path.partition("/resolve/")[2].partition("/")[2]
            if name not in files:
                self._answer(b"", 404, X_Error_Code="EntryNotFound")
                return
            etag = hashlib.sha1(files[name]).hexdigest()
            self._answer(files[name], ETag=f'"{etag}"', X_Repo_Commit=sha)
        elif "/tree/" in path:
            self._answer(
                [
                    {"type": "file", "path": name, "size": len(content), "oid": "0" * 40}
                    for name, content in sorted(files.items())
                ]
            )
        elif path.startswith("/api/models/"):
            siblings = [{"rfilename": name} for name in sorted(files)]
            self._answer({"id": "user/model", "sha": sha, "siblings": siblings, "private": False})
        else:
            self._answer({"error": path}, 404)

    do_HEAD = do_GET


class _Hub(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.n_commits = 0
        self.url = f"http://127.0.0.1:{self.server_port}"

    @property
    def sha(self) -> str:
        return f"{self.n_commits:040x}"


@contextmanager
def serve_hub():
    """The server, which runs until the block ends."""
    with _Hub() as hub:
        thread = Thread(target=hub.serve_forever)
        thread.start()
        try:
            yield hub
        finally:
            hub.shutdown()
            thread.join()
