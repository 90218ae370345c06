"""One gateway under test: its process, its jobs, its costs."""

import contextlib
import json
import os
import re
import signal
import subprocess
import threading
import time
from urllib.parse import urlsplit

from wire import Connection

TICKS = os.sysconf("SC_CLK_TCK")


class Gateway:
    """Runs until `stop`; everything it writes lies in `folder`."""

    def __init__(self, binary, folder, roots, settings):
        self.folder = folder
        ready = os.path.join(folder, "ready")
        environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("GHOSTSTREAM__")},
            "GHOSTSTREAM__SOURCES__ROOTS": json.dumps(roots),
            "GHOSTSTREAM__TRANSCODING__TEMP_DIRECTORY": os.path.join(folder, "cache"),
            "GHOSTSTREAM__STORAGE__DIRECTORY": os.path.join(folder, "data"),
            # Raw ffmpeg encodes in software too; and what hardware there is was not tested yet.
            "GHOSTSTREAM__HARDWARE__PREFER_HW_ACCEL": "false",
            **settings,
        }
        self.log_path = os.path.join(folder, "gateway.log")
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(
                [binary, "--host", "127.0.0.1", "--port", "0", "--ready-file", ready, "--log-level", "warning",
                 "--log-format", "text"],
                cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=os.setpgrp)
        self.pid = self.process.pid
        deadline = time.monotonic() + 60
        while not (os.path.exists(ready) and os.path.getsize(ready)):
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise SystemExit(f"bench: the gateway did not start:\n{self.log()}")
            time.sleep(0.02)
        with open(ready) as f:
            address = urlsplit(f.read().strip())
        self.connection = Connection(address.hostname, address.port)

    def another_connection(self):
        return Connection(*self.connection.address)

    @contextlib.contextmanager
    def watch_encoder(self):
        """Gives a function that says, at the end, what the last ffmpeg's command line was."""
        lines = []
        ended = threading.Event()

        def look():
            while not ended.wait(0.002):
                for pid in self.children():
                    try:
                        with open(f"/proc/{pid}/cmdline", "rb") as f:
                            words = f.read().decode().split("\0")[:-1]
                    except OSError:
                        continue
                    if words and os.path.basename(words[0]) == "ffmpeg":
                        lines.append(words)

        watcher = threading.Thread(target=look)
        watcher.start()
        try:
            yield lambda: lines[-1] if lines else None
        finally:
            ended.set()
            watcher.join()

    def reconnect(self):
        """A fresh connection: the gateway closes those that ask nothing for some seconds."""
        self.connection.open()

    def log(self):
        with open(self.log_path, errors="replace") as f:
            return f.read()[-2000:]

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                os.killpg(self.pid, signal.SIGKILL)
                self.process.wait()

    # ---- requests, over one connection that is kept alive

    def ask(self, method, path, body=None):
        answer = self.connection.request(method, path, body)
        if answer.status != 200:
            raise RuntimeError(f"{method} {path}: {answer.status} {bytes(answer.body[:300])!r}")
        return answer

    def json(self, method, path, body=None):
        return json.loads(self.ask(method, path, None if body is None else json.dumps(body).encode()).body)

    def start(self, source, output):
        return Job(self, self.json("POST", "/api/transcode/start", {"source": source, "output": output})["job_id"])

    # ---- costs

    def children(self):
        """Live descendants: the encoders."""
        found = []
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                try:
                    with open(f"/proc/{entry}/stat") as f:
                        fields = f.read().rsplit(")", 1)[1].split()
                except OSError:
                    continue
                if int(fields[1]) == self.pid:
                    found.append(int(entry))
        return found

    def wait_for_quiet(self):
        """Waits until no encoder is left."""
        deadline = time.monotonic() + 20
        while self.children():
            if time.monotonic() > deadline:
                raise RuntimeError("encoders are left 20 s after the end of their job")
            time.sleep(0.02)

    def cpu(self):
        """Seconds of processor time: of the gateway itself, and of its children that have ended."""
        with open(f"/proc/{self.pid}/stat") as f:
            fields = f.read().rsplit(")", 1)[1].split()
        own, ended = sum(map(int, fields[11:13])), sum(map(int, fields[13:15]))
        return own / TICKS, ended / TICKS

    def memory(self):
        """Resident memory in bytes: all, the part that is not file-backed, and the peak."""
        with open(f"/proc/{self.pid}/status") as f:
            text = f.read()
        kib = {name: int(value) for name, value in re.findall(r"^(VmRSS|RssAnon|VmHWM):\s+(\d+)", text, re.M)}
        return {"rss": kib["VmRSS"] * 1024, "anonymous": kib["RssAnon"] * 1024, "peak": kib["VmHWM"] * 1024}


class Job:
    def __init__(self, gateway, job_id):
        self.gateway = gateway
        self.id = job_id
        self.segments = None

    def load(self):
        """Reads the playlist: name, start and length of every segment."""
        text = self.gateway.ask("GET", f"/stream/{self.id}/master.m3u8").body.decode()
        lengths = [float(x) for x in re.findall(r"#EXTINF:([\d.]+)", text)]
        names = [line for line in text.splitlines() if line and not line.startswith("#")]
        if len(lengths) != len(names) or not names:
            raise RuntimeError("only streams of one media playlist are measured (H.264 with AAC)")
        starts = [sum(lengths[:i]) for i in range(len(lengths))]
        self.segments = list(zip(names, starts, lengths))
        return self

    def fetch(self, index):
        return self.gateway.ask("GET", f"/stream/{self.id}/{self.segments[index][0]}")

    def delete(self):
        self.gateway.json("DELETE", f"/api/transcode/{self.id}")
        self.gateway.wait_for_quiet()
