"""The servers that are measured, and the CAD before them. They run on the first CPU, the clients on the second."""

import json
import os
import socket
import subprocess
import time
from pathlib import Path

CALLS = 60
SERVER_CPU, CLIENT_CPU = "0", "1"
BINARY = Path(__file__).parent.parent / "target/dist/sonorancad-exporter"

# The path of a request for calls in version v1 of the API, and an answer to it.
CALLS_PATH = "emergency/get_calls"
ANSWER = json.dumps({
    "activeCalls": [
        {
            "callId": 1000 + i, "origin": i % 4, "status": i % 2, "priority": i % 3 + 1,
            "title": "Traffic Stop", "code": "10-38", "primary": i, "idents": [i, 400 + i], "metaData": {},
        }
        for i in range(CALLS)
    ],
    "emergencyCalls": [],
    "closedCalls": [],
})

NGINX = """
worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log stderr error;
events {{ worker_connections 1024; }}
http {{
  access_log off; keepalive_requests 100000000; sendfile on; tcp_nopush on;
  client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
  uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
  root {folder}/root; gzip_static on;
  # A request for calls is a POST, and gets the file.
  error_page 405 =200 $uri;
  {servers}
}}
"""


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def start(command, variables=None, cpu=SERVER_CPU):
    command = ["taskset", "-c", cpu, *map(str, command)]
    return subprocess.Popen(command, env={"PATH": os.environ["PATH"], **(variables or {})})


def start_nginx(folder, servers, cpu=SERVER_CPU):
    """Serves the files of `folder/root`, the CAD's answer among them."""
    folder.chmod(0o755)
    path = folder / "root" / CALLS_PATH
    path.parent.mkdir(parents=True)
    path.write_text(ANSWER)
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder, servers=servers))
    return start(["nginx", "-c", folder / "nginx.conf", "-p", folder], cpu=cpu)


def start_exporter(binary, **variables):
    port = free_port()
    common = {"SONORANCAD_LISTEN_ADDRESS": f"127.0.0.1:{port}", "SONORANCAD_LOG": "error"}
    return start([binary], common | variables), port


def connect(port):
    """Waits until the port is open."""
    until = time.monotonic() + 60
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port))
        except ConnectionRefusedError:
            if time.monotonic() > until:
                raise
            time.sleep(0.0005)


def cpu_seconds(process):
    """Of a process and its children: nginx serves in one."""
    pids = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    # What clock_getcpuclockid(3) returns.
    return sum(time.clock_gettime(~int(pid) << 3 | 2) for pid in [process.pid, *pids])


def stop(processes):
    for process in processes:
        process.terminate()
        process.wait()
