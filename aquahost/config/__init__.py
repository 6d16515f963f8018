"""Settings: `settings` (frozen, validated values), `loader` (models.yaml and its mistakes), `paths` (XDG places)."""
