"""Room acoustics: image sources, late tails, heads, sounds, streaming. Arrays in, arrays out; no Gymnasium."""
