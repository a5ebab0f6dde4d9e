"""Models on the Hub: where the starters are, the cache, errors that say what to do, publishing."""
