"""Runs: what a program read, with which code, environment and parameters, and what came of it."""
