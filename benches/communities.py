#!/usr/bin/env python3
"""What a community costs, from one to ten thousand of them in one process: memory, the CPU time of a fetch over TLS, and
that of a probe that is answered from the cache.

    cargo build --profile dist && benches/communities.py [BINARY]

Needs `nginx`, `openssl` and `wrk`. nginx is the CAD, over HTTPS on loopback, once with the resumption of TLS sessions and
once without. The exporters run on one CPU, everything else on the other. It takes about ten minutes.
"""

import http.client
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from servers import BINARY, CLIENT_CPU, connect, cpu_seconds, free_port, start_exporter, start_nginx, stop

# Communities, and how often each of them is fetched. Of several rounds, the first does not count.
ROUNDS = {1: 13, 10: 7, 100: 4, 1_000: 2, 10_000: 1}
TURNS = 5
SECONDS = 1
TTL = 1

NGINX = """
  ssl_certificate {folder}/cad.crt;
  ssl_certificate_key {folder}/cad.key;
  server {{ listen 127.0.0.1:{resuming} ssl; }}
  server {{ listen 127.0.0.1:{forgetting} ssl; ssl_session_tickets off; ssl_session_cache off; }}
"""

# A probe of the next community each time.
WRK = """
local next = 0
request = function()
  next = next % {communities} + 1
  return wrk.format("GET", "/probe?community=c" .. next)
end
"""


def start_with(binary, folder, communities, cad_port, ttl):
    """An exporter with this many communities, each with a key of its own."""
    file = folder / f"{communities}.{cad_port}.{ttl}.yml"
    file.write_text("".join(
        f"c{i}: {{community_id: c{i}, api_key: key{i}, api_url: 'https://127.0.0.1:{cad_port}', "
        f"api_version: v1, cache_ttl: {ttl}, requests_per_minute: 60}}\n"
        for i in range(1, communities + 1)
    ))
    certificate = folder / "cad.crt"
    process, port = start_exporter(binary, SONORANCAD_COMMUNITIES_FILE=str(file), SSL_CERT_FILE=str(certificate))
    connect(port).close()
    return process, port


def probe_all(port, communities):
    """Probes each community once, one after the other."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    for i in range(1, communities + 1):
        connection.request("GET", f"/probe?community=c{i}")
        body = connection.getresponse().read()
        assert b'sonorancad_up{server_id="1"} 1' in body, body
    connection.close()


def memory(process):
    """Bytes that the process has written to, without the pages of its file."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(re.search(r"RssAnon:\s+(\d+) kB", status)[1]) * 1024


def cpu_of_probe(process, port, folder, communities):
    script = folder / f"{communities}.lua"
    script.write_text(WRK.format(communities=communities))
    before = cpu_seconds(process)
    output = subprocess.run(
        ["taskset", "-c", CLIENT_CPU, "wrk", "-t1", "-c16", f"-d{SECONDS}s", "-s", script, f"http://127.0.0.1:{port}"],
        check=True, capture_output=True, text=True,
    ).stdout
    assert "Non-2xx" not in output, output
    return (cpu_seconds(process) - before) / int(re.search(r"(\d+) requests in", output)[1])


def cpu_of_fetch(process, port, communities):
    """Of a probe that fetches."""
    rounds = []
    for _ in range(ROUNDS[communities]):
        began, before = time.monotonic(), cpu_seconds(process)
        probe_all(port, communities)
        rounds.append((cpu_seconds(process) - before) / communities)
        time.sleep(max(0, began + TTL + 0.1 - time.monotonic()))
    return statistics.median(rounds[1:] or rounds)


def fetches(binary, folder, ports):
    """The CPU time of a fetch by the number of communities: with resumed sessions, and without."""
    times = {}
    for communities in ROUNDS:
        times[communities] = []
        for cad_port in ports:
            process, port = start_with(binary, folder, communities, cad_port, f"{TTL}s")
            times[communities].append(cpu_of_fetch(process, port, communities))
            stop([process])
    return times


def main():
    binary = Path(sys.argv[1]) if sys.argv[1:] else BINARY
    folder, ports = Path(tempfile.mkdtemp()), [free_port(), free_port()]
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
         "-subj", "/CN=cad", "-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE",
         "-keyout", folder / "cad.key", "-out", folder / "cad.crt"],
        check=True, capture_output=True,
    )
    nginx = start_nginx(folder, NGINX.format(folder=folder, resuming=ports[0], forgetting=ports[1]), cpu=CLIENT_CPU)
    connect(ports[0]).close()
    exporters = {}
    try:
        rows = {communities: [] for communities in ROUNDS}
        for communities in ROUNDS:
            exporters[communities] = start_with(binary, folder, communities, ports[0], "1h")
            process, port = exporters[communities]
            before = memory(process)
            probe_all(port, communities)
            rows[communities] += [before, memory(process)]
        turns = [
            {n: cpu_of_probe(*exporter, folder, n) for n, exporter in exporters.items()} for _ in range(TURNS)
        ]
        report(rows, turns, fetches(binary, folder, ports))
    finally:
        stop([nginx, *(process for process, _ in exporters.values())])


def report(rows, turns, fetches):
    print("| communities | memory | each beyond the first | before its first fetch | cached probe | of that with one |"
          " fetch | of that with one | without resumed sessions |")
    print("|---|---|---|---|---|---|---|---|---|")
    first_before, first = rows[1]
    for n, (before, after) in rows.items():
        each = f"{(after - first) / (n - 1) / 1000:.1f} kB" if n > 1 else ""
        early = f"{(before - first_before) / (n - 1) / 1000:.1f} kB" if n > 1 else ""
        probe = statistics.median(turn[n] for turn in turns)
        ratio = statistics.median(turn[n] / turn[1] for turn in turns)
        fetch, without = fetches[n]
        print(f"| {n} | {after / 1e6:.1f} MB | {each} | {early} | {probe * 1e6:.0f} µs | {ratio:.2f} |"
              f" {fetch * 1e6:.0f} µs | {fetch / fetches[1][0]:.2f} | {without / fetch:.2f} |")


if __name__ == "__main__":
    main()
