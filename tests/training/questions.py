"""Rows to train on."""

MODULES = (
    *("os", "sys", "re", "json", "math", "random", "time", "datetime", "pathlib", "shutil", "subprocess"),
    *("threading", "asyncio", "socket", "ssl", "sqlite3", "csv", "gzip", "zipfile", "tarfile", "hashlib"),
    *("hmac", "secrets", "logging", "argparse", "unittest", "collections", "itertools", "functools"),
)
ROWS = [
    {"prompt": f"Which module of Python is number {number}, for {module} things?", "completion": module}
    for number, module in enumerate(MODULES * 2)
]
