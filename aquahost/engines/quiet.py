"""Libraries kept from printing: what they print ends in the worker's log, and some warnings quote the prompt."""

from __future__ import annotations


def quiet_transformers() -> None:
    """No progress bars and no warnings from transformers, in this process."""
    import tqdm  # type: ignore[import-untyped]
    import transformers.utils.logging

    tqdm.tqdm.monitor_interval = 0  # else the first bar, shown or not, starts a thread for good
    transformers.utils.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]


def quiet_diffusers() -> None:
    """No progress bars and no warnings from diffusers, nor from transformers, in this process."""
    import diffusers.utils.logging

    quiet_transformers()
    diffusers.utils.logging.set_verbosity_error()
    diffusers.utils.logging.disable_progress_bar()
