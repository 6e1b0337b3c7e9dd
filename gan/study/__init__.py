"""Grids of runs. A cell is an ordinary run; nothing else is stored."""
