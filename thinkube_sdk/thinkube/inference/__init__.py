"""A tuned model behind OpenAI's API, in the environment that trained it."""
