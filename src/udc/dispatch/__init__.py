"""From a message to the handler that takes it: declarations, call plans, the handler table, the run."""
