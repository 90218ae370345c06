"""Source clips, made once with ffmpeg and kept."""

import json
import os
import subprocess

# name: width, height, bits per second, container
CLIPS = {
    "1080p.mp4": (1920, 1080, 8_000_000),
    "1080p.mkv": (1920, 1080, 8_000_000),
    "720p.mp4": (1280, 720, 4_000_000),
}
# What long films are made of.
MODEST = {"modest-720p.mp4": (1280, 720, 1_000_000)}
RATE = 30


def make(folder, name, seconds, ffmpeg):
    """The path of a clip: H.264 with B frames and the encoder's own key frame distance, a moving
    picture under noise, AAC stereo at 48 kHz."""
    width, height, bits = (CLIPS | MODEST)[name]
    path = os.path.join(folder, f"{seconds}s-{name}")
    if os.path.exists(path):
        return path
    os.makedirs(folder, exist_ok=True)
    part = f"{path}.part"
    other = next((p for p in _siblings(folder, seconds, name) if os.path.exists(p)), None)
    if other:
        made = ["-i", other, "-map", "0", "-c", "copy"]
    else:
        made = [
            "-f", "lavfi", "-i", f"testsrc2=s={width}x{height}:r={RATE}:d={seconds}",
            "-f", "lavfi", "-i", f"sine=f=330:r=48000:d={seconds}",
            "-f", "lavfi", "-i", f"anoisesrc=r=48000:a=0.05:d={seconds}:seed=7",
            "-filter_complex",
            "[0:v]noise=alls=10:allf=t:all_seed=7,format=yuv420p[v];[1:a][2:a]amix=2,pan=stereo|c0=c0|c1=c0[a]",
            "-map", "[v]", "-map", "[a]",
            "-c:v", "libx264", "-preset", "veryfast", "-b:v", str(bits), "-maxrate", str(bits),
            "-bufsize", str(2 * bits), "-c:a", "aac", "-b:a", "160k",
        ]
    muxer = {"mp4": ["-movflags", "+faststart", "-f", "mp4"], "mkv": ["-f", "matroska"]}[name.rsplit(".", 1)[1]]
    subprocess.run([ffmpeg, "-hide_banner", "-loglevel", "error", "-nostdin", "-y", *made, *muxer, part], check=True)
    os.replace(part, path)
    return path


def _siblings(folder, seconds, name):
    """Clips of the same picture in another container."""
    stem = name.rsplit(".", 1)[0]
    return [os.path.join(folder, f"{seconds}s-{n}") for n in CLIPS if n.rsplit(".", 1)[0] == stem and n != name]


def shortened(path, seconds, ffmpeg, folder):
    """The first seconds of a file, copied."""
    stem, extension = os.path.splitext(os.path.basename(path))
    short = os.path.join(folder, f"{stem}-first{seconds}{extension}")
    if not os.path.exists(short):
        part = os.path.join(folder, f"part-{stem}{extension}")
        copy = ["-i", path, "-t", str(seconds), "-map", "0:v:0", "-map", "0:a:0?", "-c", "copy"]
        subprocess.run([ffmpeg, "-hide_banner", "-loglevel", "error", "-nostdin", "-y", *copy, part], check=True)
        os.replace(part, short)
    return short


def repeated(path, times, to, ffmpeg):
    """A file played again and again, copied to `to`."""
    copy = ["-stream_loop", str(times - 1), "-i", path, "-c", "copy", "-movflags", "+faststart", to]
    subprocess.run([ffmpeg, "-hide_banner", "-loglevel", "error", "-nostdin", "-y", *copy], check=True)


def describe(path, ffprobe):
    """Size, rate and codec of a file's picture in a few words."""
    fields = "stream=codec_name,width,height,avg_frame_rate:format=duration"
    command = [ffprobe, "-v", "error", "-select_streams", "v:0", "-show_entries", fields, "-of", "json", path]
    found = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    v = found["streams"][0]
    return f"{v['codec_name']} {v['width']}x{v['height']} {v['avg_frame_rate']} fps, {float(found['format']['duration']):.1f} s"
