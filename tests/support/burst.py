"""A burst of signed deliveries from a process of its own: ``python tests/support/burst.py PORT COUNT CONCURRENCY``.

Prints one JSON object: statuses by number, the ids that were answered 202, and percentiles of the answer time in
milliseconds. Deliveries are prepared before the clock starts. It imports nothing of ours, so that it starts at once.
"""

import asyncio
import hashlib
import hmac
import json
import sys
import time
import uuid
from collections import Counter

SECRET = b"correct horse battery staple"


def request(number: int) -> tuple[str, bytes]:
    delivery = str(uuid.uuid4())
    body = json.dumps(
        {
            "ref": "refs/heads/main",
            "after": "1f" * 20,
            "deleted": False,
            "repository": {"full_name": "owner/models"},
            "commits": [{"message": f"Promote {number} " + "x" * 5000}],
        }
    ).encode()
    signature = hmac.new(SECRET, body, hashlib.sha256).hexdigest()
    head = (
        f"POST /webhooks/github HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nX-GitHub-Event: push\r\n"
        f"X-GitHub-Delivery: {delivery}\r\nX-Hub-Signature-256: sha256={signature}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return delivery, head.encode() + body


async def main(port: int, count: int, concurrency: int) -> None:
    requests = [request(number) for number in range(count)]
    statuses: Counter[str] = Counter()
    stored: list[str] = []
    seconds: list[float] = []

    async def sender() -> None:
        connection = None
        while requests:
            delivery, data = requests.pop()
            began = time.perf_counter()
            try:
                connection = connection or await asyncio.open_connection("127.0.0.1", port)
                reader, writer = connection
                writer.write(data)
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                await reader.readexactly(length)
            except (OSError, asyncio.IncompleteReadError):
                statuses["lost"] += 1
                connection = None
                continue
            seconds.append(time.perf_counter() - began)
            status = head.split(b" ", 2)[1].decode()
            statuses[status] += 1
            if status == "202":
                stored.append(delivery)

    began = time.perf_counter()
    await asyncio.gather(*(sender() for _ in range(concurrency)))
    elapsed = time.perf_counter() - began
    seconds.sort()
    percentiles = {
        f"p{share}": round(1000 * seconds[min(len(seconds) - 1, len(seconds) * share // 100)], 1)
        for share in (50, 99, 100)
        if seconds
    }
    sys.stdout.write(
        json.dumps({"statuses": statuses, "stored": stored, "seconds": round(elapsed, 3), **percentiles})
    )


if __name__ == "__main__":
    asyncio.run(main(*map(int, sys.argv[1:4])))
