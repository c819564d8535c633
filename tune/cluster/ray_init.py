"""`ray.init` as this program means it."""

import signal
import threading

import ray


def init_ray(**options: object) -> None:
    """Start or join Ray quietly; SIGTERM stays what it was, since Ray's own handler leaves at once, with status 15."""
    handler = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(log_to_driver=False, logging_level="ERROR", configure_logging=True, **options)
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)
