"""A server with the part of the Hugging Face Hub's interface that downloads need."""

import contextlib
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "a" * 40


@contextlib.contextmanager
def serving(repositories):
    """Serves `{USER/NAME: {file: bytes}}`; yields the address and the list of requested paths."""
    requested = []

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_arguments):
            pass

        def do_HEAD(self):
            self._answer(body=False)

        def do_GET(self):
            self._answer(body=True)

        def _answer(self, *, body):
            requested.append(self.path)
            status, content, headers = self._find(self.path.partition("?")[0].strip("/"))
            self.send_response(status)
            for key, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(key, value)
            self.end_headers()
            if body:
                self.wfile.write(content)

        def _find(self, path):
            if path.startswith("api/models/"):
                name = "/".join(path.split("/")[2:4])
                files = repositories.get(name)
                if files is None:
                    return 404, b"{}", {"X-Error-Code": "RepoNotFound"}
                siblings = [{"rfilename": file} for file in files]
                found = {"id": name, "modelId": name, "sha": COMMIT, "siblings": siblings}
                return 200, json.dumps(found).encode(), {"Content-Type": "application/json"}
            user, name, _, revision, *file = path.split("/")
            content = repositories.get(f"{user}/{name}", {}).get("/".join(file))
            if content is None or revision != COMMIT:
                return 404, b"", {"X-Error-Code": "EntryNotFound"}
            tag = hashlib.sha256(content).hexdigest()
            return 200, content, {"ETag": f'"{tag}"', "X-Repo-Commit": COMMIT}

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", requested
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
