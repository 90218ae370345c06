#!/usr/bin/env python3
"""Stands in for aomenc on a simulated machine: takes PACE seconds for each picture, and no processor time.

Its result is true AV1, one and the same key picture again and again (TEMPLATE, an IVF file).
"""

import os
import struct
import sys
import time


def main():
    if "--help" in sys.argv:
        print("    av1    - AOMedia Project AV1 Encoder paced (default)")
        return
    source = sys.stdin.buffer
    head = dict((f[:1], f[1:]) for f in source.readline().split()[1:])
    bytes_of_picture = int(head[b"W"]) * int(head[b"H"]) * 3 // 2
    pictures = 0
    while source.readline():
        source.read(bytes_of_picture)
        pictures += 1
    if "--pass=1" in sys.argv:
        return
    time.sleep(pictures * float(os.environ["PACE"]))
    with open(os.environ["TEMPLATE"], "rb") as f:
        header, packet = f.read(32), f.read()[12:]
    with open(sys.argv[sys.argv.index("-o") + 1], "wb") as out:
        out.write(header)
        for nth in range(pictures):
            out.write(struct.pack("<IQ", len(packet), nth) + packet)


if __name__ == "__main__":
    main()
