"""One model's process: `main` composes it, `loop` drives the engine, `lifeline` ends it with the daemon."""
