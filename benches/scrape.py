#!/usr/bin/env python3
"""The cost of a cached scrape over HTTP, beside nginx serving the same bytes as a static file.

    cargo build --release && benches/scrape.py [BINARY ...]

Needs `nginx` with gzip_static, and `wrk`. Each server runs on the first CPU, wrk on the second. All are measured in turn,
several times; the table shows medians and the medians of the ratios within a turn. On a busy machine, the CPU time per
request is the better figure. Several binaries can be compared in one run.
"""

import gzip
import http.server
import json
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

TURNS = int(os.environ.get("TURNS", "7"))
SECONDS = int(os.environ.get("SECONDS_EACH", "2"))
STARTS = 20
CALLS = 60
ACCEPT = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.4"

NGINX = """
worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log stderr error;
events {{ worker_connections 256; }}
http {{
  access_log off; keepalive_requests 100000000; sendfile on; tcp_nopush on;
  client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
  uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
  server {{ listen 127.0.0.1:{port}; root {folder}/root; gzip_static on; }}
}}
"""


class Cad(http.server.BaseHTTPRequestHandler):
    """Gives the same calls to every request."""

    protocol_version = "HTTP/1.1"
    calls = [
        {
            "callId": 1000 + i, "origin": i % 4, "status": i % 2, "priority": i % 3 + 1,
            "title": "Traffic Stop", "code": "10-38", "primary": i, "idents": [i, 400 + i], "metaData": {},
        }
        for i in range(CALLS)
    ]
    answer = json.dumps({"activeCalls": calls, "emergencyCalls": [], "closedCalls": []}).encode()

    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.answer)))
        self.end_headers()
        self.wfile.write(self.answer)

    def log_message(self, *_):
        pass


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def start_exporter(binary, cad_port):
    port = free_port()
    variables = {
        "SONORANCAD_COMMUNITY_ID": "mycommunity",
        "SONORANCAD_API_KEY": "key",
        "SONORANCAD_API_URL": f"http://127.0.0.1:{cad_port}",
        "SONORANCAD_API_VERSION": "v1",
        "SONORANCAD_LISTEN_ADDRESS": f"127.0.0.1:{port}",
        "SONORANCAD_CACHE_TTL": "1h",
        "SONORANCAD_LOG": "error",
    }
    command = ["taskset", "-c", "0", str(binary)]
    return subprocess.Popen(command, env={"PATH": os.environ["PATH"], **variables}), port


def get(port, headers=()):
    request = urllib.request.Request(f"http://127.0.0.1:{port}/metrics", headers={"Accept": ACCEPT, **dict(headers)})
    with urllib.request.urlopen(request, timeout=20) as response:
        return response.read()


def get_first(port):
    """The first answer, as soon as the port is open."""
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return get(port)
        except ConnectionRefusedError:
            time.sleep(0.0005)


def cpu_seconds(pid):
    """Of a process and its children: nginx serves in one."""
    total = 0.0
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    for each in [pid, *children]:
        fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
        total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return total


def measure(process, port, encoding):
    before = cpu_seconds(process.pid)
    output = subprocess.run(
        ["taskset", "-c", "1", "wrk", "-t1", "-c16", f"-d{SECONDS}s", "--latency",
         "-H", f"Accept: {ACCEPT}", "-H", f"Accept-Encoding: {encoding}", f"http://127.0.0.1:{port}/metrics"],
        check=True, capture_output=True, text=True,
    ).stdout
    cpu = cpu_seconds(process.pid) - before
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
            process, port = start_exporter(binary, cad_port)
            assert b'sonorancad_up{server_id="1"} 1' in get_first(port)
            times[binary].append((time.perf_counter() - began) * 1000)
            process.send_signal(signal.SIGKILL)
            process.wait()
    for binary, each in times.items():
        print(f"start of {binary}: median {statistics.median(each):.1f} ms, fastest {min(each):.1f} ms")


def main():
    binaries = [Path(each) for each in sys.argv[1:]] or [Path(__file__).parent.parent / "target/release/sonorancad-exporter"]
    cad = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Cad)
    threading.Thread(target=cad.serve_forever, daemon=True).start()
    folder = Path(tempfile.mkdtemp())
    servers = {str(binary): start_exporter(binary, cad.server_port) for binary in binaries}
    try:
        for process, port in servers.values():
            get_first(port)
        body = get(next(iter(servers.values()))[1])
        compressed = gzip.compress(body, 6)
        series = sum(not line.startswith(b"#") for line in body.splitlines())
        (folder / "root").mkdir()
        folder.chmod(0o755)
        (folder / "root/metrics").write_bytes(body)
        (folder / "root/metrics.gz").write_bytes(compressed)
        port = free_port()
        (folder / "nginx.conf").write_text(NGINX.format(folder=folder, port=port))
        nginx = subprocess.Popen(["taskset", "-c", "0", "nginx", "-c", folder / "nginx.conf", "-p", folder])
        servers = {"nginx": (nginx, port), **servers}
        assert get_first(port) == body
        print(f"{len(body)} bytes, {series} samples, {len(compressed)} bytes as nginx sends them with gzip;"
              f" {TURNS} turns of {SECONDS} s each")
        for encoding in ["identity", "gzip"]:
            report(servers, encoding)
        starts(binaries, cad.server_port)
    finally:
        for process, _ in servers.values():
            process.terminate()
            process.wait()


def report(servers, encoding):
    results = {name: [] for name in servers}
    for _ in range(TURNS):
        for name, (process, port) in servers.items():
            results[name].append(measure(process, port, encoding))
    print(f"{encoding:9} {'requests/s':>10} {'of nginx':>9} {'CPU us each':>12} {'of nginx':>9} {'p99 ms':>7}")
    for name, each in results.items():
        rates, cpus, p99s = (statistics.median(column) for column in zip(*each))
        of_rate = statistics.median(ours[0] / base[0] for ours, base in zip(each, results["nginx"]))
        # The more CPU, the smaller the share.
        of_cpu = statistics.median(base[1] / ours[1] for ours, base in zip(each, results["nginx"]))
        print(f"{Path(name).name[-24:]:24} {rates:8.0f} {of_rate:9.2f} {cpus:12.1f} {of_cpu:9.2f} {p99s:7.2f}")


if __name__ == "__main__":
    main()
