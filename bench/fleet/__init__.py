"""How many daemons a day's clients need, by simulation; see ``__main__``."""
