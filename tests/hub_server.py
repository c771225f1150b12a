"""A stand-in for the Hugging Face hub: what ``HfApi`` and ``snapshot_download`` ask of it, in memory.

Files of ``*.safetensors`` take the way of large files (batch, upload, pointer), others that of small ones.
"""

import base64
import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Hub(ThreadingHTTPServer):
    """Repositories by id, each a list of commits; a commit is a dict of contents by path."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.repos: dict[str, list[tuple[str, dict[str, bytes]]]] = {}
        self.private: dict[str, bool] = {}
        self.large: dict[str, bytes] = {}
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def __enter__(self):
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()

    def commit(self, repo: str, files: dict[str, bytes]) -> str:
        commits = self.repos.setdefault(repo, [])
        sha = hashlib.sha1(f"{repo} {len(commits)}".encode()).hexdigest()
        commits.append((sha, files))
        return sha

    def files_at(self, repo: str, revision: str = "main") -> tuple[str, dict[str, bytes]] | None:
        commits = self.repos.get(repo, [])
        found = [c for c in commits if revision == c[0]] or (commits[-1:] if revision == "main" else [])
        return found[0] if found else None


class Handler(BaseHTTPRequestHandler):
    """Each request, by its method and path."""

    server: Hub
    routes = {
        r"POST /api/repos/create": "create",
        r"POST /api/validate-yaml": "validate",
        r"GET /api/models/(?P<repo>[^/]+/[^/]+)(/revision/(?P<revision>\w+))?": "info",
        r"GET /api/models/(?P<repo>[^/]+/[^/]+)/tree/(?P<revision>\w+)": "tree",
        r"POST /api/models/(?P<repo>[^/]+/[^/]+)/preupload/(?P<revision>\w+)": "preupload",
        r"POST /(?P<repo>[^/]+/[^/]+)\.git/info/lfs/objects/batch": "batch",
        r"PUT /upload/(?P<oid>\w+)": "upload",
        r"POST /api/models/(?P<repo>[^/]+/[^/]+)/commit/(?P<revision>\w+)": "commit",
        r"(GET|HEAD) /(?P<repo>[^/]+/[^/]+)/resolve/(?P<revision>\w+)/(?P<path>.+)": "resolve",
    }

    def handle_any(self):
        asked = f"{self.command} {self.path.partition('?')[0]}"
        self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        for pattern, name in self.routes.items():
            if match := re.fullmatch(pattern, asked):
                named = {key: value for key, value in match.groupdict().items() if value is not None}
                getattr(self, name)(**named)
                return
        self.reply({"error": f"nothing at {asked}"}, status=404)

    do_GET = do_HEAD = do_POST = do_PUT = handle_any

    def reply(self, content, status=200, **headers):
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def find(self, repo, revision):
        found = self.server.files_at(repo, revision)
        if found is None:
            code = "RevisionNotFound" if repo in self.server.repos else "RepoNotFound"
            self.reply({"error": code}, status=404, X_Error_Code=code)
        return found

    def create(self):
        asked = json.loads(self.body)
        repo = f"{asked['organization']}/{asked['name']}"
        if repo in self.server.repos:
            self.reply({"url": f"{self.server.url}/{repo}"}, status=409)
            return
        self.server.private[repo] = asked.get("visibility") == "private" or bool(asked.get("private"))
        self.server.commit(repo, {".gitattributes": b""})
        self.reply({"url": f"{self.server.url}/{repo}", "id": repo})

    def validate(self):
        self.reply({"errors": [], "warnings": []})

    def info(self, repo, revision="main"):
        if found := self.find(repo, revision):
            siblings = [{"rfilename": path} for path in found[1]]
            self.reply({"id": repo, "modelId": repo, "sha": found[0], "siblings": siblings, "tags": []})

    def tree(self, repo, revision):
        if found := self.find(repo, revision):
            self.reply([entry(path, content) for path, content in found[1].items()])

    def preupload(self, repo, revision):
        files = json.loads(self.body)["files"]
        modes = [
            {
                "path": f["path"],
                "uploadMode": "lfs" if f["path"].endswith(".safetensors") else "regular",
                "shouldIgnore": False,
            }
            for f in files
        ]
        self.reply({"files": modes})

    def batch(self, repo):
        objects = json.loads(self.body)["objects"]
        for item in objects:
            item["actions"] = {"upload": {"href": f"{self.server.url}/upload/{item['oid']}"}}
        self.reply({"transfer": "basic", "objects": objects})

    def upload(self, oid):
        assert hashlib.sha256(self.body).hexdigest() == oid
        self.server.large[oid] = self.body
        self.reply({})

    def commit(self, repo, revision):
        files = dict(self.server.files_at(repo)[1])
        for line in map(json.loads, self.body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.server.large[value["oid"]]
            elif line["key"] == "deletedFile":
                del files[value["path"]]
        sha = self.server.commit(repo, files)
        self.reply({"commitUrl": f"{self.server.url}/{repo}/commit/{sha}", "commitOid": sha})

    def resolve(self, repo, revision, path):
        if found := self.find(repo, revision):
            content = found[1][path]
            etag = entry(path, content).get("lfs", {}).get("oid") or git_id(content)
            self.reply(content, ETag=f'"{etag}"', X_Repo_Commit=found[0])

    def log_message(self, *_):
        pass


def git_id(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def entry(path: str, content: bytes) -> dict:
    said = {"type": "file", "path": path, "size": len(content), "oid": git_id(content)}
    if path.endswith(".safetensors"):
        said["lfs"] = {
            "oid": hashlib.sha256(content).hexdigest(),
            "size": len(content),
            "pointerSize": 134,
        }
    return said
