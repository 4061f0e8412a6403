"""nginx as the server of the benchmarks: files in memory, http on loopback, one process on a core of its own.

No S3: it serves what is in its folder, and WebDAV stores what is put. A filter gives stored objects the
answer that S3 gives (200 and an ETag), which some clients insist on; another one plays multipart uploads, of
which only the last part is kept. It knows no signatures: for benchmarks of clients only.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

BUCKET = "bench"
OBJECTS = 64
MODULES = Path("/usr/lib/nginx/modules")
HOW_TO_INSTALL = "apt-get install nginx-light libnginx-mod-http-lua"

_CONFIG = """
{modules}
daemon off; master_process on; worker_processes 1; worker_rlimit_nofile 16384; {user}
pid {home}/nginx.pid; error_log {home}/error.log warn;
events {{ worker_connections 8192; }}
http {{
  access_log off; client_max_body_size 0; client_body_temp_path {home}/bodies; keepalive_requests 1000000000;
  keepalive_timeout 1h; default_type application/octet-stream; client_body_buffer_size 64k;
  server {{
    {listen}
    root {home}/objects;
    location = /health {{ return 200; }}
    location / {{
      dav_methods PUT DELETE; create_full_put_path on;
      rewrite_by_lua_block {{
        if ngx.var.request_method == "POST" then
          ngx.req.read_body()
          local body
          if ngx.var.arg_uploadId then
            body = '<CompleteMultipartUploadResult><ETag>"0123456789abcdef0123456789abcdef"</ETag>' ..
              '</CompleteMultipartUploadResult>'
          else
            body = '<InitiateMultipartUploadResult><UploadId>upload</UploadId>' ..
              '</InitiateMultipartUploadResult>'
          end
          ngx.header["Content-Type"] = "application/xml"
          ngx.header["Content-Length"] = #body
          ngx.print(body)
          return ngx.exit(200)
        end
      }}
      header_filter_by_lua_block {{
        if ngx.var.request_method == "PUT" and (ngx.status == 201 or ngx.status == 204) then
          ngx.status = 200
          ngx.header["Content-Length"] = 0
          ngx.header["Location"] = nil
          ngx.header["ETag"] = '"0123456789abcdef0123456789abcdef"'
        end
      }}
    }}
  }}
}}
"""


class Server(NamedTuple):
    """A running server; `urls` are loopback addresses of the same process, as if they were endpoints."""

    name: str
    urls: tuple[str, ...]


def missing() -> str | None:
    """What has to be installed before nginx can serve, or None."""
    program = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin")
    if program is None or not (MODULES / "ngx_http_lua_module.so").is_file():
        return f"nginx with its Lua module is missing: {HOW_TO_INSTALL}"
    return None


@contextmanager
def nginx(sizes: tuple[int, ...], *, addresses: int = 1, core: int | None = None) -> Iterator[Server]:
    """Serve `get/<size>/<number>` of the bucket `bench` until the block ends; at most 200 addresses."""
    complaint = missing()
    if complaint is not None:
        raise RuntimeError(complaint)
    # An end from outside has to pass through the `finally` below, or nginx and its files stay.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="flashback-bench-", dir=memory) as name:
        home = Path(name)
        _fill(home / "objects" / BUCKET, sizes)
        port = _free_port()
        hosts = [f"127.0.0.{number}" for number in range(1, addresses + 1)]
        (home / "nginx.conf").write_text(
            _CONFIG.format(
                home=home,
                modules="\n".join(
                    f"load_module {MODULES}/{module}.so;"
                    for module in ("ndk_http_module", "ngx_http_lua_module")
                ),
                # Its worker would be nobody otherwise, who may not write into this folder.
                user="user root;" if os.geteuid() == 0 else "",
                listen="\n    ".join(f"listen {host}:{port} backlog=4096;" for host in hosts),
            )
        )
        process = subprocess.Popen(
            ["/usr/sbin/nginx", "-p", name, "-c", str(home / "nginx.conf"), "-e", str(home / "error.log")],
        )
        if core is not None:
            # At once: what it forks inherits it, and its modules take longer to load than this.
            os.sched_setaffinity(process.pid, {core})
        try:
            _wait(process, port, home / "error.log")
            yield Server("nginx", tuple(f"http://{host}:{port}" for host in hosts))
        finally:
            process.terminate()
            process.wait()


def object_key(size: int, number: int) -> str:
    """The key of a stored object."""
    return f"get/{size}/{number % OBJECTS}"


def _fill(bucket: Path, sizes: tuple[int, ...]) -> None:
    for size in sizes:
        first = bucket / "get" / str(size) / "0"
        first.parent.mkdir(parents=True)
        with first.open("wb") as file:
            for _ in range(0, size, 1 << 20):
                file.write(bytes(min(size, 1 << 20)))
            file.truncate(size)
        # One inode for all: what counts is the number of names, and memory is scarce.
        for number in range(1, OBJECTS):
            (first.parent / str(number)).hardlink_to(first)
    (bucket / "put").mkdir(parents=True)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    for _ in range(200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if process.poll() is not None:
            break
        time.sleep(0.02)
    raise RuntimeError(f"nginx did not start: {log.read_text() if log.exists() else process.returncode}")
