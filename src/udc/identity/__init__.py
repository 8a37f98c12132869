"""Who calls, and how we prove who we are: verification, keys, tokens, the instance's own key."""
