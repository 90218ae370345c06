"""What ffmpeg alone needs for the same frames with the same settings."""

import json
import re
import resource
import shlex
import subprocess
import time
from fractions import Fraction

QUIET = ["-loglevel", "error", "-nostdin", "-y"]


class Recipe:
    """The command lines that the gateway itself would run on a source."""

    def __init__(self, binary, source, output, environment):
        flags = [f"--{k.replace('_', '-')}={v}" for k, v in output.items()]
        plan = subprocess.run([binary, "plan", source, "--json", *flags], check=True, capture_output=True, env=environment)
        plan = json.loads(plan.stdout)
        self.source = source
        self.rate = Fraction(plan["videos"][0]["rate"]["num"], plan["videos"][0]["rate"]["den"])
        commands = [shlex.split(c) for c in plan["commands"]]
        self.video = next(c for c in commands if "-vf" in c)
        self.audio = next((c for c in commands if "-vf" not in c), None)
        self.sample_rate = plan["audios"][0]["sample_rate"] if plan["audios"] else None

    def frames(self, seconds):
        return round(seconds * self.rate)

    def _whole(self, command):
        return [command[0], *QUIET, *command[1:]]

    def _encoder(self):
        """Encoder options, without the cuts."""
        words = self.video[self.video.index("-c:v"):self.video.index("-video_track_timescale")]
        if "-force_key_frames" in words:
            at = words.index("-force_key_frames")
            words = words[:at] + words[at + 2:]
        return words

    def _cuts(self):
        if "-force_key_frames" not in self.video:
            return []
        at = self.video.index("-force_key_frames")
        return self.video[at:at + 2]

    def _picture_filters(self):
        """What is done to a picture, without what puts pictures on the timeline."""
        filters = self.video[self.video.index("-vf") + 1].split(",")
        keep = [f for f in filters if not re.match(r"(setpts|fps|tpad|trim)=", f)]
        return ["-vf", ",".join(keep)] if keep else []

    def _map(self, command):
        at = command.index("-map")
        return command[at:at + 2]

    def video_from_zero(self, seconds):
        """The gateway's own command, ended after the frames of the first `seconds`."""
        end = self.frames(seconds)
        return [re.sub(r"(\btrim=start_pts=0:end_pts=)\d+", rf"\g<1>{end}", w) for w in self._whole(self.video)]

    def video_whole(self):
        """The gateway's own command. An encoder that goes on looks ahead where one that ends gives all it has."""
        return self._whole(self.video)

    def audio_from_zero(self, seconds):
        frames = -(-Fraction(seconds).limit_denominator(1000) * self.sample_rate // 1024)
        end = int(frames) * 1024
        return [re.sub(r"(\batrim=start_pts=0:end_pts=)\d+", rf"\g<1>{end}", w) for w in self._whole(self.audio)]

    def video_seek(self, start, seconds):
        """Accurate seek as a user types it, then the same encoder for the same number of frames."""
        return [self.video[0], "-hide_banner", *QUIET, "-ss", f"{start:.6f}", "-i", self.source, *self._map(self.video),
                "-an", "-frames:v", str(self.frames(seconds)), *self._picture_filters(), *self._encoder(),
                "-f", "mp4", "-movflags", "frag_every_frame+empty_moov+default_base_moof", "pipe:1"]

    def film_together(self):
        """Picture and sound in one process."""
        audio = []
        if self.audio:
            sound = self.audio[self.audio.index("-c:a"):self.audio.index("-f")]
            audio = [*self._map(self.audio), *sound]
        return [self.video[0], "-hide_banner", *QUIET, "-i", self.source, *self._map(self.video), *audio,
                *self._picture_filters(), *self._encoder(), *self._cuts(), "-f", "mpegts", "pipe:1"]

    def film_apart(self):
        """The gateway's own commands, side by side."""
        return [self._whole(c) for c in (self.video, self.audio) if c]


def run(*commands):
    """Runs commands side by side to their ends: wall and processor seconds of all together."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.monotonic()
    running = [subprocess.Popen(c, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
               for c in commands]
    failed = []
    try:
        for process, command in zip(running, commands):
            _, errors = process.communicate()
            if process.returncode:
                failed.append(f"{shlex.join(command)}\n{errors.decode(errors='replace')[-500:]}")
    finally:
        for process in running:
            if process.poll() is None:
                process.kill()
                process.wait()
    wall = time.monotonic() - began
    if failed:
        raise SystemExit(f"bench: ffmpeg failed: {failed[0]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, cpu


def until_pictures(command, count):
    """Seconds until a command that writes each picture as a fragment of its own has written `count` of them."""
    began = time.monotonic()
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        found, tail = 0, b""
        while found < count:
            piece = process.stdout.read1(1 << 16)
            if not piece:
                raise SystemExit(f"bench: {found} of {count} pictures: {shlex.join(command)}\n{process.stderr.read().decode()[-500:]}")
            piece = tail + piece
            found += piece.count(b"moof")
            # The mark may lie across two reads.
            tail = piece[-3:]
        return time.monotonic() - began
    finally:
        process.kill()
        process.communicate()


def first_byte(command):
    """Seconds until a command that writes to its output has written something."""
    began = time.monotonic()
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        if not process.stdout.read(1):
            raise SystemExit(f"bench: ffmpeg wrote nothing: {shlex.join(command)}\n{process.stderr.read().decode()[-500:]}")
        return time.monotonic() - began
    finally:
        process.kill()
        process.communicate()
