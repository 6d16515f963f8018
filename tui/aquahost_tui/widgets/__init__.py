"""Parts of screens; each shows what a store holds."""
