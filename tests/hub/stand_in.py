"""A small model Hub on loopback: what loading and pushing need of the Hub's HTTP behaviour, and its accidents."""

import base64
import hashlib
import json
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import unquote, urlsplit

# The Hub keeps large files apart, under their SHA-256; these are the ones that a model folder has.
LARGE_SUFFIXES = (".safetensors",)


def git_blob_id(content: bytes) -> str:
    """Name that git gives a file's content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@dataclass
class Repository:
    """Commits (id -> path -> content) and the names that point at them."""

    private: bool = False
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)

    def commit(self, files: dict[str, bytes], *names: str) -> str:
        """Add a commit and let branches or tags point at it. Returns its id."""
        listing = "".join(f"{path} {git_blob_id(content)}\n" for path, content in sorted(files.items()))
        commit = hashlib.sha1(listing.encode()).hexdigest()
        self.commits[commit] = dict(files)
        self.names.update(dict.fromkeys(names, commit))
        return commit


class HubStandIn:
    """Serves repositories at `endpoint` while used as a context manager.

    Attributes:
        repositories: repo id -> Repository; of a Space `spaces/ORG/NAME`.
        token: what a client must present for private repositories, and for pushing.
        card_errors: what the Hub's validation says against a card that is pushed; empty accepts it.
        loses_answers: commits are taken, and the connection breaks before that is said.
        received: large files that were sent, by SHA-256.
        cut_after: the connection is closed at this byte of a large file; None serves it whole.
        cuts_left: how many more answers are cut.
        wrong_byte: position of a byte of large files that is flipped on its way; None leaves them right.
        refusal: status and error code with which every request is answered; None answers as usual.
        etag: how a mirror announces a file's content, large ones too, which it serves itself; None does as the Hub.
        answers: counts of "METHOD status path" that were given.
    """

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.token = "hf_right"
        self.restore()
        self.answers: Counter[str] = Counter()
        self.card_errors: list[str] = []
        self.loses_answers = False
        self.received: dict[str, bytes] = {}
        self._servers: list[ThreadingHTTPServer] = []

    def restore(self) -> None:
        """End all accidents."""
        self.cut_after: int | None = None
        self.cuts_left = 0
        self.wrong_byte: int | None = None
        self.etag: Callable[[bytes], str] | None = None
        self.refusal: tuple[int, str] | None = None

    @property
    def endpoint(self) -> str:
        """Base address for HF_ENDPOINT."""
        return f"http://127.0.0.1:{self._servers[0].server_address[1]}"

    @property
    def storage(self) -> str:
        """Base address of large files; like the Hub's it is another host than the endpoint's."""
        return f"http://127.0.0.1:{self._servers[1].server_address[1]}"

    def __enter__(self) -> "HubStandIn":
        handler = type("Handler", (_Handler,), {"hub": self})
        self._servers = [ThreadingHTTPServer(("127.0.0.1", 0), handler) for _ in range(2)]
        for server in self._servers:
            threading.Thread(target=server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: HubStandIn

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def do_DELETE(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = unquote(urlsplit(self.path).path).strip("/").split("/")
        if parts == ["api", "repos", "delete"]:
            wanted = json.loads(body)
            self.hub.repositories.pop(self._repo_id(wanted))
        else:
            self.hub.repositories[self._place(parts)].names.pop(parts[5])
        self._send_json({})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = unquote(urlsplit(self.path).path)
        parts = path.strip("/").split("/")
        if path == "/api/validate-yaml":
            errors = [{"message": message} for message in self.hub.card_errors]
            self._send_json({"errors": errors, "warnings": []}, 400 if errors else 200)
        elif self.headers.get("Authorization") != f"Bearer {self.hub.token}":
            self._refuse(401, "", "Invalid username or password.")
        elif path == "/api/repos/create":
            self._create(json.loads(body))
        elif parts[0] == "api" and parts[4:5] == ["branch"]:
            self._branch(self._place(parts), parts[5])
        elif path.endswith(".git/info/lfs/objects/batch"):
            self._offer_places(json.loads(body))
        elif parts[0] == "api" and parts[1] in ("models", "spaces") and parts[4:5] == ["preupload"]:
            self._sort_files(json.loads(body))
        elif parts[0] == "api" and parts[1] in ("models", "spaces") and parts[4:5] == ["commit"]:
            self._commit(self._place(parts), parts[5], body)
        else:
            self._refuse(404, "EntryNotFound", f"no such page: {path}")

    def do_PUT(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        digest = urlsplit(self.path).path.rsplit("/", 1)[-1]
        if hashlib.sha256(content).hexdigest() != digest:
            self._refuse(400, "", "the content does not have the digest that was announced")
            return
        self.hub.received[digest] = content
        self._send(200, b"", {})

    def _create(self, wanted: dict[str, Any]) -> None:
        repo_id = self._repo_id(wanted)
        if wanted.get("type") == "space" and wanted.get("sdk") != "gradio":
            self._refuse(400, "", "a Space needs its SDK")
            return
        if repo_id in self.hub.repositories:
            self._send_json({"error": "You already created this model repo", "url": self._page(repo_id)}, 409)
            return
        repository = Repository(private=wanted.get("visibility") == "private")
        repository.commit({".gitattributes": b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n"}, "main")
        self.hub.repositories[repo_id] = repository
        self._send_json({"url": self._page(repo_id)})

    @staticmethod
    def _repo_id(wanted: dict[str, Any]) -> str:
        """Key in `repositories` of the repository that a request's body names."""
        name = "/".join(part for part in (wanted.get("organization"), wanted["name"]) if part)
        return f"spaces/{name}" if wanted.get("type") == "space" else name

    @staticmethod
    def _place(parts: list[str]) -> str:
        """Key in `repositories` of the repository that a path below /api names."""
        return "/".join(parts[2:4] if parts[1] == "models" else parts[1:4])

    def _branch(self, repo_id: str, branch: str) -> None:
        """A new branch that starts at main; names that git would not take are refused."""
        repository = self.hub.repositories[repo_id]
        if branch in repository.names or ".." in branch:
            self._refuse(409 if branch in repository.names else 400, "", f"Invalid branch {branch}")
            return
        repository.names[branch] = repository.names["main"]
        self._send_json({})

    def _page(self, repo_id: str) -> str:
        return f"{self.hub.endpoint}/{repo_id}"

    def _sort_files(self, wanted: dict[str, Any]) -> None:
        """Which files go to the large store first, and which with the commit."""
        files = [
            {
                "path": file["path"],
                "uploadMode": "lfs" if file["path"].endswith(LARGE_SUFFIXES) else "regular",
                "shouldIgnore": False,
            }
            for file in wanted["files"]
        ]
        self._send_json({"files": files})

    def _offer_places(self, wanted: dict[str, Any]) -> None:
        objects = [
            {
                "oid": item["oid"],
                "size": item["size"],
                "actions": {"upload": {"href": f"{self.hub.storage}/upload/{item['oid']}"}},
            }
            for item in wanted["objects"]
        ]
        self._send_json({"transfer": "basic", "objects": objects})

    def _commit(self, repo_id: str, branch: str, body: bytes) -> None:
        """Lines of JSON: a header, then files with their content or the digest of a large one."""
        found = self._find(repo_id, branch)
        if found is None:
            return
        files = dict(found[1])
        for line in body.decode().splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                files[value["path"]] = self.hub.received[value["oid"]]
        commit = self.hub.repositories[repo_id].commit(files, branch)
        if self.hub.loses_answers:
            self.close_connection = True
            return
        self._send_json({"commitUrl": f"{self._page(repo_id)}/commit/{commit}", "commitOid": commit})

    def log_message(self, format: str, *args: object) -> None:
        pass

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        parts = path.strip("/").split("/")
        if self.hub.refusal is not None:
            self._refuse(*self.hub.refusal, "refused")
        elif parts[0] == "content":
            self._send_large(parts[1])
        elif parts[0] == "api" and parts[1] in ("models", "spaces"):
            self._answer_api(self._place(parts), parts[4:])
        elif len(parts) > 4 and parts[2] == "resolve":
            self._answer_file("/".join(parts[:2]), parts[3], "/".join(parts[4:]))
        else:
            self._refuse(404, "EntryNotFound", f"no such page: {path}")

    def _find(self, repo_id: str, revision: str) -> tuple[str, dict[str, bytes]] | None:
        """Commit and its files, or None after an error was sent."""
        repository = self.hub.repositories.get(repo_id)
        allowed = self.headers.get("Authorization") == f"Bearer {self.hub.token}"
        if repository is None or (repository.private and not allowed):
            # Like the Hub: without a token nobody learns whether a repository is private or missing.
            self._refuse(404 if allowed else 401, "RepoNotFound", "Repository not found")
            return None
        commit = repository.names.get(revision, revision)
        if commit not in repository.commits:
            self._refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
            return None
        return commit, repository.commits[commit]

    def _answer_api(self, repo_id: str, rest: list[str]) -> None:
        revision = rest[1] if len(rest) > 1 else "main"
        found = self._find(repo_id, revision)
        if found is None:
            return
        commit, files = found
        if rest[:1] == ["tree"]:
            self._send_json([self._tree_entry(path, content) for path, content in sorted(files.items())])
            return
        siblings = [{"rfilename": path} for path in sorted(files)]
        private = self.hub.repositories[repo_id].private
        self._send_json(
            {"id": repo_id, "modelId": repo_id, "sha": commit, "private": private, "siblings": siblings}
        )

    @staticmethod
    def _tree_entry(path: str, content: bytes) -> dict[str, object]:
        entry = {"type": "file", "path": path, "size": len(content), "oid": git_blob_id(content)}
        if path.endswith(LARGE_SUFFIXES):
            digest = hashlib.sha256(content).hexdigest()
            return {**entry, "lfs": {"oid": digest, "size": len(content), "pointerSize": 134}}
        return entry

    def _answer_file(self, repo_id: str, revision: str, path: str) -> None:
        found = self._find(repo_id, revision)
        if found is None:
            return
        commit, files = found
        if path not in files:
            self._refuse(404, "EntryNotFound", "Entry not found", {"X-Repo-Commit": commit})
            return
        content = files[path]
        headers = {"X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
        large = path.endswith(LARGE_SUFFIXES)
        if self.hub.etag is not None:
            sent = self._spoiled(content) if large else content
            self._send(200, sent, {**headers, "ETag": self.hub.etag(content)})
            return
        if not large:
            self._send(200, content, {**headers, "ETag": f'"{git_blob_id(content)}"'})
            return
        digest = hashlib.sha256(content).hexdigest()
        headers["X-Linked-Etag"] = f'"{digest}"'
        headers["X-Linked-Size"] = str(len(content))
        self._send(302, b"", {**headers, "Location": f"{self.hub.storage}/content/{digest}"})

    def _send_large(self, digest: str) -> None:
        """A large file by its SHA-256, whole or from `Range: bytes=N-` on, with the accidents asked for."""
        commits = [c for repository in self.hub.repositories.values() for c in repository.commits.values()]
        by_digest = {hashlib.sha256(content).hexdigest(): content for c in commits for content in c.values()}
        content = self._spoiled(by_digest[digest])
        wanted = self.headers.get("Range", "")
        start = int(wanted.removeprefix("bytes=").split("-")[0]) if wanted else 0
        headers = {"ETag": f'"{digest}"', "Accept-Ranges": "bytes"}
        if wanted:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        body = content[start:]
        cut = None
        if self.hub.cut_after is not None and self.hub.cuts_left > 0 and self.command == "GET":
            self.hub.cuts_left -= 1
            cut = max(self.hub.cut_after - start, 0)
        self._send(206 if wanted else 200, body, headers, cut)

    def _spoiled(self, content: bytes) -> bytes:
        spoiled = bytearray(content)
        if self.hub.wrong_byte is not None:
            spoiled[self.hub.wrong_byte] ^= 1
        return bytes(spoiled)

    def _send_json(self, value: object, status: int = 200) -> None:
        self._send(status, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _refuse(self, status: int, code: str, message: str, headers: dict[str, str] | None = None) -> None:
        body = json.dumps({"error": message}).encode()
        self._send(status, body, {**(headers or {}), "X-Error-Code": code, "X-Error-Message": message})

    def _send(self, status: int, body: bytes, headers: dict[str, str], cut: int | None = None) -> None:
        self.hub.answers[f"{self.command} {status} {urlsplit(self.path).path}"] += 1
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[:cut])
        if cut is not None:
            self.close_connection = True
