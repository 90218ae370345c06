"""Discovery callbacks of either SDK. Tells what is found and removed, until standard input ends.

usage: discovery.py PORT...
Only gateways on these ports are told of: there may be others on the network.
"""

import json
import sys

from ghoststream import GhostStreamClient

PORTS = {int(port) for port in sys.argv[1:]}

client = GhostStreamClient()
names = set()


def on_server(event, server):
    if server.port not in PORTS:
        return
    print(
        json.dumps(
            {
                "event": event,
                "name": server.name,
                "port": server.port,
                "has_hw_accel": server.has_hw_accel,
                "hw_accels": server.hw_accels,
                "video_codecs": server.video_codecs,
                "max_jobs": server.max_jobs,
                # As the document asks once it has waited.
                "chosen": client.is_available() and client.get_server().base_url,
                "healthy": event == "removed" or (
                    getattr(client, "health_check_sync", None) or client.health_check
                )(server),
            }
        ),
        flush=True,
    )


client.add_callback(on_server)
client.start_discovery()
try:
    import gevent.monkey  # noqa: F401
    import gevent.os

    while gevent.os.tp_read(0, 100):
        pass
except ImportError:
    sys.stdin.read()
client.stop_discovery()
