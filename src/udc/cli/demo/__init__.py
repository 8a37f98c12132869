"""`udc demo`: a tour of a whole mesh of real processes, told with what really happened."""
