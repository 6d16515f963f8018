"""Who may ask: `record` is a key as it is kept, `key_file` keeps them, `keyring` answers whose a key is."""
