"""Queued work: what submitting, assigning and claiming cost, however much waits, and eight engines that race."""

import json
import os
import sqlite3
import statistics
import subprocess
import threading
import time

SHORT, LONG = 100, 100_000
CALLS = 300
RACE_JOBS, RACERS = 10_000, 8
# A delayed acknowledgement that Nagle's algorithm waits for.
STALL_MS = 40

JOB = json.dumps({"source_url": "http://h/v.mp4", "target_codec": "h264", "job_size": 75.0}).encode()


class Database:
    """The gateway's database, to fill it faster than by requests."""

    def __init__(self, folder, postgres):
        self.postgres = postgres
        self.file = os.path.join(folder, "data", "ghoststream.db")

    def settings(self):
        url = self.postgres or "sqlite://ghoststream.db"
        return {"GHOSTSTREAM__STORE__URL": url}

    def copies(self, job, count):
        """`count` more jobs like the queued `job`."""
        columns = ("version, kind, requires, spec_json, state, priority, parents_json, retry_json, attempts, failures, "
                   "expiries, not_before, worker, unsuited_json, created_at, updated_at")
        insert = f"INSERT INTO jobs (id, {columns}) SELECT id || 'c' || n, {columns} FROM jobs, "
        if self.postgres:
            self.run(f"{insert} generate_series(1, {count}) AS n WHERE id = '{job}'; ANALYZE jobs")
        else:
            numbers = f"(WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < {count}) SELECT n FROM r)"
            self.run(f"{insert} {numbers} WHERE id = '{job}'")

    def run(self, sql):
        if self.postgres:
            subprocess.run(["psql", "-q", "-v", "ON_ERROR_STOP=1", "-c", sql, self.postgres], check=True)
            return
        with sqlite3.connect(self.file, timeout=60) as connection:
            connection.execute(sql)
        connection.close()


def call(connection, path, body=b"", wanted=(200,)):
    """The answer to a call, and its milliseconds."""
    answer = connection.request("POST", path, body)
    if answer.status not in wanted:
        raise RuntimeError(f"POST {path}: {answer.status} {bytes(answer.body[:200])!r}")
    return answer, answer.seconds * 1000


def medians(gateway):
    """Milliseconds of each call, over one connection that is kept alive; the queue stays as long as it is."""
    times = {"submit": [], "assign": [], "complete": [], "heartbeat": [], "claim": []}
    engine = json.dumps({"engine_id": "e", "benchmark_time": 1.0, "status": "idle"}).encode()
    connection = gateway.another_connection()

    def timed(name, *request):
        answer, ms = call(connection, *request)
        times[name].append(ms)
        return json.loads(answer.body) if name in ("assign", "claim") else None

    for _ in range(CALLS):
        timed("submit", "/jobs/", JOB)
        timed("heartbeat", "/engines/heartbeat", engine)
        job = timed("assign", "/assign_job/", b'{"engine_id":"e"}')
        timed("complete", f"/jobs/{job['job_id']}/complete", b'{"output_url":"http://h/o.mp4"}')
        timed("submit", "/jobs/", JOB)
        work = timed("claim", "/api/v2/engines/own/claim", b'{"kinds":["transcode"],"wait_seconds":0}')
        report = json.dumps({"lease_token": work["lease_token"], "output": {"url": "u"}}).encode()
        timed("complete", f"/api/v2/jobs/{work['job_id']}/lease/complete", report)
    connection.close()
    return times


def queue_of(gateway, database, length):
    """A queue of at least `length` jobs."""
    answer, _ = call(gateway.connection, "/jobs/", JOB)
    database.copies(json.loads(answer.body)["job_id"], length)
    gateway.reconnect()


def race(gateway):
    """Engines claim and complete all that waits: seconds, and the jobs that each was given."""
    given = [[] for _ in range(RACERS)]
    failed = []

    def run(nth):
        connection = gateway.another_connection()
        try:
            while True:
                answer, _ = call(connection, f"/api/v2/engines/r{nth}/claim", b'{"kinds":["transcode"]}', (200, 204))
                if answer.status == 204:
                    return
                work = json.loads(answer.body)
                given[nth].append(work["job_id"])
                report = json.dumps({"lease_token": work["lease_token"], "output": {"url": "u"}}).encode()
                call(connection, f"/api/v2/jobs/{work['job_id']}/lease/complete", report)
        except (RuntimeError, ConnectionError, OSError) as error:
            failed.append(error)

    threads = [threading.Thread(target=run, args=(n,)) for n in range(RACERS)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise RuntimeError(f"an engine of the race failed: {failed[0]}")
    return time.monotonic() - began, given


def measure(bench, start, folder, postgres):
    """All of it on one database; `start(folder, settings)` gives a gateway."""
    database = Database(folder, postgres)
    # Nobody else does the work, and nothing expires meanwhile.
    settings = {"GHOSTSTREAM__LOCAL_ENGINE__ENABLED": "false", "GHOSTSTREAM__DISPATCH__LEASE_SECONDS": "3600",
                "GHOSTSTREAM__DISPATCH__ENGINE_EXPIRY_SECONDS": "3600", **database.settings()}
    gateway = start(folder, settings)
    try:
        medians(gateway)
        queue_of(gateway, database, SHORT)
        short = medians(gateway)
        queue_of(gateway, database, LONG)
        long = medians(gateway)
        for name in short:
            a, b = statistics.median(short[name]), statistics.median(long[name])
            target = "<= 1.5" if name in ("submit", "assign") else ""
            bench.plain(f"{name}, median with {SHORT} jobs queued", a, "ms", values=short[name])
            bench.plain(f"  with {LONG} jobs queued", b, "ms", values=long[name])
            bench.plain("  ratio", b / a, "", target)
        every = [ms for times in (short, long) for values in times.values() for ms in values]
        bench.plain("99th percentile of all these calls", sorted(every)[int(len(every) * 0.99) - 1], "ms")
        bench.plain(f"  share that took {STALL_MS} ms and more", sum(ms >= STALL_MS for ms in every) / len(every), "", "~ 0")
        database.run("DELETE FROM jobs WHERE state = 'ready'")
        queue_of(gateway, database, RACE_JOBS - 1)
        seconds, given = race(gateway)
        jobs = [job for one in given for job in one]
        bench.plain(f"{RACERS} engines that race for {RACE_JOBS} jobs", seconds, "s")
        bench.plain("  claimed and completed", len(jobs) / seconds, "jobs/s")
        bench.plain("  claimed twice", len(jobs) - len(set(jobs)), "", "0")
        bench.plain("  not claimed", RACE_JOBS - len(set(jobs)), "", "0")
    finally:
        gateway.stop()
