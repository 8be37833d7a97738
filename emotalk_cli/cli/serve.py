"""`emotalk serve`: a page in the browser and a REST interface; `emotalk voices`: who can speak a text."""

from __future__ import annotations

import ipaddress
import tempfile
from pathlib import Path
from typing import Any, Optional

import typer

from ..config import SERVE, read
from ..errors import UsageError
from ..settings import OPTIONS
from .console import plain, say, tell


def serve(
    context: typer.Context,
    host: str = typer.Option("127.0.0.1", help="Address to listen at; any but this machine's own needs --token."),
    port: int = typer.Option(8000, min=0, max=65535, help="Port; 0 takes a free one."),
    token: Optional[str] = typer.Option(  # noqa: UP045
        None, envvar="EMOTALK_TOKEN", help="Secret that every request must bring."
    ),
    folder: Optional[Path] = typer.Option(  # noqa: UP045
        None, help="Where uploads and results are kept, also over a restart.  [default: a temporary folder]"
    ),
    queue: int = typer.Option(16, min=1, help="Videos that may wait."),
    upload: int = typer.Option(100, min=1, help="Largest upload, MiB."),
    seconds: float = typer.Option(600.0, min=0.1, help="Longest speech."),
    keep: float = typer.Option(24.0, min=0.01, help="Hours that uploads and results are kept."),
    device: str = typer.Option("auto", help="auto, cpu, cuda (or cuda:N), mps."),
    generator: str = typer.Option("hef", help="hef: neural; geometry: warp and shading only, faster."),
    encoder: str = typer.Option("auto", help="Of H.264: auto, x264 (processor) or nvenc (NVIDIA card)."),
    weights: Optional[Path] = typer.Option(None, help="Folder of other weights."),  # noqa: UP045
    config: Optional[Path] = typer.Option(None, help="TOML file of defaults, table [serve]."),  # noqa: UP045
) -> None:
    """Serve the page and the REST interface until ctrl-C."""
    values = {name: value for name, value in context.params.items() if name in SERVE}
    for name, value in read(config, "serve", SERVE).items():
        if getattr(context.get_parameter_source(name), "name", "") == "DEFAULT":  # not given in words
            values[name] = _converted(name, value, values[name])
    _serve(**values)


def _converted(name: str, value: Any, default: Any) -> Any:
    """A value of a configuration as the option's kind. Raises UsageError."""
    low, high = _RANGES.get(name, (0, float("inf")))
    if default is None or isinstance(default, str):
        return value if isinstance(value, Path) else str(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise UsageError(f"The configuration's serve.{name} = {value} is outside {low:g}..{high:g}; correct it.")
    return type(default)(value)


_RANGES = {"port": (0, 65535), "queue": (1, float("inf")), "upload": (1, float("inf")), "seconds": (0.1, float("inf"))}


def _serve(
    host: str,
    port: int,
    token: str | None,
    folder: Path | None,
    queue: int,
    upload: int,
    seconds: float,
    keep: float,
    device: str,
    generator: str,
    encoder: str,
    weights: Path | None,
) -> None:
    try:
        import uvicorn

        from ..media import encoders
        from ..serve import server
        from ..serve.shutdown import Server
    except ImportError as error:
        raise UsageError("emotalk serve needs its extra; run pip install 'emotalk[serve]'.") from error
    local = _is_local(host)
    if not local and not token:
        raise UsageError(f"--host {host} can be reached from elsewhere; set --token, or listen at 127.0.0.1.")
    encoders.check(OPTIONS["encoder"].parse(encoder))
    limits = server.Limits(queue=queue, upload=upload << 20, seconds=seconds, expiry=keep * 3600)
    load = {"device": device, "generator": generator, "weights": weights}
    with tempfile.TemporaryDirectory(prefix="emotalk-serve-") as temporary:
        shared = {"encoder": encoder}
        app = server.create(folder or Path(temporary), load, shared, token=token, limits=limits, local=local)
        config = uvicorn.Config(app, host, port, log_level="warning", timeout_graceful_shutdown=15, access_log=False)
        running = Server(config)
        bound = config.bind_socket()
        bound.listen(128)  # from here on clients may come; they wait until the loop runs
        address = bound.getsockname()
        shown = f"[{address[0]}]" if ":" in address[0] else address[0]
        secret = f"/#token={token}" if token else "/"
        say(f"EmoTalk listens at http://{shown}:{address[1]}{secret} (ctrl-C ends it)")
        running.run(sockets=[bound])


def _is_local(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def voices() -> None:
    """List the voices that can speak a --text."""
    from ..media.speech_synthesis import find
    from ..media.speech_synthesis import voices as known

    find()  # an error with the remedy where there is none
    for voice in known():
        tell("\t".join(plain(part) for part in (voice.name, voice.language, voice.engine)))
