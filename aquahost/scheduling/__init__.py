"""Which prompts run in the next step. Pure: values in, a plan out; no torch, no clock, no I/O."""
