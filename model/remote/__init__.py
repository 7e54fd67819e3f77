"""Models on another machine, over HTTP."""
