"""What the engine promises, tried for real: processes, kills, forks, load. `python -m torture.run --help` drives it."""
