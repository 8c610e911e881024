"""``upstream.py SOCKET NAME``: answers on a Unix socket with what it was asked, as JSON."""

import json
import sys
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingMixIn, UnixStreamServer


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if not self.has_whole_body():
            self.close_connection = True
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = json.dumps({"by": sys.argv[2], "path": self.path, "headers": headers}).encode()
        self.send_response(404 if self.path == "/-/instance-unavailable" else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET

    def has_whole_body(self) -> bool:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            length = int(self.headers.get("Content-Length", 0))
            return len(self.rfile.read(length)) == length
        while line := self.rfile.readline():
            if not line.strip():  # after the last chunk
                return True
            self.rfile.read(int(line, 16) and int(line, 16) + 2)
        return False

    def log_message(self, format: str, *args: object) -> None:
        """Nobody reads it."""

    def address_string(self) -> str:
        return "unix"


class Server(ThreadingMixIn, UnixStreamServer):
    daemon_threads = True


if __name__ == "__main__":
    Path(sys.argv[1]).unlink(missing_ok=True)
    Server(sys.argv[1], Handler).serve_forever()
