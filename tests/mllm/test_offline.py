"""A connection that leaves the machine is refused and named; one to the machine itself is not."""

from __future__ import annotations

import json
import subprocess
import sys

CALLS = """
import json, socket, urllib.request
from mllm.evaluate.offline import without_network
tried = without_network()
failed = []
for call in (
    lambda: socket.create_connection(("service.example", 80), timeout=1),
    lambda: urllib.request.urlopen("http://10.1.2.3/", timeout=1),
    lambda: socket.create_connection(("2001:db8::1", 80), timeout=1),
):
    try:
        call()
    except (PermissionError, OSError) as error:
        failed.append("there is no network here" in str(error))
with socket.create_server(("127.0.0.1", 0)) as server:
    socket.create_connection(("localhost", server.getsockname()[1]), timeout=5).close()
socket.getaddrinfo(None, 0)
one, two = socket.socketpair()
print(json.dumps([tried, failed]))
"""


def test_what_leaves_the_machine_is_refused_and_named() -> None:
    done = subprocess.run([sys.executable, "-c", CALLS], capture_output=True, text=True, timeout=60, check=True)
    tried, failed = json.loads(done.stdout)
    assert tried == ["service.example", "10.1.2.3", "2001:db8::1"]
    assert failed == [True] * 3
