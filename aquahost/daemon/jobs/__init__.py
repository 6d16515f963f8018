"""Durable jobs: kept in SQLite, run by the router's models, results on disk."""
