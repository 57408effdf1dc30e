"""State-space layers and the other memories of an agent, behind one contract."""
