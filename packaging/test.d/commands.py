"""Prints the commands of a page that are marked as tested (```sh tested), as one shell script."""

import re
import sys

text = open(sys.argv[1], encoding="utf-8").read()
blocks = re.findall(r"^```sh tested\n(.*?)^```$", text, re.M | re.S)
if not blocks:
    sys.exit("no commands are marked as tested")
for block in blocks:
    # Each in a shell of its own, since -e means nothing to the left of ||.
    print(f"sh -e <<'BLOCK'\n{block}BLOCK")
    print("if [ $? -ne 0 ]; then echo 'these commands of the page fail:' >&2; cat >&2 <<'BLOCK'")
    print(f"{block}BLOCK\nexit 1; fi")
