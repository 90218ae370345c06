"""A film scene by scene on the gateway's own engine, and by one run of the same encoder."""

import os
import shutil
import subprocess
import time

# Name of the encoder at the gateway, its parameters there, and those of ffmpeg for one run.
ENCODERS = {
    "aom": ("--cpu-used=6 --end-usage=q --cq-level=30",
            ["-c:v", "libaom-av1", "-cpu-used", "6", "-crf", "30", "-b:v", "0", "-pix_fmt", "yuv420p"]),
    "svt-av1": ("--preset 8 --crf 35", ["-c:v", "libsvtav1", "-preset", "8", "-crf", "35"]),
}


def project(gateway, source, encoder, name):
    """Seconds from the request to the joined file, of these until the first scene is at work and for joining; scenes."""
    began = time.monotonic()
    body = {"input": [source], "encoder": encoder, "encoder_params": ENCODERS[encoder][0], "id": name}
    answer = gateway.json("POST", "/api/add_project", body)
    if not answer["success"]:
        raise RuntimeError(answer["reason"])
    ready = encoded = None
    while True:
        state = gateway.json("GET", f"/api/get_project/{name}")
        if (state["workers"] or state["status"] == "ready") and ready is None:
            ready = time.monotonic() - began
        if state["total_jobs"] and state["jobs"] == 0 and encoded is None:
            encoded = time.monotonic() - began
        if state["status"] == "complete":
            break
        if state["status"] == "failed":
            raise RuntimeError(state["reason"])
        time.sleep(0.05)
    wall = time.monotonic() - began
    gateway.json("POST", f"/api/delete_project/{name}", {})
    return wall, ready or wall, wall - encoded, len(state["scenes"])


def single(source, encoder, folder):
    """Seconds of one run over the whole film, in as many passes as the gateway makes."""
    out, log = os.path.join(folder, "single.ivf"), os.path.join(folder, "single.log")
    read = ["ffmpeg", "-v", "error", "-nostdin", "-y", "-i", source, "-map", "0:v:0", "-an"]
    began = time.monotonic()
    if encoder == "aom" and shutil.which("aomenc"):
        for nth in ("1", "2"):
            pipe = subprocess.Popen([*read, "-strict", "-1", "-pix_fmt", "yuv420p", "-f", "yuv4mpegpipe", "-"],
                                    stdout=subprocess.PIPE)
            subprocess.run(["aomenc", "-", "--ivf", f"--fpf={log}", "--threads=2", "--passes=2", f"--pass={nth}",
                            *ENCODERS[encoder][0].split(), "-o", out],
                           stdin=pipe.stdout, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
            pipe.wait()
    elif encoder == "aom":
        for nth in ("1", "2"):
            subprocess.run([*read, *ENCODERS[encoder][1], "-pass", nth, "-passlogfile", log, "-f", "ivf", out],
                           stderr=subprocess.DEVNULL, check=True)
    else:
        subprocess.run([*read, *ENCODERS[encoder][1], "-f", "ivf", out], stderr=subprocess.DEVNULL, check=True)
    return time.monotonic() - began
