#!/usr/bin/env python3
"""The cost of a cached scrape over HTTP, beside nginx serving the same bytes as a static file, and json_exporter
reading the same answer.

    cargo build --profile dist && benches/scrape.py [BINARY ...]

Needs `nginx` with gzip_static, and `wrk`. If `json_exporter` is on the PATH, it is measured as well. Each server runs on
the first CPU, wrk on the second. All are measured in turn, several times; the table shows medians and the medians of the
ratios within a turn. On a busy machine, the CPU time per request is the better figure. Several binaries can be compared
in one run.
"""

import gzip
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from servers import BINARY, CALLS_PATH, CLIENT_CPU, connect, cpu_seconds, free_port, start, start_exporter, start_nginx, stop

TURNS = int(os.environ.get("TURNS", "7"))
SECONDS = int(os.environ.get("SECONDS_EACH", "2"))
STARTS = 20
ACCEPT = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.4"

# It cannot count, so it shows each call as a series, and PromQL counts them.
JSON_EXPORTER = """
modules:
  default:
    body:
      content: '{"id": "mycommunity", "key": "key", "type": "GET_CALLS", "data": [{"serverId": 1}]}'
    metrics:
      - name: cad_call
        type: object
        help: An active call
        path: '{ .activeCalls[*] }'
        labels: {id: '{ .callId }', priority: '{ .priority }', status: '{ .status }', origin: '{ .origin }'}
        values: {active: 1}
"""


def start_ours(binary, cad_port):
    return start_exporter(
        binary,
        SONORANCAD_COMMUNITY_ID="mycommunity",
        SONORANCAD_API_KEY="key",
        SONORANCAD_API_URL=f"http://127.0.0.1:{cad_port}",
        SONORANCAD_API_VERSION="v1",
        SONORANCAD_CACHE_TTL="1h",
    )


def start_json_exporter(folder, cad_port):
    config, port = folder / "json_exporter.yml", free_port()
    config.write_text(JSON_EXPORTER)
    options = [f"--config.file={config}", f"--web.listen-address=127.0.0.1:{port}", "--log.level=error"]
    process = start(["json_exporter", *options])
    connect(port).close()
    return process, f"http://127.0.0.1:{port}/probe?target=http://127.0.0.1:{cad_port}/{CALLS_PATH}"


def metrics(port):
    return f"http://127.0.0.1:{port}/metrics"


def get(url):
    request = urllib.request.Request(url, headers={"Accept": ACCEPT})
    with urllib.request.urlopen(request, timeout=20) as response:
        return response.read()


def measure(process, url, encoding):
    before = cpu_seconds(process)
    output = subprocess.run(
        ["taskset", "-c", CLIENT_CPU, "wrk", "-t1", "-c16", f"-d{SECONDS}s", "--latency",
         "-H", f"Accept: {ACCEPT}", "-H", f"Accept-Encoding: {encoding}", url],
        check=True, capture_output=True, text=True,
    ).stdout
    cpu = cpu_seconds(process) - before
    requests = int(re.search(r"(\d+) requests in", output)[1])
    assert "Non-2xx" not in output, output
    p99 = re.search(r"99%\s+([\d.]+)(us|ms|s)", output)
    milliseconds = float(p99[1]) * {"us": 0.001, "ms": 1, "s": 1000}[p99[2]]
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", output)[1])
    return rate, cpu / requests * 1e6, milliseconds


def starts(binaries, cad_port):
    """Milliseconds from exec to the first scrape that is answered, a fetch included."""
    times = {binary: [] for binary in binaries}
    for _ in range(STARTS):
        for binary in binaries:
            began = time.perf_counter()
            process, port = start_ours(binary, cad_port)
            connect(port).close()
            assert b'sonorancad_up{server_id="1"} 1' in get(metrics(port))
            times[binary].append((time.perf_counter() - began) * 1000)
            process.send_signal(signal.SIGKILL)
            process.wait()
    for binary, each in times.items():
        print(f"start of {binary}: median {statistics.median(each):.1f} ms, fastest {min(each):.1f} ms")


def main():
    binaries = [Path(each) for each in sys.argv[1:]] or [BINARY]
    folder, port = Path(tempfile.mkdtemp()), free_port()
    servers = {"nginx": (start_nginx(folder, f"server {{ listen 127.0.0.1:{port}; }}"), metrics(port))}
    try:
        connect(port).close()
        for binary in binaries:
            process, own_port = start_ours(binary, port)
            servers[str(binary)] = process, metrics(own_port)
            connect(own_port).close()
            body = get(metrics(own_port))
        compressed = gzip.compress(body, 6)
        series = sum(not line.startswith(b"#") for line in body.splitlines())
        (folder / "root/metrics").write_bytes(body)
        (folder / "root/metrics.gz").write_bytes(compressed)
        if shutil.which("json_exporter"):
            servers["json_exporter"] = start_json_exporter(folder, port)
        print(f"{len(body)} bytes, {series} samples, {len(compressed)} bytes as nginx sends them with gzip;"
              f" {TURNS} turns of {SECONDS} s each")
        for encoding in ["identity", "gzip"]:
            report(servers, encoding)
        starts(binaries, port)
    finally:
        stop(process for process, _ in servers.values())


def report(servers, encoding):
    results = {name: [] for name in servers}
    for _ in range(TURNS):
        for name, (process, url) in servers.items():
            results[name].append(measure(process, url, encoding))
    print(f"{encoding:24} {'requests/s':>10} {'of nginx':>9} {'CPU us each':>12} {'of nginx':>9} {'p99 ms':>7}")
    for name, each in results.items():
        rates, cpus, p99s = (statistics.median(column) for column in zip(*each))
        of_rate = statistics.median(ours[0] / base[0] for ours, base in zip(each, results["nginx"]))
        # The more CPU, the smaller the share.
        of_cpu = statistics.median(base[1] / ours[1] for ours, base in zip(each, results["nginx"]))
        print(f"{Path(name).name[-24:]:24} {rates:10.0f} {of_rate:9.2f} {cpus:12.1f} {of_cpu:9.2f} {p99s:7.2f}")
    for name, each in results.items():
        if name != "json_exporter" and (others := results.get("json_exporter")):
            ratio = statistics.median(other[1] / ours[1] for ours, other in zip(each, others))
            print(f"json_exporter takes {ratio:.1f} times the CPU time of {Path(name).name}")


if __name__ == "__main__":
    main()
