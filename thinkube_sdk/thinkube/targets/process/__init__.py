"""Agents as supervised processes on this machine."""
