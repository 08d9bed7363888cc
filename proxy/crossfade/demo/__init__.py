"""`crossfade demo`: three rollouts with real models and real HTTP requests, and a summary of checked results."""
