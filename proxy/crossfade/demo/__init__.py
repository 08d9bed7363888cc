"""`crossfade demo`: three acts with real models, real HTTP and a summary that checks itself."""
