"""Bytes to messages and back, and every dialect that is spoken out there. Tables; nothing else knows dialects."""
