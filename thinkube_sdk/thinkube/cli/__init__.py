"""The `thinkube` command. Each verb is a function that calls the same API a notebook does."""
