"""The HTTP API: OpenAI-compatible families, health, and the control routes of CLI and terminal UI.

`app.build_app(daemon)` makes the ASGI application; `http_protocol` is how uvicorn is to speak HTTP to it. A request's
way: `host_guard` (by which name), `auth` (whose is it), `body` (bytes to a validated model of `schemas_*`), the
family's file (`chat`, `completions`, `images`, `audio`), `prompts` (live prompts, tied to their client), and `replies`
(one reply, or an event stream) back.
"""
