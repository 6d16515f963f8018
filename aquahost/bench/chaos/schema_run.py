"""`aquahost chaos schema`: requests made from the API's own OpenAPI document, right and wrong ones."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aquahost.bench.chaos.host import ChaosHost
from aquahost.bench.chaos.models import write_models
from aquahost.bench.chaos.report import Check, Report, none_of
from aquahost.bench.chaos.rest import checks_at_rest, come_to_rest
from aquahost.bench.private_daemon import private_daemon
from aquahost.errors import ConfigError

_STEERING = ("/control/shutdown", "/control/drain", "/control/models/")
"""They do what they are asked, after which there is nothing left to ask."""
_ENDLESS = ("/control/events", "/control/watch", "/control/logs")
"""Streams that end with the daemon."""
_ANSWER_S = 60.0
_KEPT = 10
_MODELS = ("toy", "toy2", "paint")
