"""The examples of the API document for one gateway, with the published SDK up to 1.2.2.

usage: sdk_async.py HOST:PORT SOURCE BAD_SOURCE
"""

import asyncio
import json
import sys
import time
import urllib.request

import websockets
from ghoststream import GhostStreamClient, TranscodeStatus

SERVER, SOURCE, BAD_SOURCE = sys.argv[1:]


def sync_usage():
    client = GhostStreamClient(manual_server=SERVER)
    assert client.health_check_sync()
    caps = client.get_capabilities_sync()
    assert "h264" in caps["video_codecs"], caps
    job = client.transcode_sync(source=SOURCE, mode="stream", resolution="1080p")
    assert job.status != TranscodeStatus.ERROR, job.error_message
    assert job.stream_url.startswith(f"http://{SERVER}/stream/"), job.stream_url
    result = client.wait_for_ready_sync(job.job_id, timeout=60)
    assert result and result.stream_url == job.stream_url, result
    assert result.status in (TranscodeStatus.READY, TranscodeStatus.PROCESSING), result
    assert client.delete_job_sync(job.job_id)
    assert client.get_job_status_sync(job.job_id) is None
    client.close_sync()


async def async_usage():
    async with GhostStreamClient(manual_server=SERVER) as client:
        assert await client.health_check()
        job = await client.transcode(source=SOURCE, resolution="1080p")
        result = await client.wait_for_ready(job.job_id)
        assert result.status in (TranscodeStatus.READY, TranscodeStatus.PROCESSING), result
        assert await client.delete_job(job.job_id)


async def transcode_with_progress():
    client = GhostStreamClient(manual_server=SERVER)
    job = client.transcode_sync(source=SOURCE)
    seen = []
    last = 0.0
    async for event in client.subscribe_progress([job.job_id]):
        if event["type"] == "progress":
            assert event["data"]["progress"] >= last, (last, event)
            last = event["data"]["progress"]
        elif event["type"] == "status_change":
            status = event["data"]["status"]
            seen.append(status)
            if status in ("ready", "error", "cancelled"):
                break
    assert seen[-1] == "ready" and last == 100.0, (seen, last)
    # One that comes too late hears the end at once.
    late = [event async for event in client.subscribe_progress([job.job_id])]
    assert [event["data"]["status"] for event in late] == ["ready"], late
    client.delete_job_sync(job.job_id)


async def options():
    async with GhostStreamClient(manual_server=SERVER) as client:
        jobs = [
            await client.transcode(source=SOURCE),
            await client.transcode(source=SOURCE, resolution="720p", video_codec="h264", audio_codec="aac"),
            await client.transcode(source=SOURCE, hw_accel="software"),
            await client.transcode(source=SOURCE, start_time=3),
            await client.transcode(source=SOURCE, resolution="720p", bitrate="3M"),
        ]
        for job in jobs:
            result = await client.wait_for_ready(job.job_id)
            assert result.status != TranscodeStatus.ERROR, result.error_message
        assert len({job.job_id for job in jobs}) == len(jobs)
        for job in jobs:
            assert await client.delete_job(job.job_id)


async def raw_socket():
    """As a client without the SDK listens; it answers pings."""
    async with GhostStreamClient(manual_server=SERVER) as client:
        job = await client.transcode(source=SOURCE, start_time=1)
        async with websockets.connect(f"ws://{SERVER}/ws/progress") as ws:
            await ws.send(json.dumps({"type": "subscribe", "job_ids": [job.job_id]}))
            async for message in ws:
                data = json.loads(message)
                if data["type"] == "ping":
                    await ws.send(json.dumps({"type": "pong"}))
                elif data["type"] == "progress":
                    assert data["job_id"] == job.job_id and 0 <= data["data"]["progress"] <= 100
                elif data["type"] == "status_change":
                    if data["data"]["status"] in ("ready", "error", "cancelled"):
                        break
        assert data["data"]["status"] == "ready", data
        assert await client.delete_job(job.job_id)


async def library():
    """Films made into files one after the other; each is moving for all to see, at least once a second."""
    async with GhostStreamClient(manual_server=SERVER) as client:
        for resolution in ("1080p", "480p"):
            job = await client.transcode(source=SOURCE, mode="batch", format="mp4", resolution=resolution)
            assert job.stream_url is None, job
            job = await client.wait_for_ready(job.job_id, timeout=3600)
            assert job.status == "ready", job
            with urllib.request.urlopen(job.download_url) as answer:
                assert answer.headers["content-type"] == "video/mp4"
                assert answer.read(12)[4:8] == b"ftyp"
            assert await client.delete_job(job.job_id)


async def quick():
    """What is asked for is there in no time, however long the film is."""
    async with GhostStreamClient(manual_server=SERVER) as client:
        begun = time.monotonic()
        job = await client.transcode(source=SOURCE, mode="stream", video_codec="h264", format="hls")
        job = await client.wait_for_ready(job.job_id, timeout=60)
        print(f"wait_for_ready: {time.monotonic() - begun:.3f} s")
        assert job.stream_url.endswith("/master.m3u8"), job
        assert await client.cancel_job(job.job_id)
        assert (await client.get_job_status(job.job_id)).status == "cancelled"


async def errors():
    async with GhostStreamClient(manual_server=SERVER) as client:
        job = await client.transcode(source=BAD_SOURCE)
        assert job is not None
        job = await client.wait_for_ready(job.job_id, timeout=60)
        while job.status == TranscodeStatus.PROCESSING:
            await asyncio.sleep(0.2)
            job = await client.get_job_status(job.job_id)
        assert job.status == "error" and job.error_message, job


sync_usage()
asyncio.run(async_usage())
asyncio.run(transcode_with_progress())
asyncio.run(options())
asyncio.run(raw_socket())
asyncio.run(library())
asyncio.run(quick())
asyncio.run(errors())
print("ok")
