"""The load balancer of either SDK over two gateways, with each strategy.

usage: balance.py HOST:PORT HOST:PORT SOURCE
The hosts must differ: the balancer names servers by their host.
"""

import asyncio
import inspect
import sys
import urllib.request

from ghoststream import GhostStreamLoadBalancer, LoadBalanceStrategy

SERVERS, SOURCE = sys.argv[1:3], sys.argv[3]


async def done(value):
    """Awaits what the older SDK gives, and takes what the newer one gives."""
    return await value if inspect.isawaitable(value) else value


async def balance(strategy):
    lb = GhostStreamLoadBalancer(strategy=strategy, manual_servers=list(SERVERS))
    assert len(lb.get_servers()) == 2
    used = set()
    jobs = []
    for start in range(4):
        job = await done(lb.transcode(source=SOURCE, resolution="480p", start_time=start))
        assert job is not None and job.stream_url, strategy
        used.add(job.stream_url.split("/")[2])
        jobs.append(job)
        status = await done(lb.get_job_status(job.job_id))
        assert status.status in ("processing", "ready"), status
        # A place on its server is given back only like this.
        await done(lb.cancel_job(job.job_id))
    await done(lb.refresh_stats())
    stats = lb.get_server_stats()
    assert len(stats) == 2 and all(info["is_healthy"] for info in stats.values()), stats
    if strategy == LoadBalanceStrategy.ROUND_ROBIN:
        assert used == set(SERVERS), used
    assert used <= set(SERVERS), used
    # Cancelled or ready: either way it has ended, and is told so.
    ends = await done(lb.wait_for_all([job.job_id for job in jobs], timeout=30))
    assert all(job and job.status in ("cancelled", "ready") for job in ends), ends


async def batches():
    """The overnight batch of the document: many films over several servers, then their files."""
    lb = GhostStreamLoadBalancer(strategy=LoadBalanceStrategy.ROUND_ROBIN, manual_servers=list(SERVERS))
    # The newer SDK holds two places on a server that was named by hand.
    videos = [{"source": SOURCE, "resolution": "480p", "mode": "batch", "format": "mp4"} for _ in range(4)]
    jobs = await done(lb.batch_transcode(videos, parallel=True))
    assert len(jobs) == 4 and all(jobs), jobs
    ends = await done(lb.wait_for_all([job.job_id for job in jobs], timeout=120))
    assert [job.status for job in ends] == ["ready"] * 4, ends
    assert {job.download_url.split("/")[2] for job in ends} == set(SERVERS), ends
    for job in ends:
        with urllib.request.urlopen(job.download_url) as answer:
            assert answer.headers["content-type"] == "video/mp4"
            assert answer.read(12)[4:8] == b"ftyp"


async def library():
    """The same as the document writes it: without a mode these are streams, and are waited for all the same."""
    lb = GhostStreamLoadBalancer(strategy=LoadBalanceStrategy.ROUND_ROBIN, manual_servers=list(SERVERS))
    videos = [{"source": SOURCE, "resolution": size} for size in ("1080p", "1080p", "720p")]
    videos.append({"source": SOURCE})
    jobs = await done(lb.batch_transcode(videos, parallel=True))
    ids = [job.job_id for job in jobs if job]
    assert len(ids) == 4, jobs
    ends = await done(lb.wait_for_all(ids, timeout=120))
    assert [job.status for job in ends] == ["ready"] * 4, ends
    for job in ends:
        await done(lb.cancel_job(job.job_id))


async def main():
    for strategy in LoadBalanceStrategy:
        await balance(strategy)
    await batches()
    await library()


assert len(LoadBalanceStrategy) == 4
asyncio.run(main())
print("ok")
