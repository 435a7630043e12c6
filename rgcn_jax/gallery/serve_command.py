"""The command ``rgcn-jax gallery serve``: local web page to search a gallery."""

import getpass
import ipaddress
import os
import secrets
import socket
import tempfile
from argparse import Namespace
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from rgcn_jax.command import Parser, last_line, whole_number
from rgcn_jax.errors import InputError, as_input_error, needs_extra, printable
from rgcn_jax.gallery.flags import add_gallery_flag, open_gallery
from rgcn_jax.gallery.search_command import rate_of_verdict
from rgcn_jax.model_command import add_model_flags, open_embedder
from rgcn_jax.pose_detection.detector import BACK_ENDS

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


def main(arguments: Sequence[str], prog: str) -> None:
    """Serve the page until SIGINT or SIGTERM. This is the normal exit, with status 0.

    Raises:
      InputError: an argument is invalid, the model or the gallery cannot be opened, or the port is in use.
    """
    known, overrides = _parse(arguments, prog)
    with needs_extra("serve", "gallery serve needs uvicorn"):
        import uvicorn

        from rgcn_jax.gallery.server.app import make_app
    from rgcn_jax.gallery.server.access import Guard
    from rgcn_jax.gallery.server.queries import Queries, open_detector
    from rgcn_jax.gallery.server.videos import Videos

    open_gallery(known)  # fail early: loading the model takes seconds
    listening = _listen(known.host, known.port)
    port = listening.getsockname()[1]
    embedder = open_embedder(known, overrides)
    gallery = open_gallery(known, embedder)
    detect = open_detector(known.detector, known.detector_weights) if known.detector else None
    fpr = rate_of_verdict(gallery, "fused", known.fpr)
    users = {secrets.token_urlsafe(32): name for name in known.user or [_this_user()]}
    shown = f"[{known.host}]" if ":" in known.host else known.host
    hosts = None if known.allow_remote else {f"{name}:{port}" for name in (*LOOPBACK, shown)}
    with tempfile.TemporaryDirectory(prefix="rgcn_jax-gallery-") as folder:
        app = make_app(gallery, Queries(embedder, detect), Videos(Path(folder)), fpr)
        guarded = Guard(app, users, hosts, known.max_upload * 2**20, f"rgcn_jax_gallery_{port}")
        for token, name in users.items():
            print(printable(f"{name}: http://{shown}:{port}/?token={token}"), flush=True)
        then = "open an address above in a browser; Ctrl-C ends the server"
        print(last_line("every search is logged in the gallery's audit.jsonl", then=then), flush=True)
        config = uvicorn.Config(
            guarded, log_level="warning", access_log=False, server_header=False, proxy_headers=False
        )
        with suppress(KeyboardInterrupt):  # after shutdown, uvicorn raises the received signal again
            uvicorn.Server(config).run(sockets=[listening])


def _listen(host: str, port: int) -> socket.socket:
    """Open a listening socket. Raises InputError if the address is in use or not local."""
    with as_input_error(f"cannot listen at {host}, port {port}", "choose another --port"):
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, dualstack_ipv6=family == socket.AF_INET6)


def is_loopback(host: str) -> bool:
    """Whether an address is a loopback address."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def _this_user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # user without a name
        return f"uid {os.getuid()}"


def _parse(arguments: Sequence[str], prog: str) -> tuple[Namespace, list[str]]:
    parser = Parser(
        prog,
        "Serve a page to search a gallery with. It is for this machine: another address needs --allow-remote, and then "
        "a proxy with TLS before it, for the token and the images travel as they are.",
        config_fields=True,
    )
    add_gallery_flag(parser)
    add_model_flags(parser)
    parser.whole("--port", "0: any free one", default=8000, least=0, most=65535)
    parser.flag("--host", "address to listen at", default="127.0.0.1", metavar="ADDRESS")
    parser.switch("--allow-remote", "listen at an address that other machines reach")
    parser.flag(
        "--user", "who gets a token, for the log; may be repeated (default: you)", action="append", metavar="NAME"
    )
    parser.flag("--max-upload", "of an upload", type=whole_number(1, 4096), default=200, metavar="MIB")
    parser.flag("--fpr", "false positive rate of the verdict, if calibrated", type=float, metavar="X")
    parser.flag("--detector", "detect the keypoints of uploads", choices=tuple(BACK_ENDS))
    parser.path("--detector-weights", "FILE", "as --model of rgcn-jax detect")
    known, overrides = parser.parse_known_args(arguments)
    if not known.allow_remote and not is_loopback(known.host):
        raise InputError(
            f"--host={known.host} can be reached from other machines: the gallery shows people. Leave it at 127.0.0.1, "
            "or add --allow-remote and put a proxy with TLS before it."
        )
    if bool(known.detector) != bool(known.detector_weights):
        raise InputError("expected --detector and --detector-weights together.")
    return known, overrides
