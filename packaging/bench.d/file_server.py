"""A static file server with ranges, in a process of its own: `python3 file_server.py FOLDER`.

Prints its port and serves until its standard input ends. `/sent` is the number of bytes of files that it has
sent so far.
"""

import http.server
import os
import re
import socketserver
import sys
import threading
from urllib.parse import unquote


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_HEAD(self):
        self.answer(False)

    def do_GET(self):
        self.answer(True)

    def answer(self, with_body):
        if self.path == "/sent":
            text = str(self.server.sent).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)
            return
        path = os.path.join(self.server.folder, os.path.basename(unquote(self.path)))
        try:
            file = open(path, "rb")
        except OSError:
            self.send_error(404)
            return
        with file:
            facts = os.fstat(file.fileno())
            size = facts.st_size
            first, last, status = 0, size - 1, 200
            if asked := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
                first = int(asked[1])
                last = min(int(asked[2]), last) if asked[2] else last
                status = 206
                if first >= size:
                    self.send_response(416)
                    self.send_header("Content-Range", f"bytes */{size}")
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
            self.send_response(status)
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("Last-Modified", self.date_time_string(facts.st_mtime))
            self.send_header("ETag", f'"{facts.st_mtime_ns:x}"')
            self.send_header("Content-Type", "application/octet-stream")
            self.send_header("Content-Length", str(last - first + 1))
            if status == 206:
                self.send_header("Content-Range", f"bytes {first}-{last}/{size}")
            self.end_headers()
            self.wfile.flush()
            while with_body and first <= last:
                try:
                    sent = os.sendfile(self.connection.fileno(), file.fileno(), first, min(last - first + 1, 1 << 20))
                except OSError:
                    self.close_connection = True
                    return
                first += sent
                with self.server.lock:
                    self.server.sent += sent

    def log_message(self, *_):
        pass


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    lock = threading.Lock()
    sent = 0


if __name__ == "__main__":
    server = Server(("127.0.0.1", 0), Handler)
    server.folder = sys.argv[1]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_port, flush=True)
    sys.stdin.read()
