"""A film scene by scene on several machines, which are simulated: engines whose encoder keeps a fixed pace."""

import os
import shutil
import signal
import subprocess
import time

SCENES, PICTURES = 32, 24
# Seconds for a picture: long beside what a scene costs the one machine that all of them really are.
PACE = 0.08
MACHINES = (1, 2, 4, 8)


class Farm:
    """Engines beside a gateway, until `stop`."""

    def __init__(self, binary, folder, gateway, machines):
        programs = os.path.join(folder, "programs")
        if not os.path.isdir(programs):
            os.mkdir(programs)
            script = os.path.join(os.path.dirname(os.path.realpath(__file__)), "paced_aomenc.py")
            os.symlink(script, os.path.join(programs, "aomenc"))
        template = os.path.join(folder, "template.ivf")
        if not os.path.exists(template):
            subprocess.run(["ffmpeg", "-v", "error", "-y", "-f", "lavfi", "-i", "color=gray:s=64x36:r=24", "-frames:v", "1",
                            "-c:v", "libaom-av1", "-cpu-used", "8", "-f", "ivf", template], check=True)
        host, port = gateway.connection.address
        self.engines = []
        for nth in range(machines):
            home = os.path.join(folder, f"machine-{nth}")
            shutil.rmtree(home, ignore_errors=True)
            os.mkdir(home)
            environment = {
                **{k: v for k, v in os.environ.items() if not k.startswith("GHOSTSTREAM__")},
                "PATH": programs + os.pathsep + os.environ["PATH"], "PACE": str(PACE), "TEMPLATE": template,
                "GHOSTSTREAM__TRANSCODING__TEMP_DIRECTORY": os.path.join(home, "cache"),
                "GHOSTSTREAM__HARDWARE__PREFER_HW_ACCEL": "false",
            }
            with open(os.path.join(home, "log"), "wb") as log:
                self.engines.append(subprocess.Popen(
                    [binary, "engine", "--server", f"http://{host}:{port}", "--id", f"machine-{nth}", "--concurrency", "1"],
                    cwd=home, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log))

    def wait(self, gateway):
        """Until all ask for work: at their start they measure this machine, which is that of all of them."""
        while sum(e["alive"] for e in gateway.json("GET", "/api/v2/engines")["engines"]) < len(self.engines):
            time.sleep(0.1)

    def stop(self):
        for engine in self.engines:
            engine.send_signal(signal.SIGTERM)
        for engine in self.engines:
            engine.wait(30)


def film(folder):
    """Small, of scenes that all have the same length."""
    path = os.path.join(folder, "farm.mkv")
    luma = f"geq=lum='mod(floor(N/{PICTURES})*97,219)+16':cb=128:cr=128"
    subprocess.run(["ffmpeg", "-v", "error", "-y", "-f", "lavfi", "-i", "color=black:s=64x36:r=24", "-vf", luma,
                    "-frames:v", str(SCENES * PICTURES), "-pix_fmt", "yuv420p", "-c:v", "libx264", "-preset", "ultrafast",
                    "-qp", "10", path], check=True)
    return path


def encode(gateway, source):
    """Seconds from the moment at which scenes are handed out until all are encoded, and to the joined file."""
    body = {"input": [source], "encoder": "aom", "encoder_params": "--cpu-used=8", "id": "farm", "min_frames": PICTURES,
            "max_frames": PICTURES}
    if not (answer := gateway.json("POST", "/api/add_project", body))["success"]:
        raise RuntimeError(answer["reason"])
    ready = encoded = None
    while True:
        state = gateway.json("GET", "/api/get_project/farm")
        now = time.monotonic()
        if state["status"] == "failed":
            raise RuntimeError(state["reason"])
        if state["total_jobs"] and state["status"] not in ("starting", "splitting", "verifying split"):
            ready = ready or now
            if state["jobs"] == 0:
                encoded = encoded or now
        if state["status"] == "complete":
            break
        time.sleep(0.02)
    gateway.json("POST", "/api/delete_project/farm", {})
    return encoded - ready, now - ready
