"""The examples of the API document in their form of SDK 1.2.3 to 1.2.6, for one gateway.

usage: sdk_sync.py HOST:PORT SOURCE BAD_SOURCE
"""

import sys
import time
import urllib.request

from ghoststream import GhostStreamClient, TranscodeStatus

SERVER, SOURCE, BAD_SOURCE = sys.argv[1:]

with GhostStreamClient(manual_server=SERVER) as client:
    assert client.health_check()
    assert client.get_health()["status"] == "healthy"
    assert client.get_health_detailed()["checks"]["cpu"]["status"]
    assert "h264" in client.get_capabilities()["video_codecs"]

    first = client.transcode(source=SOURCE, resolution="1080p", session_id="me")
    assert first.status != TranscodeStatus.ERROR, first.error_message
    assert client.get_shared_streams()["total_viewers"] == 1
    result = client.wait_for_ready(first.job_id, timeout=60)
    assert result.stream_url == first.stream_url, result
    assert client.get_stream_info(first.job_id)["stream_url"] == first.stream_url
    assert client.leave_stream(first.job_id, session_id="me")
    assert client.get_shared_streams()["total_viewers"] == 0
    assert client.get_stats()["uptime_seconds"] > 0
    assert client.get_cleanup_stats()["total_jobs"] == 1
    assert client.run_cleanup() == {"stale_jobs_cleaned": 0, "orphaned_dirs_cleaned": 0}
    assert client.delete_job(first.job_id)
    assert client.get_job_status(first.job_id) is None

    seek = client.transcode(source=SOURCE, start_time=3, video_codec="h264", audio_codec="aac")
    assert client.wait_for_ready(seek.job_id).status != TranscodeStatus.ERROR
    client.cancel_job(seek.job_id)
    assert client.get_job_status(seek.job_id).status in (TranscodeStatus.CANCELLED, TranscodeStatus.READY)
    assert client.delete_job(seek.job_id)

    begun = time.monotonic()
    text = [{"url": "http://127.0.0.1:9/none.vtt", "label": "English", "language": "en", "default": True}]
    told = client.transcode(source=SOURCE, start_time=2, subtitles=text)
    assert client.wait_for_ready(told.job_id).status != TranscodeStatus.ERROR
    print(f"wait_for_ready: {time.monotonic() - begun:.3f} s")
    assert client.delete_job(told.job_id)

    made = client.transcode(source=SOURCE, mode="batch", format="mp4", resolution="480p", bitrate="1M")
    made = client.wait_for_ready(made.job_id, timeout=3600)
    assert made.status == TranscodeStatus.READY and made.stream_url is None, made
    with urllib.request.urlopen(made.download_url) as answer:
        assert answer.read(12)[4:8] == b"ftyp"
    assert client.delete_job(made.job_id)

    bad = client.transcode(source=BAD_SOURCE)
    status = client.get_job_status(bad.job_id)
    while status.status == TranscodeStatus.PROCESSING:
        time.sleep(0.2)
        status = client.get_job_status(bad.job_id)
    assert status.status == TranscodeStatus.ERROR and status.error_message, status
print("ok")
