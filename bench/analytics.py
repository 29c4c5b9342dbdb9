"""Asks a seeded server the dashboard's and the inbox's questions and prints how long each took; started by bench/analytics."""

import base64
import hashlib
import hmac
import http.client
import json
import os
import statistics
import time

REPEATS = int(os.environ["REPEATS"])
# An answer is given again for five seconds.
STALE_AFTER = 5.2


def token(kind, person):
    part = lambda value: base64.urlsafe_b64encode(value).rstrip(b"=")
    claims = {"id": person, "type": kind, "exp": int(time.time()) + 3600}
    signed = part(json.dumps({"alg": "HS256", "typ": "JWT"}).encode()) + b"." + part(json.dumps(claims).encode())
    return (signed + b"." + part(hmac.new(os.environ["JWT_SECRET"].encode(), signed, hashlib.sha256).digest())).decode()


def ask(path, headers):
    line = http.client.HTTPConnection(os.environ["URL"].removeprefix("http://"), timeout=60)
    began = time.perf_counter()
    line.request("GET", path, headers=headers)
    answer = line.getresponse()
    body = json.loads(answer.read())
    took = (time.perf_counter() - began) * 1000
    if answer.status == 503 and body.get("retryable"):
        return took, None
    assert answer.status == 200, (path, answer.status, body)
    return took, body["data"]


def whole(path, headers):
    line = http.client.HTTPConnection(os.environ["URL"].removeprefix("http://"), timeout=60)
    line.request("GET", path, headers=headers)
    return json.loads(line.getresponse().read())


def first_answer(path, headers):
    """The time until there is an answer, and how often it took another question."""
    took, data = ask(path, headers)
    again = 0
    while data is None:
        more, data = ask(path, headers)
        took, again = took + more, again + 1
    return took, again, data


def row(what, path, headers, pause):
    first, again, data = first_answer(path, headers)
    times = []
    for _ in range(REPEATS - 1):
        time.sleep(pause)
        times.append(ask(path, headers)[0])
    times.sort()
    note = f" (asked {again + 1} times)" if again else ""
    print(f"| {os.environ['STORE']} | {what} | {first:.1f}{note} | {statistics.median(times):.1f} | {times[-1]:.1f} |")
    return data


print("| Store | Question | First, ms | Then, median ms | Largest, ms |\n|---|---|---|---|---|")
admin = {"x-admin-key": os.environ["ADMIN_SECRET_KEY"]}
stats = row("stats, 30d", "/api/admin/communications/stats?period=30d", admin, STALE_AFTER)
row("stats, 7d (days known already)", "/api/admin/communications/stats?period=7d", admin, STALE_AFTER)
row("stats, 1y", "/api/admin/communications/stats?period=1y", admin, STALE_AFTER)
for route in ("trends", "astrologers", "call-duration", "peak-hours", "success-rates"):
    row(f"{route}, 30d, within five seconds of another", f"/api/admin/communications/{route}?period=30d", admin, 0)
busiest = ask("/api/admin/communications/astrologers?period=30d", admin)[1][0]["astrologerId"]
astrologer = {"authorization": f"Bearer {token('astrologer', busiest)}"}
inbox = f"/api/communications/{busiest}"
for page in (1, 3, 10, 100, 180):
    row(f"inbox of an astrologer with 9,000 calls, page {page} of 50", f"{inbox}?limit=50&page={page}", astrologer, 0)
cursor = None
for _ in range(100):
    body = whole(f"{inbox}?limit=50" + (f"&cursor={cursor}" if cursor else ""), astrologer)
    cursor = body["pagination"].get("nextCursor") or cursor
row("the same after 5,000 rows, by cursor", f"{inbox}?limit=50&cursor={cursor}", astrologer, 0)
row("unread counts of the same", f"{inbox}/unread-counts", astrologer, 0)
print(f"\n{stats['totalMessages']:,} messages and {stats['totalVoiceCalls'] + stats['totalVideoCalls']:,} calls in the thirty days.\n")
