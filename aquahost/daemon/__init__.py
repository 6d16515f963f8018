"""The daemon: `daemon` composes it, `supervision` decides, `supervisor` keeps workers going, `router` moves prompts."""
